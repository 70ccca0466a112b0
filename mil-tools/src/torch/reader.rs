//! Files become graphs, whatever kind of file it is.

use std::path::Path;

use mil_core::weights::Bytes;

use super::{
    archive::{self, Archive},
    exported,
    graph::Graph,
    legacy,
};
use crate::{ToolError, import::Refusal};

/// Whether this is a file of PyTorch, by its first bytes: a zip file or a pickle.
pub(crate) fn is_torch(file: &[u8]) -> bool {
    archive::is_archive(file) || file.starts_with(&[0x80])
}

/// Reads a model.
pub(super) fn open(path: &Path) -> Result<Graph, ToolError> {
    read(Bytes::map_file(path)?).map_err(|e| ToolError::new(format!("`{}`: {e}", path.display())))
}

/// Reads a model that is in memory.
pub(super) fn read(file: Bytes) -> Result<Graph, Refusal> {
    let weights = |what: &str| {
        Err(Refusal::new(format!("has {what}, but not the model that uses them"))
            .remedy("save the model by `torch.export.save(torch.export.export(model, inputs), ..)`, or convert the weights: `mil convert weights.pth -o weights.safetensors`"))
    };
    if legacy::is_legacy(&file) {
        return weights("weights");
    }
    if !archive::is_archive(&file) {
        return Err(Refusal::new("is no model of PyTorch")
            .remedy("save it by `torch.export.save` or `torch.jit.save(torch.jit.trace(..))`"));
    }
    let archive = Archive::new(file)?;
    let mut graph = if exported::is_exported(&archive) {
        exported::read(&archive)?
    } else if archive.has("data.pkl") {
        return weights("weights or a pickled module");
    } else {
        return Err(Refusal::new("is a zip file, but no model of PyTorch")
            .remedy("save it by `torch.export.save` or `torch.jit.save(torch.jit.trace(..))`"));
    };
    graph.prune();
    Ok(graph)
}

#[cfg(test)]
mod tests;
