//! Running programs: tensors in memory, the CPU engine, Core ML on Apple systems.

pub mod backend;
mod convert;
#[cfg(target_vendor = "apple")]
mod coreml;
pub mod cpu;
pub mod error;
pub mod interface;
pub mod model;
mod ndarray;
pub mod outputs;
pub mod profile;
mod shapes;
pub mod state;
mod strided;
pub mod tensor;
pub mod typed;

pub use self::ndarray::ArrayElement;
pub use backend::{Backend, BackendChoice, ComputeUnits};
pub use cpu::Numerics;
pub use error::{RunError, SystemError};
pub use interface::{InputInfo, OutputInfo, StateInfo};
pub use model::{Model, ModelOptions};
pub use outputs::{Dictionary, Label, Outputs};
pub use profile::{OpTotal, Profile, ProfileEntry};
pub use state::ModelState;
pub use tensor::AnyTensor;
