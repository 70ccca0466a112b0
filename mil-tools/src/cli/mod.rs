//! Arguments of commands that have many.

mod convert;
mod parse;

pub(crate) use convert::Convert;
