//! Running programs: tensors in memory, the CPU engine, Core ML on Apple systems.

pub mod cpu;
pub mod error;
pub mod tensor;

pub use error::RunError;
pub use tensor::AnyTensor;
