//! `concat`, `stack`, `tile`: ops that put tensors together.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{Dim, Shape},
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Concat::DEF, Stack::DEF, Tile::DEF];

/// Joins tensors along a dimension that they have. Scalars are joined to a list.
///
/// # Constraints
/// - C1 there is at least one value.
/// - C2 all values have the same rank.
/// - C3 `axis` is a dimension of the values; a negative one counts from the end.
/// - C4 all sizes but the one along `axis` agree.
/// - C5 with `interleave`, the sizes along `axis` agree too.
/// - C6 all values have the same dtype.
#[derive(Op, Clone, Debug)]
#[op(name = "concat", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool | I8 | I16 | U8 | U16)]
pub struct Concat {
    /// The tensors, in order.
    #[dtype(T)]
    pub values: Vec<Arg>,
    /// The dimension along which they are joined.
    #[dtype(I32)]
    pub axis: i64,
    /// Whether to take from the values in turn (the first of each, then the second of each) instead of one value after
    /// the other. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub interleave: bool,
}

impl Concat {
    /// The dimension along which the values are joined, counted from the start.
    ///
    /// # Errors
    /// If it is none (C3).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.values.first().map_or(0, Arg::rank).max(1), "axis")
    }
}

/// The shape that tensors have in common, where they need to agree in all dimensions but one.
fn common(values: &[Arg], except: Option<usize>, hint: &str) -> Result<Shape, OpError> {
    let Some(first) = values.first() else {
        return Err(OpError::at("values", "`values` is empty").note("give at least one tensor"));
    };
    let mut dims = first.shape().to_vec();
    for (n, value) in values.iter().enumerate().skip(1) {
        let note = || format!("value 0: {}\nvalue {n}: {}{hint}", first.ty, value.ty);
        if value.rank() != dims.len() {
            let message = format!("value {n} has rank {}, but the first has rank {}", value.rank(), dims.len());
            return Err(OpError::at("values", message).index(n).note(note()));
        }
        for (i, (known, d)) in dims.iter_mut().zip(value.shape().iter()).enumerate() {
            if except == Some(i) {
                continue;
            }
            if !known.may_equal(d) {
                let message = format!("dimension {i} of value {n} is {d}, but {known} in those before");
                return Err(OpError::at("values", message).index(n).note(note()));
            }
            if d.fixed().is_some() {
                *known = d.clone();
            }
        }
    }
    Ok(dims.into())
}

impl Infer for Concat {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let axis = self.dimension()?; // C3
        let mut values = self.values.clone();
        let except = (!self.interleave).then_some(axis);
        let mut shape =
            common(&values, except, if self.interleave { "\n`interleave` needs equal shapes" } else { "" })?;
        let one = Dim::from(1);
        let sizes: Vec<Dim> = values.iter().map(|v| v.shape().get(axis).unwrap_or(&one).clone()).collect();
        let total = sizes.iter().cloned().fold(Dim::from(0), |n, d| n + d);
        match shape.get(axis) {
            Some(_) => shape.dims_mut()[axis] = total,
            None => shape.dims_mut().push(total),
        }
        let ty = self.values[0].ty.with_shape(shape);
        known::name_unknown(&mut values, cx);
        let scalars = values[0].rank() == 0;
        let known = sizes.iter().map(Dim::fixed).collect::<Option<Vec<_>>>().and_then(|sizes| {
            known::moved(&values.iter().collect::<Vec<_>>(), &ty.shape, |at| {
                let (value, place) = source(at[axis], &sizes, self.interleave);
                let mut from = at.to_vec();
                from[axis] = place;
                (value, if scalars { vec![] } else { from })
            })
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// Which value, and which place along its axis, a place along the axis of the joined tensor comes from.
fn source(at: usize, sizes: &[usize], interleave: bool) -> (usize, usize) {
    if interleave {
        return (at % sizes.len(), at / sizes.len());
    }
    let mut rest = at;
    for (value, size) in sizes.iter().enumerate() {
        if rest < *size {
            return (value, rest);
        }
        rest -= size;
    }
    (sizes.len() - 1, 0) // not reached: a place is less than the sum of the sizes
}

/// Joins tensors of the same shape along a new dimension.
///
/// # Constraints
/// - C1 there is at least one value.
/// - C2 all values have the same shape.
/// - C3 `axis` is a dimension of the output; a negative one counts from the end.
/// - C4 all values have the same dtype.
#[derive(Op, Clone, Debug)]
#[op(name = "stack", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool | I8 | I16 | U8 | U16)]
pub struct Stack {
    /// The tensors, in order.
    #[dtype(T)]
    pub values: Vec<Arg>,
    /// The dimension of the output that is new.
    #[dtype(I32)]
    pub axis: i64,
}

impl Stack {
    /// The new dimension, counted from the start.
    ///
    /// # Errors
    /// If it is none (C3).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.values.first().map_or(0, Arg::rank) + 1, "axis")
    }
}

impl Infer for Stack {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let mut shape = common(&self.values, None, "\n`stack` needs equal shapes; `mb::concat` joins others")?; // C1, C2
        let axis = self.dimension()?; // C3
        shape.dims_mut().insert(axis, Dim::from(self.values.len()));
        let ty = self.values[0].ty.with_shape(shape);
        let mut values = self.values.clone();
        known::name_unknown(&mut values, cx);
        let known = known::moved(&values.iter().collect::<Vec<_>>(), &ty.shape, |at| {
            let mut from = at.to_vec();
            let value = from.remove(axis);
            (value, from)
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// Repeats a tensor: dimension `i` of the output is dimension `i` of `x`, `reps[i]` times.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `reps` has one element per dimension of `x`.
/// - C3 each element of `reps` is at least 1.
#[derive(Op, Clone, Debug)]
#[op(name = "tile", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct Tile {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// How often to repeat each dimension.
    #[dtype(I32)]
    pub reps: Arg,
}

impl Infer for Tile {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        if self.x.rank() == 0 {
            let error = OpError::at("x", format!("`x` must have rank 1 or more, found {}", self.x.ty)); // C1
            return Err(error.note("give a scalar a dimension with `mb::expand_dims`, or use `mb::fill`"));
        }
        known::one_per_dimension(&self.reps, &self.x, "reps")?; // C2
        let dims: Vec<Dim> = match self.reps.known_dims() {
            None => (0..self.x.rank()).map(|_| cx.unknown()).collect(),
            Some(reps) => {
                if let Some(bad) = reps.iter().find(|r| r.bounds().1.is_some_and(|max| max < 1)) {
                    return Err(OpError::at("reps", format!("`reps` must be 1 or more, found {bad}"))); // C3
                }
                let times = |(d, r): (&Dim, &Dim)| if r.at_least(0) { d.clone() * r.clone() } else { cx.unknown() };
                self.x.shape().iter().zip(&reps).map(times).collect()
            }
        };
        let ty = self.x.ty.with_shape(dims);
        let known = self.x.shape().fixed().and_then(|sizes| {
            let source = |at: &[usize]| (0, at.iter().zip(&sizes).map(|(i, n)| i % n).collect());
            known::moved(&[&self.x], &ty.shape, source)
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::Value,
        ir::Constant,
        mb,
        op::Operand,
        ops::testing::{Test, fails, infers, knows},
    };

    fn list(g: &mut Test, types: &[&str]) -> Vec<Value> {
        types.iter().map(|t| g.t(t)).collect()
    }

    #[test]
    fn concat_joins() {
        infers(|g| mb::concat(list(g, &["Tensor<f32, 2, H>", "Tensor<f32, 3, H>"]), 0), "Tensor<f32, 5, H>");
        infers(|g| mb::concat(list(g, &["Tensor<u8, 2, H>", "Tensor<u8, 2, W>"]), -1), "Tensor<u8, 2, H + W>");
        infers(|g| mb::concat(list(g, &["Tensor<f32, H, 1>", "Tensor<f32, 4, 2>"]), 1), "Tensor<f32, 4, 3>");
        infers(|g| mb::concat(list(g, &["Tensor<i32>", "Tensor<i32>"]), 0), "Tensor<i32, 2>");
        infers(|g| mb::concat(list(g, &["Tensor<f32, 2, 3>"; 3]), 0).interleave(true), "Tensor<f32, 6, 3>");
    }

    #[test]
    fn concat_knows() {
        let pair = |g: &mut Test, shape: &[usize]| {
            let a = g.c(Constant::new(shape, &[1i32, 2, 3, 4]).unwrap());
            vec![a, g.c(Constant::new(shape, &[5i32, 6, 7, 8]).unwrap())]
        };
        knows(|g| mb::concat(pair(g, &[2, 2]), 0), "[1, 2, 3, 4, 5, 6, 7, 8]");
        knows(|g| mb::concat(pair(g, &[2, 2]), 1), "[1, 2, 5, 6, 3, 4, 7, 8]");
        knows(|g| mb::concat(pair(g, &[2, 2]), 0).interleave(true), "[1, 2, 5, 6, 3, 4, 7, 8]");
        knows(|g| mb::concat(pair(g, &[4]), 0).interleave(true), "[1, 5, 2, 6, 3, 7, 4, 8]");
        // What is not known gets a name, so that the rest stays known.
        knows(
            |g| {
                let x = g.t("Tensor<f32, H, 3>");
                let shape = g.push(mb::shape(x)).unwrap().remove(0);
                mb::concat(vec![shape, g.t("Tensor<i32, 1>")], 0)
            },
            "[H, 3, ?]",
        );
        knows(|g| mb::concat(vec![Operand::from(g.t("Tensor<i32>")), 4.into(), (-1).into()], 0), "[?, 4, -1]");
    }

    #[test]
    fn concat_constraints() {
        fails(|_| mb::concat(Vec::<Value>::new(), 0), "values", "is empty"); // C1
        fails(|g| mb::concat(list(g, &["Tensor<f32, 2>", "Tensor<f32, 2, 1>"]), 0), "values", "rank 2"); // C2
        fails(|g| mb::concat(list(g, &["Tensor<f32, 2>"; 2]), 1), "axis", "out of range"); // C3
        let types = ["Tensor<f32, 2, 3>", "Tensor<f32, 2, 4>"];
        fails(|g| mb::concat(list(g, &types), 0), "values", "dimension 1 of value 1 is 4, but 3"); // C4
        let types = ["Tensor<f32, 2>", "Tensor<f32, 3>"];
        fails(|g| mb::concat(list(g, &types), 0).interleave(true), "values", "equal shapes"); // C5
        fails(|g| mb::concat(list(g, &["Tensor<f32, 2>", "Tensor<f16, 2>"]), 0), "values", "same dtype"); // C6
    }

    #[test]
    fn stack_joins() {
        infers(|g| mb::stack(list(g, &["Tensor<f32, H, 3>", "Tensor<f32, 2, 3>"]), -1), "Tensor<f32, 2, 3, 2>");
        infers(|g| mb::stack(list(g, &["Tensor<bool>"; 3]), 0), "Tensor<bool, 3>");
        knows(
            |g| {
                let x = g.t("Tensor<f32, H, 3>");
                let shape = g.push(mb::shape(x)).unwrap().remove(0);
                let h = g.push(mb::gather(&shape, 0)).unwrap().remove(0);
                mb::stack(vec![Operand::from(h), 7.into()], 0)
            },
            "[H, 7]",
        );
        fails(|_| mb::stack(Vec::<Value>::new(), 0), "values", "is empty"); // C1
        fails(|g| mb::stack(list(g, &["Tensor<f32, 2>", "Tensor<f32, 3>"]), 0), "values", "mb::concat"); // C2
        fails(|g| mb::stack(list(g, &["Tensor<f32, 2>"; 2]), 2), "axis", "out of range"); // C3
        fails(|g| mb::stack(list(g, &["Tensor<f32, 2>", "Tensor<i32, 2>"]), 0), "values", "same dtype"); // C4
    }

    #[test]
    fn tile_repeats() {
        infers(|g| mb::tile(g.t("Tensor<f32, 2, H>"), [3, 2]), "Tensor<f32, 6, 2 * H>");
        infers(|g| mb::tile(g.t("Tensor<f32, 2, H>"), g.t("Tensor<i32, 2>")), "Tensor<f32, ?, ?>");
        knows(|g| mb::tile(g.c(Constant::new([2, 1], &[1i32, 2]).unwrap()), [2, 2]), "[1, 1, 2, 2, 1, 1, 2, 2]");
        fails(|g| mb::tile(g.t("Tensor<f32>"), Constant::vector::<i32>(&[])), "x", "mb::expand_dims"); // C1
        fails(|g| mb::tile(g.t("Tensor<f32, 2, 3>"), [2]), "reps", "are 2, found 1"); // C2
        fails(|g| mb::tile(g.t("Tensor<f32, 2>"), [0]), "reps", "1 or more, found 0"); // C3
    }
}
