//! The page of ops that are known.

use std::fmt::Write as _;

use super::{model::OPSETS, ops, refused_ops};

const HEAD: &str = "\
# ONNX

What `mil convert MODEL.onnx` takes. Made from the lowerings in `mil-tools/src/onnx/ops`: `mil convert --list-ops` prints this page, and
`UPDATE=1 cargo test -p mil-tools --test onnx_page` renews it.

";

const TENSORS: &str = "\
Tensors of `float`, `double` and `bfloat16` become f32, of `float16` f16, of all integers i32 (of 64 bits those that fit; narrow ones wrap
around as they do in ONNX), of `bool` bool. Integers of 4 and 2 bits and floats of 8 may be constants. Strings, complex numbers, sequences,
optionals and sparse tensors have no place in MIL. Weights in other files are found beside the model; functions of the model are inlined.

What MIL must know when the model is built (axes, shapes, weights of most ops) must be constant in the model, or follow from constants
and shapes; an input of the model is made constant with `--constant NAME=NUMBERS`. An input that is a list of no integers is left
out, since Core ML has no inputs without elements.

";

/// All ops as one page of Markdown: those that are known with what is not supported of each, and those that MIL cannot say.
pub fn markdown() -> String {
    let mut known = ops();
    known.sort_unstable();
    let (first, last) = (OPSETS.start(), OPSETS.end());
    let mut page = format!("{HEAD}Opsets {first} to {last} of `ai.onnx`, in all versions of each op.\n\n{TENSORS}");
    // Writing to a string does not fail.
    let _ = writeln!(page, "## {} ops are known\n\n| op | what is not supported |\n|---|---|", known.len());
    for (name, limits) in known {
        let _ = writeln!(page, "| {name} | {} |", cell(limits));
    }
    let mut refused = refused_ops().to_vec();
    refused.sort_unstable();
    let _ = writeln!(page, "\n## {} ops are refused\n\n| op | what to do |\n|---|---|", refused.len());
    for (name, way) in refused {
        let _ = writeln!(page, "| {name} | {} |", cell(way));
    }
    page
}

/// A text that may have bars in it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
