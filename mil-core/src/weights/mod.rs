//! Weights: bytes that are shared or memory-mapped, never copied to be read.
pub mod bytes;
pub use bytes::Bytes;
