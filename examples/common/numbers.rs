//! Made-up weights.

/// Numbers in (-0.123, 0.123), the `seed`th and on; exact in f32 and in f16. `tests/oracle/coremltools_twins.py` has the same.
pub(crate) fn numbers(seed: usize, count: usize) -> Vec<f32> {
    (seed..seed + count).map(|i| ((i * 7919 + 13) % 2003) as f32 - 1001.0).map(|n| n / 8192.0).collect()
}
