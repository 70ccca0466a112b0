//! TorchScript: what `torch.jit.save(torch.jit.trace(..))` writes.
//!
//! An archive has the source text of each module's methods (`code/`), the modules with their tensors (`data.pkl`), and constants
//! (`constants.pkl`). `lexer.rs` and `syntax.rs` read the text, `inline.rs` runs it by names alone (`eval.rs` has
//! expressions): what comes out is one list of ops.

mod eval;
mod inline;
mod lexer;
mod syntax;

use self::{inline::Inliner, syntax::Definitions};
use super::{
    archive::Archive,
    dtype,
    graph::{Graph, Input, InputSize},
    pickle::{Classes, Id, Pickle, Value},
    storage::Storages,
};
use crate::import::Refusal;

/// Whether an archive is of TorchScript.
pub(super) fn is_script(archive: &Archive) -> bool {
    archive.has("constants.pkl") && archive.has("data.pkl")
}

/// The graph of a module's `forward`.
pub(super) fn read(archive: &Archive) -> Result<Graph, Refusal> {
    let definitions = definitions(archive)?;
    let module = Pickle::read(&archive.read("data.pkl")?, Classes::Script)?;
    let constants = Pickle::read(&archive.read("constants.pkl")?, Classes::Script)?;
    // Before version 3 all tensors were in one folder.
    let folder =
        if archive.names().any(|n| n.starts_with("data/")) || !archive.has("tensors/0") { "data/" } else { "tensors/" };
    let storages = Storages::folder(archive, folder)?;
    let constant_storages = Storages::folder(archive, "constants/")?;
    let mut graph = Inliner::new(&definitions, &module, &storages, &constants, &constant_storages).whole()?;
    if let Some(bytes) = archive.get("traced_inputs.pkl")? {
        shapes(&Pickle::read(&bytes, Classes::Script)?, &mut graph.inputs);
    }
    Ok(graph)
}

fn definitions(archive: &Archive) -> Result<Definitions, Refusal> {
    let mut all = Definitions::default();
    for name in archive.names() {
        let Some(module) = name.strip_prefix("code/").and_then(|n| n.strip_suffix(".py")) else { continue };
        let text = archive.text(name)?;
        let added = all.add(&module.replace('/', "."), name, &text);
        added.map_err(|e| Refusal { message: format!("its code `{name}` cannot be read: {}", e.message), ..e })?;
    }
    Ok(all)
}

/// Sets dtypes and sizes of the inputs to those that the module was traced with, where the file has them.
fn shapes(traced: &Pickle, inputs: &mut [Input]) {
    let Some(Value::List(given)) = traced.entry(traced.root(), "forward") else { return };
    let mut tensors = vec![];
    let mut open: Vec<Id> = given.iter().rev().copied().collect();
    // A list may contain itself.
    while let Some(id) = open.pop().filter(|_| tensors.len() <= inputs.len()) {
        match traced.get(id) {
            Value::Tensor(t) => tensors.push(t),
            Value::Tuple(parts) | Value::List(parts) if parts.len() <= inputs.len() && open.len() <= inputs.len() => {
                open.extend(parts.iter().rev());
            }
            _ => return,
        }
    }
    if tensors.len() != inputs.len() {
        return;
    }
    for (input, tensor) in inputs.iter_mut().zip(tensors) {
        input.dtype = dtype::by_name(&tensor.dtype);
        input.sizes = Some(tensor.sizes.iter().map(|n| InputSize::Fixed(*n)).collect());
    }
}
