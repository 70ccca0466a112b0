//! The ops: one file per concept, one struct per op, its rule and its tests beside it.
//!
//! Each file ends its list of structs with `OPS`; [`all`] puts the lists together. There is no registration by side
//! effect: an op that is in no list does not exist, and a test finds it.

use std::{collections::HashMap, sync::LazyLock};

use crate::op::{Op, OpDef};

pub mod activation;
pub mod attention;
pub mod cast;
pub mod classify;
pub mod compare;
pub mod concat;
pub mod control;
pub mod conv;
pub mod einsum;
pub mod elementwise_binary;
pub mod elementwise_unary;
mod fold;
pub mod gather;
pub mod generate;
pub(crate) mod known;
pub mod list;
pub mod matmul;
pub mod norm;
pub mod pad;
pub mod pool;
pub mod reduce;
pub mod resize;
pub(crate) mod rules;
pub mod scalar;
pub mod select;
pub mod shape;
pub mod slice;
pub mod state;
pub mod strided;
#[cfg(test)]
pub(crate) mod testing;
pub mod topk;

const LISTS: &[&[&OpDef]] = &[
    activation::OPS,
    attention::OPS,
    cast::OPS,
    classify::OPS,
    compare::OPS,
    concat::OPS,
    control::OPS,
    conv::OPS,
    einsum::OPS,
    elementwise_binary::OPS,
    elementwise_unary::OPS,
    gather::OPS,
    generate::OPS,
    list::OPS,
    matmul::OPS,
    norm::OPS,
    pad::OPS,
    pool::OPS,
    reduce::OPS,
    resize::OPS,
    select::OPS,
    shape::OPS,
    slice::OPS,
    state::OPS,
    topk::OPS,
];

/// All ops, in the order of the lists.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    LISTS.iter().flat_map(|list| list.iter().copied())
}

/// The op of this MIL name.
pub fn find(name: &str) -> Option<&'static OpDef> {
    static BY_NAME: LazyLock<HashMap<&str, &OpDef>> = LazyLock::new(|| all().map(|d| (d.name, d)).collect());
    BY_NAME.get(name).copied()
}

pub(crate) fn const_def() -> &'static OpDef {
    control::Const::DEF
}

pub(crate) fn identity_def() -> &'static OpDef {
    control::Identity::DEF
}

pub(crate) fn cond_def() -> &'static OpDef {
    control::Cond::DEF
}

pub(crate) fn while_loop_def() -> &'static OpDef {
    control::WhileLoop::DEF
}
