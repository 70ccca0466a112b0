//! Lists of tensors: `make_list`, `list_read`, `list_write`, `list_gather`, `list_scatter`, `list_length`.
//!
//! A list is a value like any other: writing gives a new list. The length in its type is the one that it starts with,
//! which files say of growing lists too; so nothing follows from it.

use crate::{
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, TensorType, Type},
};
use mil_derive::Op;

pub(crate) const OPS: &[&OpDef] =
    &[MakeList::DEF, ListRead::DEF, ListWrite::DEF, ListGather::DEF, ListScatter::DEF, ListLength::DEF];

/// Makes a list of tensors of one dtype and shape. Its elements are zeros until they are written.
///
/// # Constraints
/// - C1 `init_length` is a scalar, and not negative.
/// - C2 `dtype` is `fp32`, `fp16`, `int32` or `bool`.
/// - C3 each of `elem_shape` is a known scalar: a size that is not negative, or a name for one that is not known.
#[derive(Op, Clone, Debug)]
#[op(name = "make_list", since = iOS15)]
pub struct MakeList {
    /// How many elements there are at first.
    #[dtype(I32)]
    #[default(Arg::scalar(1))]
    pub init_length: Arg,
    /// Whether writing beyond the end makes the list longer.
    #[dtype(Bool)]
    #[default(true)]
    pub dynamic_length: bool,
    /// The elements' shape, one scalar per dimension: a number, or text where the size is not known.
    #[dtype(I32 | String)]
    pub elem_shape: Vec<Arg>,
    /// The elements' dtype.
    #[dtype(String)]
    #[default(DType::F32)]
    pub dtype: DType,
}

impl MakeList {
    /// The elements' type; sizes that are named are unknown.
    fn element(&self, cx: &mut Cx<'_>) -> Result<TensorType, OpError> {
        if !matches!(self.dtype, DType::F32 | DType::F16 | DType::I32 | DType::Bool) {
            let message = format!("`dtype` must be \"fp32\", \"fp16\", \"int32\" or \"bool\", found {}", self.dtype);
            return Err(OpError::at("dtype", message)); // C2
        }
        let mut dims: Vec<Dim> = Vec::with_capacity(self.elem_shape.len());
        for (i, size) in self.elem_shape.iter().enumerate() {
            let fail = || {
                let message =
                    format!("`elem_shape` must be sizes that are known, or names of others, found {}", size.ty);
                OpError::at("elem_shape", message).index(i) // C3
            };
            let named = size.constant().is_some_and(|c| c.as_strings().is_some());
            match size.known_ints().as_deref() {
                _ if size.rank() != 0 => return Err(fail()),
                Some(&[n]) if n >= 0 => dims.push(n.into()),
                _ if named => dims.push(cx.unknown()),
                _ => return Err(fail()),
            }
        }
        Ok(TensorType::new(self.dtype, dims))
    }
}

impl Infer for MakeList {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let element = self.element(cx)?;
        let at = |message: String| OpError::at("init_length", message);
        scalar("init_length", &self.init_length)?; // C1
        let length = match self.init_length.known_dims().as_deref() {
            Some([one]) if one.value().is_some_and(|n| n < 0) => {
                return Err(at(format!("`init_length` must not be negative, found {one}"))); // C1
            }
            Some([one]) => one.clone(),
            _ => cx.unknown(),
        };
        Ok(vec![Type::List(Box::new(element.into()), length).into()])
    }
}

/// The elements' type of a list of tensors.
fn element<'a>(name: &'static str, list: &'a AnyArg) -> Result<&'a TensorType, OpError> {
    let Type::List(element, _) = &list.ty else {
        let message = format!("`{name}` must be a list of tensors, as `mb::make_list` makes one, found {}", list.ty);
        return Err(OpError::at(name, message));
    };
    let message = || format!("`{name}` must be a list of tensors, found {}", list.ty);
    element.tensor().ok_or_else(|| OpError::at(name, message()))
}

fn scalar(name: &'static str, arg: &Arg) -> Result<(), OpError> {
    match arg.rank() {
        0 => Ok(()),
        _ => Err(OpError::at(name, format!("`{name}` must be a scalar, found {}", arg.ty))),
    }
}

fn vector(name: &'static str, arg: &Arg) -> Result<(), OpError> {
    match arg.rank() {
        1 => Ok(()),
        _ => Err(OpError::at(name, format!("`{name}` must be of rank 1, found {}", arg.ty))),
    }
}

/// What is written has the type of the elements.
fn same(value: &TensorType, element: &TensorType) -> Result<(), OpError> {
    if value.dtype == element.dtype && value.shape.compatible(&element.shape) {
        return Ok(());
    }
    Err(OpError::at("value", format!("the list's elements are {element}, but {value} is written")))
}

/// The element at a place.
///
/// # Constraints
/// - C1 `ls` is a list of tensors.
/// - C2 `index` is a scalar; at run time, a place in the list, written before if the elements' size is not known.
#[derive(Op, Clone, Debug)]
#[op(name = "list_read", since = iOS15)]
pub struct ListRead {
    /// The list.
    pub ls: AnyArg,
    /// The place, counted from 0.
    #[dtype(I32)]
    pub index: Arg,
}

impl Infer for ListRead {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let element = element("ls", &self.ls)?; // C1
        scalar("index", &self.index)?; // C2
        Ok(vec![element.clone().into()])
    }
}

/// The list with another element at a place. A list of dynamic length grows if the place is beyond its end.
///
/// # Constraints
/// - C1 `ls` is a list of tensors.
/// - C2 `index` is a scalar; at run time not negative, and in a list of fixed length below it.
/// - C3 `value` has the dtype and shape of the elements.
#[derive(Op, Clone, Debug)]
#[op(name = "list_write", since = iOS15)]
#[domain(T = F16 | F32 | Bool | I32)]
pub struct ListWrite {
    /// The list.
    pub ls: AnyArg,
    /// The place, counted from 0.
    #[dtype(I32)]
    pub index: Arg,
    /// The element.
    #[dtype(T)]
    pub value: Arg,
}

impl Infer for ListWrite {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let element = element("ls", &self.ls)?; // C1
        scalar("index", &self.index)?; // C2
        same(&self.value.ty, element)?; // C3
        Ok(vec![self.ls.ty.clone().into()])
    }
}

/// Elements of a list as one tensor, whose first dimension counts them.
///
/// # Constraints
/// - C1 `ls` is a list of tensors.
/// - C2 `indices` is of rank 1; at run time, places in the list, written before if the elements' size is not known.
#[derive(Op, Clone, Debug)]
#[op(name = "list_gather", since = iOS15)]
pub struct ListGather {
    /// The list.
    pub ls: AnyArg,
    /// The places, counted from 0.
    #[dtype(I32)]
    pub indices: Arg,
}

impl Infer for ListGather {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let element = element("ls", &self.ls)?; // C1
        vector("indices", &self.indices)?; // C2
        let dims: Vec<Dim> = [self.indices.dim(0)].into_iter().chain(element.shape.iter()).cloned().collect();
        Ok(vec![element.with_shape(dims).into()])
    }
}

/// The list with other elements at some places: the slices of a tensor along its first dimension. A list of dynamic
/// length grows if a place is beyond its end. Of equal places the last counts.
///
/// # Constraints
/// - C1 `ls` is a list of tensors.
/// - C2 `indices` is of rank 1; at run time not negative, and in a list of fixed length below it.
/// - C3 `value` has a first dimension, of as many slices as there are places.
/// - C4 its slices have the dtype and shape of the elements.
#[derive(Op, Clone, Debug)]
#[op(name = "list_scatter", since = iOS15)]
#[domain(T = F16 | F32 | Bool | I32)]
pub struct ListScatter {
    /// The list.
    pub ls: AnyArg,
    /// The places, counted from 0.
    #[dtype(I32)]
    pub indices: Arg,
    /// The elements, one after the other.
    #[dtype(T)]
    pub value: Arg,
}

impl Infer for ListScatter {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let element = element("ls", &self.ls)?; // C1
        vector("indices", &self.indices)?; // C2
        let [count, slice @ ..] = &self.value.shape()[..] else {
            let message = format!("`value` must have a dimension for the places, found {}", self.value.ty);
            return Err(OpError::at("value", message)); // C3
        };
        if !count.may_equal(self.indices.dim(0)) {
            let message = format!("`value` has {count} slices for {} places", self.indices.dim(0));
            return Err(OpError::at("value", message)); // C3
        }
        same(&self.value.ty.with_shape(slice.to_vec()), element)?; // C4
        Ok(vec![self.ls.ty.clone().into()])
    }
}

/// How many elements a list has.
///
/// # Constraints
/// - C1 `ls` is a list of tensors.
#[derive(Op, Clone, Debug)]
#[op(name = "list_length", since = iOS15)]
pub struct ListLength {
    /// The list.
    pub ls: AnyArg,
}

impl Infer for ListLength {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        element("ls", &self.ls)?; // C1
        Ok(vec![TensorType::scalar(DType::I32).into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::Value,
        mb,
        ops::testing::{Test, fails, infers},
    };

    fn list(t: &mut Test) -> Value {
        t.0.push(mb::make_list([2, 3])).unwrap()
    }

    #[test]
    fn makes() {
        infers(|_| mb::make_list([2, 3]), "List<Tensor<f32, 2, 3>, 1>");
        infers(|_| mb::make_list(Vec::<i32>::new()).init_length(4).dtype("bool"), "List<Tensor<bool>, 4>");
        infers(|_| mb::make_list(["n"]).dynamic_length(false), "List<Tensor<f32, ?>, 1>");
        infers(|t| mb::make_list([2]).init_length(t.t("Tensor<i32>")), "List<Tensor<f32, 2>, ?>");
    }

    #[test]
    fn c1_length() {
        fails(|_| mb::make_list([2]).init_length(-1), "init_length", "must not be negative, found -1");
        fails(|t| mb::make_list([2]).init_length(t.t("Tensor<i32, 1>")), "init_length", "must be a scalar");
    }

    #[test]
    fn c2_dtype() {
        fails(|_| mb::make_list([2]).dtype("fp64"), "dtype", "found f64");
    }

    #[test]
    fn c3_element_shape() {
        fails(|_| mb::make_list([2, -3]), "elem_shape", "sizes that are known");
        fails(|t| mb::make_list([&t.t("Tensor<i32>")]), "elem_shape", "sizes that are known");
    }

    #[test]
    fn reads_and_writes() {
        infers(|t| mb::list_read(list(t), 0), "Tensor<f32, 2, 3>");
        infers(|t| mb::list_write(list(t), 0, t.t("Tensor<f32, 2, N>")), "List<Tensor<f32, 2, 3>, 1>");
        infers(|t| mb::list_gather(list(t), t.t("Tensor<i32, N>")), "Tensor<f32, N, 2, 3>");
        let value = |t: &mut Test| t.t("Tensor<f32, 2, 2, 3>");
        infers(|t| mb::list_scatter(list(t), [1, 2], value(t)), "List<Tensor<f32, 2, 3>, 1>");
        infers(|t| mb::list_length(list(t)), "Tensor<i32>");
    }

    #[test]
    fn lists_are_lists() {
        fails(|t| mb::list_read(t.t("Tensor<f32, 2>"), 0), "ls", "must be a list of tensors");
        fails(|t| mb::list_write(t.t("Tensor<f32, 2>"), 0, t.t("Tensor<f32>")), "ls", "must be a list of tensors");
        fails(|t| mb::list_gather(t.t("Tensor<f32, 2>"), [0]), "ls", "must be a list of tensors");
        fails(|t| mb::list_scatter(t.t("Tensor<f32, 2>"), [0], t.t("Tensor<f32, 1>")), "ls", "must be a list");
        fails(|t| mb::list_length(t.t("Tensor<f32, 2>")), "ls", "must be a list of tensors");
    }

    #[test]
    fn c2_places() {
        fails(|t| mb::list_read(list(t), [0]), "index", "must be a scalar");
        fails(|t| mb::list_write(list(t), [0], t.t("Tensor<f32, 2, 3>")), "index", "must be a scalar");
        fails(|t| mb::list_gather(list(t), 0), "indices", "must be of rank 1");
        fails(|t| mb::list_scatter(list(t), 0, t.t("Tensor<f32, 1, 2, 3>")), "indices", "must be of rank 1");
    }

    #[test]
    fn what_is_written_fits() {
        let write = |ty: &'static str| move |t: &mut Test| mb::list_write(list(t), 0, t.t(ty));
        fails(write("Tensor<f32, 3, 3>"), "value", "elements are Tensor<f32, 2, 3>, but Tensor<f32, 3, 3> is written");
        fails(write("Tensor<f16, 2, 3>"), "value", "but Tensor<f16, 2, 3> is written");
        let scatter = |ty: &'static str| move |t: &mut Test| mb::list_scatter(list(t), [0, 1], t.t(ty));
        fails(scatter("Tensor<f32>"), "value", "must have a dimension for the places");
        fails(scatter("Tensor<f32, 3, 2, 3>"), "value", "has 3 slices for 2 places");
        fails(scatter("Tensor<f32, 2, 3>"), "value", "but Tensor<f32, 3> is written");
    }
}
