//! How the CPU engine shall run a model.

use std::{fmt, num::NonZeroUsize, str::FromStr, thread::available_parallelism};

use crate::error::RunError;

/// How freely the CPU engine may compute. Either way f16 values are rounded where an op ends, and results do not depend on the number of
/// threads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Numerics {
    /// Sums may be taken in another order, and convolutions by Winograd's algorithm (Lavin and Gray, arXiv:1509.09308), whose intermediate
    /// results differ: infinities and NaNs may spread to neighbours.
    #[default]
    Fast,
    /// As the op says: no algorithm that computes something else on the way.
    Strict,
}

impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Numerics::Fast => "fast",
            Numerics::Strict => "strict",
        })
    }
}

impl FromStr for Numerics {
    type Err = RunError;

    fn from_str(name: &str) -> Result<Numerics, RunError> {
        match name {
            "fast" => Ok(Numerics::Fast),
            "strict" => Ok(Numerics::Strict),
            other => Err(RunError::new(format!("`{other}` is no numerics; there are `fast` and `strict`"))),
        }
    }
}

/// How long weights of convolutions and products are kept in the order in which kernels read them. Results are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Packing {
    /// Packed by the first prediction, and kept for the next: fast, and as large as the weights.
    #[default]
    Kept,
    /// Packed whenever a kernel needs them, and dropped behind it: for one prediction, or where memory is short. Only the largest weight
    /// is in memory then, if the model's file is mapped. Kept even so are compressed weights, as compressed as they are, and what the
    /// bodies of loops use.
    AtUse,
}

/// What the CPU engine is told when a model is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuOptions {
    /// How many threads a prediction may use, the caller's included; `None` for as many as the machine has.
    pub threads: Option<NonZeroUsize>,
    /// How freely it may compute.
    pub numerics: Numerics,
    /// How long packed weights are kept.
    pub packing: Packing,
}

/// More threads than this no prediction uses: no layer has work for them.
const MOST_THREADS: usize = 256;

impl CpuOptions {
    /// The number of threads that a prediction uses: as many as asked for, or as the machine has, but 256 at most.
    pub fn thread_count(&self) -> usize {
        self.threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get).min(MOST_THREADS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_have_names() {
        for n in [Numerics::Fast, Numerics::Strict] {
            assert_eq!(n.to_string().parse::<Numerics>().unwrap(), n);
        }
        assert!("exact".parse::<Numerics>().unwrap_err().to_string().contains("`fast` and `strict`"));
    }

    #[test]
    fn threads_are_neither_none_nor_too_many() {
        assert!(CpuOptions::default().thread_count() >= 1);
        let one = CpuOptions { threads: NonZeroUsize::new(1), ..CpuOptions::default() };
        assert_eq!(one.thread_count(), 1);
        let absurd = CpuOptions { threads: NonZeroUsize::new(usize::MAX), ..CpuOptions::default() };
        assert_eq!(absurd.thread_count(), MOST_THREADS);
    }
}
