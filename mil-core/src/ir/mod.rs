//! The program as data: [`Program`] > [`Function`] > [`Block`] > [`Op`] > value.
//!
//! A function owns everything inside it in three arenas (ops, values, blocks) which refer to each other by typed
//! indices. Names live on the data; source locations lie beside it in a side table, so that a program read from a
//! file and one written in Rust are the same thing.

pub mod constant;
pub mod feature;
pub mod function;
pub mod known;
pub mod literal;
pub mod loc;
pub mod program;

pub use constant::{Constant, Element, f16_from_f64};
pub(crate) use constant::{element_bits, pack};
pub use feature::Feature;
pub use function::{Argument, Binding, Block, BlockId, Def, Function, Op, OpId, ValueData, ValueId};
pub use known::Known;
pub use literal::Literal;
pub use loc::Loc;
pub use program::{Attribute, Metadata, Program};
