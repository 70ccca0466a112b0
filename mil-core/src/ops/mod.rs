//! The ops: one file per concept, one struct per op, its rule and its tests beside it.
//!
//! Each file ends its list of structs with `OPS`; [`all`] puts the lists together. There is no registration by side
//! effect: an op that is in no list does not exist, and a test finds it.

use std::{collections::HashMap, sync::LazyLock};

use crate::op::{Op, OpDef};

pub mod activation;
pub mod attention;
pub mod band_part;
pub mod cast;
pub mod classify;
pub mod compare;
pub mod concat;
pub mod constexpr;
pub mod control;
pub mod conv;
pub mod conv_quantized;
pub mod crop_resize;
pub mod cumsum;
pub mod einsum;
pub mod elementwise_binary;
pub mod elementwise_unary;
mod fold;
pub mod gather;
pub mod generate;
pub(crate) mod known;
pub mod list;
pub mod matmul;
pub mod non_maximum_suppression;
pub mod non_zero;
pub mod norm;
pub mod pad;
pub mod pool;
pub mod quantize;
pub mod random;
pub mod rearrange;
pub mod recurrent;
pub mod reduce;
pub mod resample;
pub mod reshape_like;
pub mod resize;
pub mod reverse;
pub(crate) mod rules;
pub mod scalar;
pub mod scatter;
pub mod select;
pub mod shape;
pub mod slice;
pub mod slice_update;
pub mod split;
pub mod state;
pub mod strided;
#[cfg(test)]
pub(crate) mod testing;
pub mod topk;
pub mod upsample;

const LISTS: &[&[&OpDef]] = &[
    activation::OPS,
    attention::OPS,
    band_part::OPS,
    cast::OPS,
    classify::OPS,
    compare::OPS,
    concat::OPS,
    constexpr::OPS,
    control::OPS,
    conv::OPS,
    cumsum::OPS,
    crop_resize::OPS,
    conv_quantized::OPS,
    einsum::OPS,
    elementwise_binary::OPS,
    elementwise_unary::OPS,
    gather::OPS,
    generate::OPS,
    list::OPS,
    matmul::OPS,
    non_maximum_suppression::OPS,
    non_zero::OPS,
    norm::OPS,
    pad::OPS,
    pool::OPS,
    rearrange::OPS,
    recurrent::OPS,
    quantize::OPS,
    reduce::OPS,
    reshape_like::OPS,
    random::OPS,
    resample::OPS,
    resize::OPS,
    reverse::OPS,
    scatter::OPS,
    select::OPS,
    shape::OPS,
    slice::OPS,
    slice_update::OPS,
    split::OPS,
    state::OPS,
    topk::OPS,
    upsample::OPS,
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

/// `cond`, which has no constructor: it is pushed with its blocks.
pub fn cond_def() -> &'static OpDef {
    control::Cond::DEF
}

/// `while_loop`, which has no constructor: it is pushed with its blocks.
pub fn while_loop_def() -> &'static OpDef {
    control::WhileLoop::DEF
}
