//! How a model is loaded to run.

use std::path::Path;

use mil_runtime::{Backend, Model, cpu::CpuOptions};

use crate::ToolError;

/// Which function of a model, and what runs it.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The function; else the default one.
    pub function: Option<String>,
    /// On what.
    pub backend: Backend,
    /// How, if it is on the CPU.
    pub cpu: CpuOptions,
}

impl LoadOptions {
    /// Loads it.
    ///
    /// # Errors
    /// If the file cannot be read as an ML Program, there is no such function, or it cannot be run so.
    pub(crate) fn load(&self, model: &Path) -> Result<Model, ToolError> {
        let mut options = Model::options().backend(self.backend).numerics(self.cpu.numerics).packing(self.cpu.packing);
        if let Some(function) = &self.function {
            options = options.function(function);
        }
        if let Some(threads) = self.cpu.threads {
            options = options.threads(threads);
        }
        Ok(options.load(model)?)
    }
}
