//! Running programs: tensors in memory, the CPU engine, Core ML on Apple systems.

pub mod cpu;
pub mod error;
pub mod tensor;
pub mod typed;

pub use error::RunError;
pub use tensor::AnyTensor;
