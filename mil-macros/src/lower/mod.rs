//! From tokens to a graph. Every type comes from `mil-core`'s inference; this module only knows what a piece of Rust means.
//!
//! Problems accumulate. What depends on something wrong is [`Val::Poison`] and silent.

mod assigned;
mod call;
mod cond;
mod expr;
mod fold;
mod format;
mod helper;
mod image;
mod index;
mod operand;
mod operator;
mod program;
mod state;
mod stmt;
#[cfg(test)]
mod tests;
mod while_loop;

use std::collections::{BTreeMap, HashMap};

use mil_core::{
    graph::{Graph, Value},
    types::Dim,
};
use proc_macro2::TokenStream;
use quote::ToTokens;

use crate::{
    attr::ProgramAttr,
    diag::{Diagnostics, Place},
    env::Env,
    shadow::Shadow,
    value::Val,
    weights::WeightsFile,
};

pub(crate) use format::ParseFormats;
pub(crate) use image::ImageAttr;
pub(crate) use program::{Input, Lowering, Module, Output, document, program};

/// An expression, lowered: what it is, and its restatement in terms of the public API, for the IDE.
pub(crate) struct Lowered {
    pub(crate) val: Val,
    pub(crate) shadow: TokenStream,
}

/// Values made where they are first used, for one open block.
#[derive(Default)]
struct Frame {
    weights: HashMap<String, Value>,
    symbols: HashMap<String, Value>,
}

/// The state of lowering one program.
pub(crate) struct Lower<'a> {
    graph: Graph,
    env: Env<'a>,
    diag: Diagnostics,
    attr: &'a ProgramAttr,
    /// Declared dimensions; in a module also its integer constants.
    dims: BTreeMap<String, Dim>,
    weights: Option<WeightsFile>,
    /// One per open block; an inner block sees what the outer ones have.
    frames: Vec<Frame>,
    /// Functions being inlined, the innermost last.
    calls: Vec<String>,
    /// Iterations of loops unrolled so far.
    unrolled: usize,
    shadow: Shadow,
    /// The ops that the source names, as it writes them: so that its imports count as used.
    op_paths: BTreeMap<String, TokenStream>,
    /// The inputs and states.
    inputs: Vec<Input>,
    input_values: Vec<Value>,
}

impl Lower<'_> {
    fn error(&mut self, at: &(impl ToTokens + ?Sized), message: impl std::fmt::Display) -> Val {
        self.error_at(Place::of(at), message)
    }

    fn error_at(&mut self, place: Place, message: impl std::fmt::Display) -> Val {
        self.diag.error(place, message);
        Val::Poison
    }
}
