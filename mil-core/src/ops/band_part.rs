//! `band_part`.

use crate::{
    ir::{Constant, Known},
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
};
use mil_derive::Op;

use super::known;

pub(crate) const OPS: &[&OpDef] = &[BandPart::DEF];

/// Keeps the diagonals around the main one of each matrix, and makes the rest 0.
///
/// `lower = 0` keeps the upper triangle, `upper = 0` the lower one, both the diagonal alone.
///
/// # Constraints
/// - C1 `x` has rank 2 or more: matrices in its last two dimensions.
#[derive(Op, Clone, Debug)]
#[op(name = "band_part", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct BandPart {
    /// Matrices, in the last two dimensions.
    #[dtype(T)]
    pub x: Arg,
    /// How many diagonals below the main one are kept; a negative number means all. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub lower: i64,
    /// How many diagonals above the main one are kept; a negative number means all. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub upper: i64,
}

impl BandPart {
    /// Whether the element in this row and column of a matrix is kept.
    pub fn keeps(&self, row: usize, column: usize) -> bool {
        let (row, column) = (row as i64, column as i64);
        (self.lower < 0 || row - column <= self.lower) && (self.upper < 0 || column - row <= self.upper)
    }
}

impl Infer for BandPart {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, rank) = (&self.x, self.x.rank());
        if rank < 2 {
            return Err(OpError::at("x", format!("`x` must have rank 2 or more, found {}", x.ty))); // C1
        }
        let zero = Constant::from_bytes(x.dtype(), [], vec![0; x.dtype().bits() / 8]).ok();
        let known = zero.and_then(|zero| {
            let zero = Arg { id: None, ty: zero.ty(), known: Some(Known::Constant(zero)), is_const: true };
            known::moved(&[x, &zero], x.shape(), |at| match self.keeps(at[rank - 2], at[rank - 1]) {
                true => (0, at.to_vec()),
                false => (1, vec![]),
            })
        });
        Ok(vec![Inferred::known(x.ty.clone(), known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{Test, fails, infers, knows},
    };

    #[test]
    fn bands() {
        infers(|g| mb::band_part(g.t("Tensor<bool, 2, H, W>")), "Tensor<bool, 2, H, W>");
        let six = |g: &mut Test| g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap());
        knows(|g| mb::band_part(six(g)), "[1, 2, 3, 4, 5, 6]");
        knows(|g| mb::band_part(six(g)).lower(0), "[1, 2, 3, 0, 5, 6]");
        knows(|g| mb::band_part(six(g)).upper(0), "[1, 0, 0, 4, 5, 0]");
        knows(|g| mb::band_part(six(g)).lower(0).upper(1), "[1, 2, 0, 0, 5, 6]");
    }

    #[test]
    fn constraints() {
        fails(|g| mb::band_part(g.t("Tensor<f32, 2>")), "x", "rank 2 or more"); // C1
    }
}
