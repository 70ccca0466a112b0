//! `matmul` by a weight, with a bias.

use crate::{
    graph::Value,
    ir::{Constant, OpId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    channels::{along, constant},
    fusion::each_op,
};

/// `matmul(x, w) + b` and `matmul(x, w) - b` are `linear`, if `w` is a constant matrix that nothing else uses and `b` a constant
/// with an element per column of the result. Unlike `matmul`, `linear` wants the matrix transposed: it is, here.
///
/// A matrix on the left stays, since `linear` would need two transposes of values; and so does a transposed `x`.
#[derive(Clone, Copy, Debug)]
pub struct FuseMatmulWeightBias;

impl Pass for FuseMatmulWeightBias {
    fn name(&self) -> &'static str {
        "fuse_matmul_weight_bias"
    }

    fn doc(&self) -> &'static str {
        "makes linear of matmul by a constant and add or sub of a constant"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused matmul and add", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some(Match { matmul, weight, bias }) = matched(rw, op) else { return Ok(None) };
    let Some(x) = matmul.x.id.map(|x| rw.value(x)) else { return Ok(None) };
    if !matmul.transpose_y {
        let Some(weight) = transposed(&weight) else { return Ok(None) };
        return Ok(Some(rw.before(op).push(mb::linear(&x, weight).bias(bias))?));
    }
    let Some(weight) = matmul.y.id.map(|w| rw.value(w)) else { return Ok(None) };
    Ok(Some(rw.before(op).push(mb::linear(&x, &weight).bias(bias))?))
}

struct Match {
    matmul: mb::Matmul,
    weight: Constant,
    bias: Constant,
}

fn matched(rw: &Rewriter, op: OpId) -> Option<Match> {
    let sign = match rw.op(op).def.name {
        "add" => 1.0,
        "sub" => -1.0,
        _ => return None,
    };
    let (product, added, constant_first) = rw.with_constant(op)?;
    if sign < 0.0 && constant_first {
        return None;
    }
    let (at, matmul) = rw.made_for_op::<mb::Matmul>(product, op)?;
    let (x, y) = (&matmul.x, &matmul.y);
    if x.rank() < 2 || y.rank() != 2 || matmul.transpose_x || rw.known(x.id?).is_some() {
        return None;
    }
    let weight = rw.stored(y.id, y.constant())?;
    if y.id.is_some_and(|w| rw.only_user(w) != Some(at)) {
        return None;
    }
    let columns = weight.shape()[usize::from(!matmul.transpose_y)];
    // One number for all is no bias in coremltools' eyes; it is one all the same.
    let rank = x.rank();
    let numbers = along(&added, rank, rank - 1, columns)?;
    // `linear` wants both of one dtype.
    let bias = constant(weight.dtype(), &[columns], numbers.into_iter().map(|b| sign * b))?;
    (added.dtype() == weight.dtype()).then_some(Match { matmul, weight, bias })
}

/// A matrix, transposed, in one pass over blocks that fit into the cache.
fn transposed(c: &Constant) -> Option<Constant> {
    let &[rows, columns] = c.shape() else { return None };
    let (bytes, size) = (c.bytes()?, c.dtype().bits() / 8);
    let mut out = vec![0; bytes.len()];
    const BLOCK: usize = 32;
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            for i in row..rows.min(row + BLOCK) {
                for j in column..columns.min(column + BLOCK) {
                    let (from, to) = ((i * columns + j) * size, (j * rows + i) * size);
                    out[to..to + size].copy_from_slice(&bytes[from..from + size]);
                }
            }
        }
    }
    // Of a mapped file both would be in memory otherwise.
    bytes.release();
    Constant::from_bytes(c.dtype(), [columns, rows], out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        passes::testing::{constants, f32s, graph, ops, run},
    };

    fn matrix(g: &mut Graph) -> Value {
        g.constant("w", Constant::new([2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap())
    }

    #[test]
    fn weight_is_transposed() {
        let mut g = graph();
        let x = g.input("x", f32s(&[5, 4, 2]));
        let w = matrix(&mut g);
        let m = g.push(mb::matmul(&x, &w)).unwrap();
        let y = g.push(mb::sub(&m, [[7.0, 8.0, 9.0]])).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseMatmulWeightBias, &mut p);
        assert_eq!(ops(&p), ["linear"]);
        let all = constants(&p, "linear", &["weight", "bias"]);
        assert_eq!(all[0], Constant::new([3, 2], &[1f32, 4.0, 2.0, 5.0, 3.0, 6.0]).unwrap());
        assert_eq!(all[1].elements::<f32>().unwrap(), [-7.0, -8.0, -9.0]);
    }

    #[test]
    fn weight_that_is_transposed_is_shared() {
        let mut g = graph();
        let x = g.input("x", f32s(&[4, 3]));
        let w = matrix(&mut g);
        let m = g.push(mb::matmul(&x, &w).transpose_y(true)).unwrap();
        let y = g.push(mb::add(1.0, &m)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseMatmulWeightBias, &mut p);
        assert_eq!(ops(&p), ["linear"]);
        assert_eq!(constants(&p, "linear", &["bias"])[0].elements::<f32>().unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn large_matrices_are_transposed_by_blocks() {
        let numbers: Vec<i32> = (0..45 * 70).collect();
        let turned = transposed(&Constant::new([45, 70], &numbers).unwrap()).unwrap();
        let expected: Vec<i32> = (0..70).flat_map(|j| (0..45).map(move |i| i * 70 + j)).collect();
        assert_eq!(turned, Constant::new([70, 45], &expected).unwrap());
    }

    #[test]
    fn other_products_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[4, 2]));
        let z = g.input("z", f32s(&[2, 3]));
        // A weight with another user, a bias per row, a computed weight, a product that is given, a constant less it.
        let w = matrix(&mut g);
        let a = g.push(mb::matmul(&x, &w)).unwrap();
        let a = g.push(mb::relu(&a)).unwrap();
        let b = g.push(mb::matmul(&x, &w)).unwrap();
        let b = g.push(mb::add(&b, 1.0)).unwrap();
        let own = matrix(&mut g);
        let c = g.push(mb::matmul(&x, &own)).unwrap();
        let c = g.push(mb::add(&c, [[1.0], [2.0], [3.0], [4.0]])).unwrap();
        let d = g.push(mb::matmul(&x, &z)).unwrap();
        let d = g.push(mb::add(&d, 1.0)).unwrap();
        let own = matrix(&mut g);
        let e = g.push(mb::matmul(&x, &own)).unwrap();
        let f = g.push(mb::add(&e, 1.0)).unwrap();
        let own = matrix(&mut g);
        let h = g.push(mb::matmul(&x, &own)).unwrap();
        let h = g.push(mb::sub(1.0, &h)).unwrap();
        let outputs = [("a", a), ("b", b), ("c", c), ("d", d), ("e", e), ("f", f), ("h", h)];
        let mut p = g.finish(outputs).unwrap();
        assert_eq!(run(&FuseMatmulWeightBias, &mut p).changes(), 0);
    }
}
