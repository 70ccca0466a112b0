//! Weights of other frameworks become safetensors files, which programs in the DSL name (`weights = "model.safetensors"`).

use std::{fmt, path::Path};

use crate::{ToolError, copy, memory::amount, torch::StateDict};

/// What was done.
#[derive(Clone, Debug)]
pub struct Written {
    /// Number of tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What the user should know. A line each.
    pub warnings: Vec<String>,
}

/// Whether `to` is a file of weights by its ending.
pub fn is_weights(to: &Path) -> bool {
    to.extension().is_some_and(|e| e == "safetensors")
}

/// Reads a state dict of PyTorch (`.pt`, `.pth`) and writes its tensors, by the names and with the dtypes that they have there: whole,
/// or not at all. They go from the mapped file to the new one.
///
/// # Errors
/// If the state dict cannot be read, or the file cannot be written.
pub fn convert(from: &Path, to: &Path) -> Result<Written, ToolError> {
    if !is_weights(to) {
        return Err(ToolError::new(format!("`{}`: end the name in `.safetensors`", to.display())));
    }
    copy::separate(from, to)?;
    let weights = StateDict::open(from)?;
    weights.write_safetensors(to)?;
    let mut warnings = vec![];
    if let Some(first) = weights.others().first() {
        let (count, first) = (weights.others().len(), first.escape_debug());
        warnings.push(format!(
            "left out what is no tensor: `{first}`{}",
            if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
        ));
    }
    let bytes = weights.iter().filter_map(|(_, t)| t.bytes()).map(|b| b.len() as u64).sum();
    Ok(Written { tensors: weights.len(), bytes, warnings })
}

/// One line: what was written.
impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.tensors == 1 { "" } else { "s" };
        writeln!(f, "wrote {} tensor{s}, {}", self.tensors, amount(self.bytes))
    }
}
