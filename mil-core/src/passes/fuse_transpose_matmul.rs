//! `matmul` of transposed operands.

use crate::{
    graph::Value,
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{Context, Pass, Report, Rewriter, fusion::each_op};

/// `matmul` of operands whose last two dimensions a `transpose` exchanges is a `matmul` that does so itself.
#[derive(Clone, Copy, Debug)]
pub struct FuseTransposeMatmul;

impl Pass for FuseTransposeMatmul {
    fn name(&self) -> &'static str {
        "fuse_transpose_matmul"
    }

    fn doc(&self) -> &'static str {
        "lets matmul transpose its operands"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused transpose and matmul", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some(matmul) = rw.bind::<mb::Matmul>(op) else { return Ok(None) };
    let (Some(x), Some(y)) = (matmul.x.id, matmul.y.id) else { return Ok(None) };
    let (new_x, new_y) = (exchanged(rw, x, op), exchanged(rw, y, op));
    if new_x.is_none() && new_y.is_none() {
        return Ok(None);
    }
    let flags = (matmul.transpose_x != new_x.is_some(), matmul.transpose_y != new_y.is_some());
    let (x, y) = (rw.value(new_x.unwrap_or(x)), rw.value(new_y.unwrap_or(y)));
    Ok(Some(rw.before(op).push(mb::matmul(&x, &y).transpose_x(flags.0).transpose_y(flags.1))?))
}

/// The value whose last two dimensions are exchanged to make this one. A transpose outside of a loop is not taken into it.
fn exchanged(rw: &Rewriter, v: ValueId, user: OpId) -> Option<ValueId> {
    let (op, transpose) = rw.made_by_op::<mb::Transpose>(v)?;
    let perm = transpose.permutation().ok()?;
    let n = perm.len();
    let exchange = (0..n).map(|i| if i + 2 >= n { 2 * n - 3 - i } else { i });
    (n >= 2 && rw.block_of(op) == rw.block_of(user) && exchange.eq(perm)).then_some(transpose.x.id?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{constants, f32s, graph, ops, run};

    #[test]
    fn of_either_operand() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3, 4]));
        let y = g.input("y", f32s(&[3, 5]));
        let a = g.push(mb::transpose(&x, [0, 2, 1])).unwrap();
        let b = g.push(mb::transpose(&y, [1, 0])).unwrap();
        let z = g.push(mb::matmul(&a, &b).transpose_y(true)).unwrap();
        let mut p = g.finish([("z", z)]).unwrap();
        run(&FuseTransposeMatmul, &mut p);
        assert_eq!(ops(&p), ["matmul"]);
        let flags = constants(&p, "matmul", &["transpose_x", "transpose_y"]);
        assert_eq!(flags.iter().map(|c| c.ints().unwrap()[0]).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn other_transposes_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3, 4]));
        let a = g.push(mb::transpose(&x, [1, 0, 2])).unwrap();
        let z = g.push(mb::matmul(&a, &a).transpose_y(true)).unwrap();
        let mut p = g.finish([("z", z)]).unwrap();
        assert_eq!(run(&FuseTransposeMatmul, &mut p).changes(), 0);
    }
}
