//! Casts one after the other.

use crate::{
    mb,
    op::OpError,
    types::DType::{self, *},
};

use super::{Context, Pass, Report, Rewriter};

/// Makes one cast of two where the first loses nothing: f16 to f32 and back is nothing, u8 to i32 to f32 is u8 to f32. A cast
/// that rounds stays: f32 to f16 and back does.
#[derive(Clone, Copy, Debug)]
pub struct CastOptimization;

impl Pass for CastOptimization {
    fn name(&self) -> &'static str {
        "cast_optimization"
    }

    fn doc(&self) -> &'static str {
        "merges casts one after the other where the first loses nothing"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        for op in rw.ops() {
            let Some(cast) = rw.bind::<mb::Cast>(op) else { continue };
            let Some((_, before)) = cast.x.id.and_then(|x| rw.made_by_op::<mb::Cast>(x)) else { continue };
            let (Some(x), Some(out)) = (before.x.id, rw.output(op)) else { continue };
            if !keeps(before.x.dtype(), before.dtype) {
                continue;
            }
            let start = rw.value(x);
            if before.x.dtype() == cast.dtype {
                if rw.may_stand_for(x, out) {
                    rw.replace(op, &[start])?;
                    report.count("removed pair");
                }
                continue;
            }
            // The opset may not have this cast.
            let Ok(one) = rw.before(op).push(mb::cast(&start, cast.dtype)) else { continue };
            rw.replace(op, &[one])?;
            report.count("merged pair");
        }
        Ok(())
    }
}

/// Whether every value of a dtype is one of another.
fn keeps(from: DType, to: DType) -> bool {
    // How many bits of integers are exact; floats have a sign.
    let float = |d: DType| match d {
        F16 => Some(11),
        F32 => Some(24),
        F64 => Some(53),
        _ => None,
    };
    match (float(from), float(to)) {
        _ if from == to => true,
        (Some(a), Some(b)) => a <= b,
        (Some(_), None) => false,
        _ if from == Bool => to.is_int() || to.is_float(),
        _ if !from.is_int() => false,
        (None, Some(exact)) => from.bits() <= exact,
        (None, None) => {
            let signs = from.is_unsigned() || !to.is_unsigned();
            let bits = from.bits() + usize::from(from.is_unsigned() && !to.is_unsigned());
            to.is_int() && signs && bits <= to.bits()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        passes::testing::{graph, ops, outputs, run},
        types::TensorType,
    };

    /// What is left of casts to these dtypes one after the other.
    #[track_caller]
    fn left(from: DType, to: &[&str]) -> Vec<&'static str> {
        let mut g = graph();
        let x = g.input("x", TensorType::new(F32, [3]));
        let mut v = if from == F32 { g.push(mb::abs(&x)).unwrap() } else { g.push(mb::cast(&x, from)).unwrap() };
        for dtype in to {
            v = g.push(mb::cast(&v, *dtype)).unwrap();
        }
        let v = g.push(mb::cast(&v, "fp32")).unwrap();
        let y = g.push(mb::add(&v, 1.0)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&CastOptimization, &mut p);
        ops(&p).into_iter().filter(|o| !["abs", "add"].contains(o)).collect()
    }

    #[test]
    fn pairs_that_lose_nothing_are_one() {
        assert_eq!(left(F16, &["fp32", "fp16"]), ["cast"; 2], "to f16, and back in the end");
        assert_eq!(left(U8, &["int32"]), ["cast"; 2]);
        assert_eq!(left(I32, &["bool"]), ["cast"; 3]);
        assert_eq!(left(F32, &["fp16"]), ["cast"; 2], "f32 to f16 rounds");
        assert_eq!(left(F32, &["fp16", "fp32", "fp16"]), ["cast"; 2]);
    }

    #[test]
    fn what_is_kept() {
        let kept = [(F16, F32), (Bool, F16), (U8, F16), (I16, F32), (U8, I16), (U16, I32), (I8, I32), (U8, U16)];
        kept.into_iter().for_each(|(a, b)| assert!(keeps(a, b), "{a} to {b}"));
        let lost = [(F32, F16), (I32, F32), (I16, F16), (U8, I8), (I8, U16), (U16, I16), (F16, I32), (I32, Bool)];
        lost.into_iter().for_each(|(a, b)| assert!(!keeps(a, b), "{a} to {b}"));
    }

    #[test]
    fn outputs_keep_their_names() {
        let mut g = graph();
        let x = g.input("x", TensorType::new(F16, [3]));
        let a = g.push(mb::cast(&x, "fp32")).unwrap();
        let y = g.push(mb::cast(&a, "fp16")).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&CastOptimization, &mut p);
        assert_eq!((ops(&p), outputs(&p)), (vec!["identity"], vec!["y"]));
    }
}
