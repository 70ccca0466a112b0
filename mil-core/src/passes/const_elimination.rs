//! What is known before the program runs becomes a constant.

use crate::{
    ir::{Constant, OpId},
    op::{AnyArg, Args, OpDef, OpError},
    types::{Shape, Type},
};

use super::{Context, Evaluate, Pass, Report, Rewriter};

/// Replaces ops by constants where all they give is known: shape arithmetic that inference has worked out, and with
/// [`Context::evaluate`] every op on constants.
///
/// What is much larger than what it is made of stays, as `fill` and `tile` do: computing it is cheaper than storing it. So
/// do `constexpr_` ops and what is made of them, since they keep weights small, and `quantize` and `dequantize` likewise.
#[derive(Clone, Copy, Debug)]
pub struct ConstElimination {
    /// Results of at most this many bytes are folded, whatever they are made of.
    pub small: usize,
    /// Larger ones are if they have at most this many times the bytes of the constants that they are made of.
    pub growth: usize,
    /// All results of a function together are at most this many bytes larger than what they are made of: a few ops can double a constant
    /// over and over.
    pub added: usize,
}

impl Default for ConstElimination {
    fn default() -> ConstElimination {
        ConstElimination::DEFAULT
    }
}

impl ConstElimination {
    /// The default limits: 4 KiB, and twice the size; 256 MiB more than there was.
    pub const DEFAULT: ConstElimination = ConstElimination { small: 4096, growth: 2, added: 256 << 20 };
}

impl Pass for ConstElimination {
    fn name(&self) -> &'static str {
        "const_elimination"
    }

    fn doc(&self) -> &'static str {
        "computes what follows from constants, unless it is much larger than they are"
    }

    fn function(&self, rw: &mut Rewriter, cx: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        let mut added = 0;
        for op in rw.ops() {
            if !rw.is_live(op) || !may_fold(rw, op) {
                continue;
            }
            let Some(constants) = self.fold(rw, op, cx, &mut added) else { continue };
            let names: Vec<String> = rw.op(op).outputs.iter().map(|v| rw.data(*v).name.clone()).collect();
            let mut at = rw.before(op);
            let values: Vec<_> = names.iter().zip(constants).map(|(name, c)| at.constant(name, c)).collect();
            let name = rw.op(op).def.name;
            rw.replace(op, &values)?;
            report.count(format!("folded {name}"));
        }
        Ok(())
    }
}

/// Whether this very op is folded.
fn may_fold(rw: &Rewriter, op: OpId) -> bool {
    let data = rw.op(op);
    let packed = |v| rw.producer(v).is_some_and(|p| rw.op(p).def.is_constexpr());
    // An output is no constant: folded, it would be a copy of one.
    let copied = data.def.name == "identity" && rw.output(op).is_some_and(|v| rw.is_output(v));
    ConstElimination::folds(data.def) && data.blocks.is_empty() && !copied && rw.is_pure(op) && !data.uses().any(packed)
}

impl ConstElimination {
    /// Whether ops of this kind are folded.
    pub(crate) fn folds(def: &OpDef) -> bool {
        let kept = matches!(def.name, "const" | "quantize" | "dequantize") || def.name.starts_with("random_");
        !kept && !def.is_constexpr()
    }

    /// The outputs, if they are known or can be computed, and are not too large.
    fn fold(&self, rw: &Rewriter, op: OpId, cx: &Context<'_>, added: &mut usize) -> Option<Vec<Constant>> {
        let outputs = &rw.op(op).outputs;
        let types: Vec<&Type> = outputs.iter().map(|v| rw.ty(*v)).collect();
        let known: Option<Vec<Constant>> = outputs.iter().map(|v| rw.known(*v).cloned()).collect();
        self.computed(&rw.function().args(rw.op(op)), &types, known, cx.evaluate, added)
    }

    /// What an op of these arguments gives, if that is `known` or can be computed, and is not too large. `added` counts by how much
    /// results were larger than what they are made of.
    pub(crate) fn computed(
        &self,
        args: &Args,
        outputs: &[&Type],
        known: Option<Vec<Constant>>,
        evaluate: Option<&dyn Evaluate>,
        added: &mut usize,
    ) -> Option<Vec<Constant>> {
        let size = outputs.iter().try_fold(0usize, |n, ty| n.checked_add(bytes(ty)?))?;
        let inputs = inputs(args);
        let total = added.saturating_add(size.saturating_sub(inputs));
        if size > self.small.max(inputs.saturating_mul(self.growth)) || total > self.added {
            return None;
        }
        let constants = match known {
            Some(all) => all,
            None => {
                let mut args = args.clone();
                for param in 0..args.def.params.len() {
                    let Some(bound) = args.get(param) else { continue };
                    let constants: Option<Vec<AnyArg>> = bound.iter().map(constant).collect();
                    args.set(param, constants?);
                }
                evaluate?.evaluate(&args).ok()?
            }
        };
        let fits = |(ty, c): (&&Type, &Constant)| c.weight_name().is_none() && ty.compatible(&c.ty().into());
        if constants.len() != outputs.len() || !outputs.iter().zip(&constants).all(fits) {
            return None;
        }
        *added = total;
        Some(constants)
    }
}

/// The bytes of all constants among the arguments; of one that is there several times, once.
fn inputs(args: &Args) -> usize {
    let mut seen: Vec<(*const u8, usize)> = vec![];
    let all = (0..args.def.params.len()).filter_map(|param| args.get(param)).flatten();
    for bytes in all.filter_map(|arg| arg.known.as_ref()?.constant()?.bytes()) {
        let place = (bytes.as_ptr(), bytes.len());
        if !seen.contains(&place) {
            seen.push(place);
        }
    }
    seen.iter().fold(0usize, |n, (_, len)| n.saturating_add(*len))
}

/// An argument written in place, if it is known and has its bytes.
fn constant(arg: &AnyArg) -> Option<AnyArg> {
    let constant = arg.known.as_ref()?.constant()?;
    constant.weight_name().is_none().then(|| AnyArg::constant(constant.clone()))
}

/// The size of a tensor whose shape is known.
fn bytes(ty: &Type) -> Option<usize> {
    let t = ty.tensor()?;
    let count = Shape::fixed(&t.shape)?.into_iter().try_fold(1usize, |n, d| n.checked_mul(d))?;
    t.dtype.packed_len(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mb,
        passes::testing::{graph, ops, outputs, run},
        types::{DType, TensorType},
    };

    const PASS: ConstElimination = ConstElimination::DEFAULT;

    #[test]
    fn shapes_that_are_known_are_constants() {
        let mut g = graph();
        let x = g.input("x", TensorType::new(DType::F32, [2, 3]));
        let shape = g.push(mb::shape(&x)).unwrap();
        let last = g.push(mb::slice_by_index(&shape, [1], [2])).unwrap();
        let wanted = g.push(mb::concat([&last, &last], 0)).unwrap();
        let more = g.input("more", TensorType::new(DType::F32, [9]));
        let y = g.push(mb::reshape(&more, &wanted)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        let report = run(&PASS, &mut p);
        assert_eq!(ops(&p), ["reshape"]);
        assert_eq!(report.changes(), 3, "{report}");
    }

    #[test]
    fn sizes_that_are_open_stay() {
        let mut g = graph();
        let x = g.input("x", "Tensor<f32, H, 3>".parse::<TensorType>().unwrap());
        let shape = g.push(mb::shape(&x)).unwrap();
        let sum = g.push(mb::add(&shape, 1)).unwrap();
        let mut p = g.finish([("y", sum)]).unwrap();
        assert_eq!(run(&PASS, &mut p).changes(), 0);
    }

    #[test]
    fn an_output_is_a_copy_of_the_constant() {
        let mut g = graph();
        let x = g.input("x", TensorType::new(DType::F32, [2, 3]));
        let y = g.push(mb::shape(&x)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&PASS, &mut p);
        assert_eq!((ops(&p), outputs(&p)), (vec!["identity"], vec!["y"]));
        assert_eq!(run(&PASS, &mut p).changes(), 0);
    }

    #[test]
    fn what_is_too_large_stays() {
        let mut g = graph();
        let x = g.input("x", TensorType::new(DType::F32, [2, 3]));
        let y = g.push(mb::shape(&x)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        assert_eq!(run(&ConstElimination { small: 7, growth: 100, ..PASS }, &mut p).changes(), 0);
        assert_eq!(run(&ConstElimination { small: 8, growth: 0, ..PASS }, &mut p).changes(), 1);
    }

    #[test]
    fn what_doubles_over_and_over_stays() {
        let folded = |added| {
            let mut g = graph();
            let mut x = g.constant("x", Constant::new([6], &[1i32; 6]).unwrap());
            for _ in 0..4 {
                x = g.push(mb::concat([&x, &x], 0)).unwrap();
            }
            let y = g.push(mb::cast(&x, "fp32")).unwrap();
            let mut p = g.finish([("y", y)]).unwrap();
            run(&ConstElimination { added, ..PASS }, &mut p).changes()
        };
        // The cast always: it adds nothing. The others add 24 and 48 bytes, less 5 of axis and flag, and so on.
        assert_eq!((folded(0), folded(19), folded(61), folded(62), folded(1000)), (1, 2, 2, 3, 5));
    }
}
