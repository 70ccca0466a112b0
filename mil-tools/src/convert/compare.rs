//! How far two results are from each other.

use mil_runtime::{AnyTensor, Outputs};

use crate::ToolError;

/// How far an output of the package is from that of the model.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The output's name in the package.
    pub output: String,
    /// The largest absolute difference, relative to the largest number that the model gives; infinite if one has NaN or infinity where
    /// the other has none. Of integers, the part that differs.
    pub error: f64,
    /// The root of the mean square of the differences, relative to the same number: of many numbers it depends less on chance. Of
    /// integers, the part that differs.
    pub rms: f64,
    /// Whether it is of integers.
    pub integers: bool,
}

impl Difference {
    /// What was found over several samples: the worst of each output.
    pub(super) fn merge(all: &mut Vec<Difference>, found: Vec<Difference>) {
        if all.is_empty() {
            *all = found;
            return;
        }
        for (a, b) in all.iter_mut().zip(found) {
            (a.error, a.rms) = (a.error.max(b.error), a.rms.max(b.rms));
        }
    }
}

/// Compares outputs one by one, in their order; names may differ. `least` is the scale of an output that is nearly nothing.
///
/// # Errors
/// If the outputs are not of the same number and shapes.
pub(super) fn differences(expected: &Outputs, found: &Outputs, least: f64) -> Result<Vec<Difference>, ToolError> {
    let mut all = vec![];
    let wrong = |what: String| ToolError::new(format!("the package gives other outputs than the model: {what}"));
    if expected.len() != found.len() || expected.dictionaries().len() != found.dictionaries().len() {
        return Err(wrong(format!("{} instead of {}", found.len(), expected.len())));
    }
    for ((_, e), (name, f)) in expected.iter().zip(found.iter()) {
        if e.as_strings().is_some() {
            continue;
        }
        if e.shape() != f.shape() {
            return Err(wrong(format!("`{name}` is {} instead of {}", f.ty(), e.ty())));
        }
        let output = name.to_string();
        let integers = !e.dtype().is_float();
        let (error, rms) = match integers {
            true => (different(e, f)?, different(e, f)?),
            false => relative(&numbers(e)?, &numbers(f)?, least),
        };
        all.push(Difference { output, error, rms, integers });
    }
    for ((_, e), (name, f)) in expected.dictionaries().zip(found.dictionaries()) {
        let [e, f] = [e, f].map(|d| d.iter().map(|(_, p)| p).collect::<Vec<f64>>());
        if e.len() != f.len() {
            return Err(wrong(format!("`{name}` has {} classes instead of {}", f.len(), e.len())));
        }
        let (error, rms) = relative(&e, &f, least);
        all.push(Difference { output: name.to_string(), error, rms, integers: false });
    }
    Ok(all)
}

fn numbers(t: &AnyTensor) -> Result<Vec<f64>, ToolError> {
    Ok(t.to_f32()?.iter().map(|v| f64::from(*v)).collect())
}

/// The part of integers that differs. A package gives bools as numbers: Core ML has no outputs of bools.
fn different(e: &AnyTensor, f: &AnyTensor) -> Result<f64, ToolError> {
    let whole = |t: &AnyTensor| match t.dtype().is_float() {
        true => Ok(t.to_f32()?.iter().map(|v| *v as i64).collect()),
        false => t.to_i64(),
    };
    let (e, f): (Vec<i64>, Vec<i64>) = (whole(e)?, whole(f)?);
    let wrong = e.iter().zip(&f).filter(|(a, b)| a != b).count();
    Ok(if e.is_empty() { 0.0 } else { wrong as f64 / e.len() as f64 })
}

/// The largest difference, and the root of their mean square, relative to the largest expected number.
fn relative(expected: &[f64], found: &[f64], least: f64) -> (f64, f64) {
    let finite = |v: &&f64| v.is_finite();
    let scale = expected.iter().filter(finite).fold(least, |m, v| m.max(v.abs()));
    let (mut worst, mut squares) = (0f64, 0f64);
    for (e, f) in expected.iter().zip(found) {
        // Equal infinities, or NaN twice, are as they should be.
        let same = e == f || e.is_nan() && f.is_nan();
        let error = if same { 0.0 } else { (e - f).abs() / scale };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        worst = worst.max(error);
        squares += error * error;
    }
    (worst, (squares / expected.len().max(1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest_number() {
        assert_eq!(relative(&[-4.0, 1.0, 0.0, 0.0], &[-4.0, 1.5, 0.0, 0.0], 1e-9), (0.125, 0.0625));
        assert_eq!(relative(&[0.0, 0.0], &[0.0, 1e-6], 1e-3).0, 1e-3);
        assert_eq!(relative(&[], &[], 1e-3), (0.0, 0.0));
    }

    #[test]
    fn what_is_not_finite_must_be_the_same() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(relative(&[inf, nan, 1.0], &[inf, nan, 1.0], 1e-9), (0.0, 0.0));
        for wrong in [[-inf, 1.0], [nan, 1.0], [3.0, 1.0]] {
            assert_eq!(relative(&[inf, 1.0], &wrong, 1e-9), (inf, inf), "{wrong:?}");
        }
        assert_eq!(relative(&[1.0], &[nan], 1e-9), (inf, inf));
    }

    #[test]
    fn integers_differ_in_part() {
        let t = |v: [i32; 4]| AnyTensor::new([4], v.to_vec()).unwrap();
        assert_eq!(different(&t([1, 2, 3, 4]), &t([1, 2, 3, 5])).unwrap(), 0.25);
        let flags = AnyTensor::bools([4], &[true, false, true, false]).unwrap();
        let numbers = AnyTensor::new([4], vec![1f32, 0.0, 1.0, 1.0]).unwrap();
        assert_eq!(different(&flags, &numbers).unwrap(), 0.25);
    }
}
