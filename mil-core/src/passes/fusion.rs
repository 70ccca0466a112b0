//! What fusions have in common: going through the ops, and products in whatever order they are written.

use crate::{
    graph::Value,
    ir::{OpId, ValueId},
    op::{Arg, OpError},
    ops::rules,
    types::DType,
};

use super::{Report, Rewriter};

/// Goes through the ops once, and replaces each of one output that `fuse` gives a value for, if that has the same type.
pub(super) fn each_op(
    rw: &mut Rewriter,
    report: &mut Report,
    what: &str,
    mut fuse: impl FnMut(&mut Rewriter, OpId) -> Result<Option<Value>, OpError>,
) -> Result<(), OpError> {
    for op in rw.ops() {
        if !rw.is_live(op) {
            continue;
        }
        let Some(out) = rw.output(op) else { continue };
        let Some(new) = fuse(rw, op)? else { continue };
        // A number of a rank above that of the other operand, [1, 1, 1] with [2], makes more than the pattern says.
        if new.ty() != rw.ty(out) {
            if let Some(unused) = rw.producer(new.id()) {
                rw.erase_unused(unused);
            }
            continue;
        }
        rw.replace(op, &[new])?;
        report.count(what);
    }
    Ok(())
}

/// The dtype of a float tensor.
pub(super) fn float(rw: &Rewriter, v: ValueId) -> Option<DType> {
    rw.ty(v).tensor().map(|t| t.dtype).filter(|d| d.is_float())
}

/// Whether a constant of a formula is what is expected, as exactly as the dtype says it. Programs write 0.79788 for the root
/// of 2/pi, which is told from it in the sixth digit.
pub(super) fn close(found: f64, expected: f64, dtype: DType) -> bool {
    let tolerance = if dtype == DType::F16 { 1e-3 } else { 1e-5 };
    (found - expected).abs() <= tolerance * expected.abs()
}

/// Factors that several ops multiply, whatever their order.
pub(super) struct Product {
    /// All numbers together.
    pub number: f64,
    /// The other factors, and the op that each is an operand of.
    pub values: Vec<(ValueId, OpId)>,
}

impl Product {
    /// More ops than this are no pattern.
    const MAX_OPS: usize = 6;

    /// What an op multiplies, with those multiplications before it which are there for it alone: of `mul`, of `real_div` by a
    /// number, of `square`, and `pow` by 2 or 3.
    pub(super) fn of(rw: &Rewriter, op: OpId) -> Option<Product> {
        let mut product = Product { number: 1.0, values: vec![] };
        let mut ops = vec![op];
        let mut done = 0;
        while let Some(op) = ops.pop() {
            let (factors, number) = Product::factors(rw, op)?;
            product.number *= number;
            done += 1;
            for v in factors {
                let inner = rw.made_for(v, op).filter(|inner| Product::factors(rw, *inner).is_some());
                match inner.filter(|_| done + ops.len() < Product::MAX_OPS) {
                    Some(inner) => ops.push(inner),
                    None => product.values.push((v, op)),
                }
            }
        }
        Some(product)
    }

    /// The only factor beside the number.
    pub(super) fn single(&self) -> Option<(ValueId, OpId)> {
        match self.values[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The two factors beside the number, both ways round.
    pub(super) fn two(&self) -> Vec<[(ValueId, OpId); 2]> {
        match self.values[..] {
            [a, b] => vec![[a, b], [b, a]],
            _ => vec![],
        }
    }

    /// Whether the factors are `x` that many times.
    pub(super) fn is_power(&self, x: ValueId, times: usize) -> bool {
        self.values.len() == times && self.values.iter().all(|(v, _)| *v == x)
    }

    fn factors(rw: &Rewriter, op: OpId) -> Option<(Vec<ValueId>, f64)> {
        float(rw, rw.output(op)?)?;
        let x = || rw.arg(op, "x");
        match rw.op(op).def.name {
            "mul" => match rw.with_number(op) {
                Some((v, number)) => Some((vec![v], number)),
                None => Some((vec![x()?, rw.arg(op, "y")?], 1.0)),
            },
            "real_div" => Some((vec![x()?], 1.0 / rw.number(op, "y")?)),
            "square" => Some((vec![x()?; 2], 1.0)),
            "pow" => match rw.number(op, "y")? {
                2.0 => Some((vec![x()?; 2], 1.0)),
                3.0 => Some((vec![x()?; 3], 1.0)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// How many elements a reduction over these axes, or over all, puts together, if that is known.
pub(super) fn elements(x: &Arg, axes: Option<&[i64]>) -> Option<f64> {
    let all: Vec<i64> = (0..x.rank() as i64).collect();
    let axes = rules::axes(axes.unwrap_or(&all), x.rank(), "axes").ok()?;
    let n = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(x.dim(*axis).fixed()?))?;
    (n > 0).then_some(n as f64)
}
