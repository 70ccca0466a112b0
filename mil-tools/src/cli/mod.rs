//! Arguments of commands that have many.

mod convert;

pub(crate) use convert::Convert;
