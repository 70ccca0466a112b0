//! Made-up weights.

use mil::{DType, f16, ir::Constant};

/// Numbers in (-0.123, 0.123), the `seed`th and on; exact in f32 and in f16. `tests/oracle/coremltools_twins.py` has the same.
pub(crate) fn numbers(seed: usize, count: usize) -> Vec<f32> {
    (seed..seed + count).map(|i| ((i * 7919 + 13) % 2003) as f32 - 1001.0).map(|n| n / 8192.0).collect()
}

/// Those numbers as a constant, f16 or f32.
///
/// # Errors
/// If the dtype is another.
pub(crate) fn constant(shape: &[usize], seed: usize, dtype: DType) -> Result<Constant, String> {
    let numbers = numbers(seed, shape.iter().product());
    match dtype {
        DType::F32 => Constant::new(shape, &numbers),
        DType::F16 => Constant::new(shape, &numbers.into_iter().map(f16::from_f32).collect::<Vec<_>>()),
        other => Err(format!("expected f16 or f32, found {other}")),
    }
}
