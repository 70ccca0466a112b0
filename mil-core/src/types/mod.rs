//! What values are: element types, dimensions, shapes, types and opsets.
//!
//! Nothing here knows of ops, programs or files.

pub mod dim;
pub mod dtype;
pub mod opset;
pub mod shape;
pub mod ty;

pub(crate) use dim::scope_id;
pub use dim::{Dim, Domain, Symbol};
pub use dtype::DType;
pub use opset::Opset;
pub use shape::Shape;
pub use ty::{TensorType, Type};
