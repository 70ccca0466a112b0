//! `reverse`, `reverse_sequence`.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::Dim,
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Reverse::DEF, ReverseSequence::DEF];

/// Turns dimensions round: the last element comes first.
///
/// # Constraints
/// - C1 each element of `axes` is a dimension of `x`; negative ones count from the end.
/// - C2 no dimension is named twice.
#[derive(Op, Clone, Debug)]
#[op(name = "reverse", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
pub struct Reverse {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// The dimensions. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
}

impl Reverse {
    /// The dimensions that are turned round, sorted.
    ///
    /// # Errors
    /// If `axes` names no dimension, or one twice (C1, C2).
    pub fn dimensions(&self) -> Result<Vec<usize>, OpError> {
        match &self.axes {
            Some(axes) => rules::axes(axes, self.x.rank(), "axes"),
            None => Ok((0..self.x.rank()).collect()),
        }
    }
}

impl Infer for Reverse {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let axes = self.dimensions()?;
        let known = self.x.shape().fixed().and_then(|sizes| {
            known::moved(&[&self.x], self.x.shape(), |at| {
                let mut from = at.to_vec();
                axes.iter().for_each(|a| from[*a] = sizes[*a] - 1 - from[*a]);
                (0, from)
            })
        });
        Ok(vec![Inferred::known(self.x.ty.clone(), known)])
    }
}

/// Turns the beginnings of sequences round: along `seq_axis`, the first `lengths[i]` elements of sequence `i` of the batch.
///
/// # Constraints
/// - C1 `seq_axis` and `batch_axis` are dimensions of `x`; negative ones count from the end.
/// - C2 they are not the same.
/// - C3 `lengths` has one element per sequence of the batch.
/// - C4 lengths that are known are 0 or more and at most the size of `seq_axis`.
#[derive(Op, Clone, Debug)]
#[op(name = "reverse_sequence", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
#[domain(U = I8 | I16 | I32)]
pub struct ReverseSequence {
    /// Any tensor of rank 2 or more.
    #[dtype(T)]
    pub x: Arg,
    /// For each sequence of the batch, how many elements are turned round.
    #[dtype(I32, iOS17 = U)]
    pub lengths: Arg,
    /// The dimension along which the sequences go. Default: 0.
    #[dtype(I32)]
    #[default(0)]
    pub seq_axis: i64,
    /// The dimension of the batch. Default: 0.
    #[dtype(I32)]
    #[default(0)]
    pub batch_axis: i64,
}

impl ReverseSequence {
    /// `seq_axis` and `batch_axis`, counted from the start.
    ///
    /// # Errors
    /// If they are no dimensions, or the same (C1, C2).
    pub fn dimensions(&self) -> Result<(usize, usize), OpError> {
        let rank = self.x.rank();
        let seq = rules::axis(self.seq_axis, rank, "seq_axis")?;
        let batch = rules::axis(self.batch_axis, rank, "batch_axis")?;
        if seq == batch {
            let message = format!("`seq_axis` and `batch_axis` are both dimension {seq}");
            return Err(OpError::at("seq_axis", message).note("name two dimensions"));
        }
        Ok((seq, batch))
    }

    /// A length as a number of elements of a sequence of this size.
    ///
    /// # Errors
    /// If there are not as many (C4).
    pub fn length(length: i64, size: usize) -> Result<usize, OpError> {
        usize::try_from(length).ok().filter(|n| *n <= size).ok_or_else(|| {
            let message = format!("length {length} is out of range for sequences of {size} elements");
            OpError::at("lengths", message).note(format!("lengths are 0 to {size}"))
        })
    }
}

impl Infer for ReverseSequence {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (seq, batch) = self.dimensions()?;
        rules::vector(&self.lengths, self.x.dim(batch), "lengths")?; // C3
        let mut known = None;
        if let (Some(lengths), Some(size)) = (self.lengths.known_dims(), self.x.dim(seq).fixed()) {
            let lengths = lengths.iter().filter_map(Dim::value).map(|n| Self::length(n, size)); // C4
            let lengths = lengths.collect::<Result<Vec<_>, _>>()?;
            known = known::moved(&[&self.x], self.x.shape(), |at| {
                let mut from = at.to_vec();
                if let Some(length) = lengths.get(at[batch]).filter(|n| at[seq] < **n) {
                    from[seq] = length - 1 - at[seq];
                }
                (0, from)
            })
            .filter(|_| self.lengths.known_ints().is_some());
        }
        Ok(vec![Inferred::known(self.x.ty.clone(), known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infers, knows},
        types::Opset,
    };

    fn six(g: &mut Test) -> crate::graph::Value {
        g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap())
    }

    #[test]
    fn reversed() {
        infers(|g| mb::reverse(g.t("Tensor<bool, 2, H>")), "Tensor<bool, 2, H>");
        infers(|g| mb::reverse(g.t("Tensor<f32>")), "Tensor<f32>");
        knows(|g| mb::reverse(six(g)), "[6, 5, 4, 3, 2, 1]");
        knows(|g| mb::reverse(six(g)).axes([-1]), "[3, 2, 1, 6, 5, 4]");
        let shape = |g: &mut Test| {
            let x = g.t("Tensor<f32, 2, H>");
            let shape = g.push(mb::shape(x)).unwrap().remove(0);
            mb::reverse(shape)
        };
        knows(shape, "[H, 2]");
    }

    #[test]
    fn reverse_constraints() {
        fails(|g| mb::reverse(g.t("Tensor<f32, 2>")).axes([1]), "axes", "out of range"); // C1
        fails(|g| mb::reverse(g.t("Tensor<f32, 2>")).axes([0, -1]), "axes", "twice"); // C2
        fails_in(Opset::iOS16, |g| mb::reverse(g.t("Tensor<i8, 2>")), "x", "opset iOS17 takes it");
    }

    #[test]
    fn sequences() {
        let x = "Tensor<f16, N, 8, 3>";
        infers(|g| mb::reverse_sequence(g.t(x), g.t("Tensor<i16, N>")).seq_axis(1), x);
        infers(|g| mb::reverse_sequence(g.t(x), g.t("Tensor<i32, 8>")).seq_axis(-1).batch_axis(1), x);
        knows(|g| mb::reverse_sequence(six(g), [3, 2]).seq_axis(1), "[3, 2, 1, 5, 4, 6]");
        knows(|g| mb::reverse_sequence(six(g), [0, 1, 2]).batch_axis(1), "[1, 2, 6, 4, 5, 3]");
    }

    #[test]
    fn sequence_constraints() {
        let x = "Tensor<f32, 2, 3>";
        fails(|g| mb::reverse_sequence(g.t(x), [0, 0]).seq_axis(2), "seq_axis", "out of range"); // C1
        fails(|g| mb::reverse_sequence(g.t(x), [0, 0]).batch_axis(-3), "batch_axis", "out of range");
        fails(|g| mb::reverse_sequence(g.t(x), [0, 0]), "seq_axis", "are both dimension 0"); // C2
        fails(|g| mb::reverse_sequence(g.t(x), [0]).seq_axis(1), "lengths", "2 elements, found 1"); // C3
        fails(|g| mb::reverse_sequence(g.t(x), [0, 4]).seq_axis(1), "lengths", "lengths are 0 to 3"); // C4
        fails(|g| mb::reverse_sequence(g.t(x), [-1, 0]).seq_axis(1), "lengths", "length -1 is out of range");
        let narrow = |g: &mut Test| mb::reverse_sequence(g.t(x), g.t("Tensor<i8, 2>")).seq_axis(1);
        fails_in(Opset::iOS16, narrow, "lengths", "opset iOS17 takes it");
    }
}
