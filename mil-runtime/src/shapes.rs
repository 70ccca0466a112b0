//! Shapes for inputs that fit together.

use std::collections::BTreeMap;

use mil_core::types::Symbol;

use crate::{
    error::RunError,
    interface::{InputInfo, Interface},
};

type Sizes = BTreeMap<Symbol, i64>;

impl Interface {
    /// A shape for each input, in order: those given, and for the others what the model declares as default, changed where a
    /// size is the same as one of those given.
    pub(crate) fn shapes(
        &self,
        given: impl IntoIterator<Item = (String, Vec<usize>)>,
    ) -> Result<Vec<Vec<usize>>, RunError> {
        let mut shapes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut sizes = Sizes::new();
        for (name, shape) in given {
            let info = self.input(&name)?;
            info.check_shape(info.ty.dtype, &shape, &mut sizes)?;
            if shapes.insert(&info.name, shape).is_some() {
                return Err(RunError::new(format!("input `{name}` is given twice")));
            }
        }
        let shape = |info: &InputInfo| match shapes.remove(&info.name[..]) {
            Some(shape) => Ok(shape),
            None => chosen(info, &mut sizes),
        };
        self.inputs.iter().map(shape).collect()
    }
}

/// The default shape if it fits what is known; of a list, the first that does.
fn chosen(info: &InputInfo, sizes: &mut Sizes) -> Result<Vec<usize>, RunError> {
    let listed = info.shapes.iter().flatten().cloned().map(Ok);
    let mut error = None;
    for shape in std::iter::once_with(|| completed(info, sizes)).chain(listed).collect::<Vec<_>>() {
        let mut known = sizes.clone();
        match shape.and_then(|s| info.check_shape(info.ty.dtype, &s, &mut known).map(|()| s)) {
            Ok(shape) => {
                *sizes = known;
                return Ok(shape);
            }
            Err(e) => error = error.or(Some(e)),
        }
    }
    Err(error.unwrap_or_else(|| RunError::new(format!("input `{}` has no shape", info.name))))
}

fn completed(info: &InputInfo, sizes: &Sizes) -> Result<Vec<usize>, RunError> {
    let default = info.default_shape.as_deref().filter(|s| s.len() == info.ty.rank());
    let mut known = sizes.clone();
    let mut shape = Vec::with_capacity(info.ty.rank());
    for (at, dim) in info.ty.shape.iter().enumerate() {
        if let Some(symbol) = dim.as_symbol() {
            known.entry(symbol.clone()).or_insert_with(|| {
                let domain = symbol.domain();
                let declared = default.and_then(|s| i64::try_from(s[at]).ok()).filter(|d| domain.contains(*d));
                // An empty tensor is seldom what is meant.
                let least = domain.bounds().0.unwrap_or(1);
                declared.unwrap_or(if least < 1 && domain.contains(1) { 1 } else { least })
            });
        }
        let size = dim.eval(&|s| known.get(s).copied()).and_then(|d| usize::try_from(d).ok());
        let unknown =
            || RunError::new(format!("input `{}` ({}) has no default shape; give it one", info.name, info.ty));
        shape.push(size.ok_or_else(unknown)?);
    }
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use mil_core::{
        graph::Graph,
        ir::{
            Feature,
            feature::{ArrayFeature, ArrayFlexibility, FeatureKind},
        },
        mb,
        types::{DType, Dim, Domain, Opset, TensorType},
    };

    use super::*;

    /// A function of inputs `x`, `y`, .. of these types; `x` is declared as said.
    fn interface(types: &[&str], x: Option<ArrayFeature>) -> Interface {
        interface_of(types.iter().map(|t| t.parse().unwrap()).collect(), x)
    }

    /// The first dimension is fixed, the second is in this range.
    fn ranged(first: i64, min: i64, max: i64, x: Option<ArrayFeature>) -> Interface {
        let n = Dim::symbol(Symbol::new("N", Domain::Range { min, max: Some(max) }));
        interface_of(vec![TensorType::new(DType::F32, [Dim::from(first), n])], x)
    }

    fn interface_of(types: Vec<TensorType>, x: Option<ArrayFeature>) -> Interface {
        let mut g = Graph::new("main", Opset::iOS17);
        let inputs: Vec<_> = types.into_iter().zip(["x", "y", "z"]).map(|(t, n)| g.input(n, t)).collect();
        let out = g.push(mb::exp(&inputs[0])).unwrap();
        let mut f = g.finish([("out", out)]).unwrap().main().unwrap().clone();
        let feature = |array| {
            let kind = FeatureKind::Array(array);
            Feature { name: "x".into(), description: String::new(), optional: false, kind }
        };
        f.input_features = x.map(feature).into_iter().collect();
        Interface::of(&f).unwrap()
    }

    fn shapes(i: &Interface, given: &[(&str, &[usize])]) -> Result<Vec<Vec<usize>>, String> {
        i.shapes(given.iter().map(|(n, s)| (n.to_string(), s.to_vec()))).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_what_the_model_declares() {
        let array = |flexibility| ArrayFeature { shape: vec![2, 5], flexibility, ..ArrayFeature::default() };
        let i = ranged(2, 3, 9, Some(array(ArrayFlexibility::Fixed)));
        assert_eq!(shapes(&i, &[]).unwrap(), [[2, 5]]);
        let i = ranged(2, 3, 9, None);
        assert_eq!(shapes(&i, &[]).unwrap(), [[2, 3]]);
        let i = interface(&["Tensor<f32>", "Tensor<i32, N>"], None);
        assert_eq!(shapes(&i, &[]).unwrap(), [vec![], vec![1]]);
        // The default is not of the list.
        let listed = ArrayFlexibility::Enumerated(vec![vec![2, 4], vec![2, 8]]);
        assert_eq!(shapes(&interface(&["Tensor<f32, 2, N>"], Some(array(listed))), &[]).unwrap(), [[2, 4]]);
    }

    #[test]
    fn sizes_are_shared() {
        let i = interface(&["Tensor<f32, N>", "Tensor<f32, M, N>", "Tensor<f32, M>"], None);
        let expected = [vec![7], vec![4, 7], vec![4]];
        assert_eq!(shapes(&i, &[("y", &[4, 7])]).unwrap(), expected);
        assert_eq!(shapes(&i, &[("z", &[4]), ("x", &[7])]).unwrap(), expected);
        let e = shapes(&i, &[("x", &[7]), ("y", &[4, 8])]).unwrap_err();
        assert_eq!(e, "input `y` must be Tensor<f32, M, N>, found Tensor<f32, 4, 8> (N is 7 in another dimension)");
    }

    #[test]
    fn a_size_that_is_given_decides_in_a_list() {
        let flexibility = ArrayFlexibility::Enumerated(vec![vec![2], vec![4]]);
        let array = ArrayFeature { shape: vec![2], flexibility, ..ArrayFeature::default() };
        let i = interface(&["Tensor<f32, N>", "Tensor<f32, N>"], Some(array));
        assert_eq!(shapes(&i, &[("y", &[4])]).unwrap(), [[4], [4]]);
        let e = shapes(&i, &[("y", &[3])]).unwrap_err();
        assert_eq!(e, "input `x` is of shape [3], expected one of [2], [4]");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let i = ranged(1, 2, 4, None);
        let refused = |given: &[(&str, &[usize])]| shapes(&i, given).unwrap_err();
        let e = refused(&[("x", &[1, 5])]);
        assert_eq!(e, "input `x` must be Tensor<f32, 1, N>, found Tensor<f32, 1, 5> (N must be in 2..=4)");
        assert_eq!(refused(&[("x", &[3])]), "input `x` must be Tensor<f32, 1, N>, found Tensor<f32, 3>");
        assert_eq!(refused(&[("q", &[3])]), "function `main` has no input `q`; its only input is `x`");
        assert_eq!(refused(&[("x", &[1, 2]), ("x", &[1, 2])]), "input `x` is given twice");
    }
}
