//! The lowerings, a file per concept. Each file lists its ops in `OPS`.
//!
//! An op has one lowering for exported programs, which say the overload, and for TorchScript, which does not; so has its
//! variant that writes to its first argument (`aten::relu_`): the importer sees to the writing.

use std::{collections::HashMap, sync::LazyLock};

use super::{
    aliases,
    node::{Lowered, Node},
};

mod activation;
mod attention;
mod binary;
mod cast;
mod compare;
mod conv;
mod einsum;
mod encoder;
mod gather;
mod generate;
mod index;
mod join;
mod matmul;
mod norm;
mod pad;
mod pool;
mod recurrent;
mod reduce;
mod refused;
mod resize;
mod scatter;
mod shape;
mod slice;
mod sort;
mod symbolic;
mod unary;

pub(super) use slice::put_back;

/// How an op is lowered, by namespace and name, without overload.
pub(super) type Entry = crate::import::Entry<fn(&mut Node<'_, '_>) -> Lowered>;

/// The lists of all files, with what they are about.
pub(super) const FILES: &[(&str, &[Entry])] = &[
    ("Activations", activation::OPS),
    ("Attention", attention::OPS),
    ("Arithmetic of two or more tensors", binary::OPS),
    ("Copies and changes of dtype", cast::OPS),
    ("Comparing and choosing", compare::OPS),
    ("Convolutions", conv::OPS),
    ("Sums of products", einsum::OPS),
    ("Layers of transformers", encoder::OPS),
    ("Reading at indices", gather::OPS),
    ("Tensors made from nothing", generate::OPS),
    ("Indexing with several tensors", index::OPS),
    ("Joining", join::OPS),
    ("Products of matrices", matmul::OPS),
    ("Normalizations", norm::OPS),
    ("Padding", pad::OPS),
    ("Pooling", pool::OPS),
    ("Recurrent layers", recurrent::OPS),
    ("Reductions", reduce::OPS),
    ("Resizing and sampling", resize::OPS),
    ("Writing at indices", scatter::OPS),
    ("Shapes", shape::OPS),
    ("Parts of tensors", slice::OPS),
    ("Sorting, and sums along an axis", sort::OPS),
    ("Numbers, lists and checks", symbolic::OPS),
    ("Functions of each element", unary::OPS),
];

/// All ops, in the order of the files.
pub(super) fn all() -> impl Iterator<Item = &'static Entry> {
    FILES.iter().flat_map(|(_, ops)| *ops)
}

/// The lowering of an op; `aten::relu_` is lowered as `aten::relu`.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    static BY_NAME: LazyLock<HashMap<&str, &Entry>> = LazyLock::new(|| all().map(|e| (e.name, e)).collect());
    let found = BY_NAME.get(name).copied();
    found.or_else(|| BY_NAME.get(name.strip_suffix('_').filter(|_| aliases::in_place(name))?).copied())
}

const HEAD: &str = "\
# ATen ops

Every op of PyTorch that `mil convert` says in MIL, from exported programs (`.pt2`) and traced modules alike. Made from the lowerings
in `mil-tools/src/torch/ops`: `UPDATE=1 cargo test -p mil-tools --test aten_page` renews it.

All overloads of an op are meant, and so is the variant that writes to its first argument (`aten::relu_`). MIL computes with `f32`,
`f16`, `i32` and bools: `f64` and `bf16` become `f32`, and integers of all widths `i32`, those of less than 32 bits wrapping around as in
PyTorch.

";

/// All ops as a page of Markdown.
pub(super) fn page() -> String {
    use std::fmt::Write as _;
    let mut page = format!("{HEAD}{} ops.\n", all().count());
    for (title, ops) in FILES {
        let _ = writeln!(page, "\n## {title}\n");
        for op in *ops {
            let limits = if op.limits.is_empty() { String::new() } else { format!(": {}", op.limits) };
            let _ = writeln!(page, "- `{}`{limits}", op.name);
        }
    }
    page.push_str("\n## Refused\n\nThese MIL cannot say.\n\n");
    for (name, way) in refused::OPS {
        let _ = writeln!(page, "- `{name}`: {way}");
    }
    page
}

/// What to do about an op that MIL cannot say.
pub(super) fn way_out(name: &str) -> Option<&'static str> {
    refused::OPS.iter().find(|(op, _)| *op == name).map(|(_, way)| *way)
}
