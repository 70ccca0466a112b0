//! What lives between predictions.

use std::{fmt, sync::Arc};

use crate::{cpu::States, error::RunError, interface::StateInfo, tensor::AnyTensor};

/// What the states of a model hold: made by [`Model::new_state`](crate::Model::new_state), changed by
/// [`Model::predict_with_state`](crate::Model::predict_with_state). At first they hold zeros.
///
/// A model can be shared between threads; a state belongs to one sequence of predictions, and there may be many of one model.
pub struct ModelState {
    pub(crate) infos: Vec<StateInfo>,
    pub(crate) held: Held,
    /// The function that it is of.
    pub(crate) function: String,
}

/// The states, as the engine keeps them that made them.
pub(crate) enum Held {
    Cpu(States),
    #[cfg(target_vendor = "apple")]
    CoreMl(crate::coreml::CoreMlState),
}

impl ModelState {
    /// The names of the states.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.infos.iter().map(|i| &i.name[..])
    }

    /// What a state holds now.
    ///
    /// # Errors
    /// If there is no state of that name.
    pub fn get(&self, name: &str) -> Result<AnyTensor, RunError> {
        let info = self.info(name)?;
        match &self.held {
            Held::Cpu(states) => {
                let held = states.get(&info.name).map(|t| AnyTensor::clone(t));
                held.ok_or_else(|| RunError::new(format!("the state `{name}` holds nothing")))
            }
            #[cfg(target_vendor = "apple")]
            Held::CoreMl(state) => state.get(info),
        }
    }

    /// Makes a state hold a tensor, as to go on where another prediction ended.
    ///
    /// # Errors
    /// If there is no state of that name, the tensor is of another dtype or shape, or Core ML keeps the states.
    pub fn set(&mut self, name: &str, tensor: AnyTensor) -> Result<(), RunError> {
        let info = self.info(name)?.clone();
        if tensor.ty() != info.ty {
            return Err(RunError::new(format!("state `{name}` must be {}, found {}", info.ty, tensor.ty())));
        }
        match &mut self.held {
            Held::Cpu(states) => {
                states.insert(info.name, Arc::new(tensor));
                Ok(())
            }
            #[cfg(target_vendor = "apple")]
            Held::CoreMl(_) => Err(RunError::new("states that Core ML keeps are written by predictions only")),
        }
    }

    fn info(&self, name: &str) -> Result<&StateInfo, RunError> {
        self.infos.iter().find(|i| i.name == name).ok_or_else(|| {
            let names: Vec<_> = self.names().map(|n| format!("`{n}`")).collect();
            RunError::new(format!("there is no state `{name}`; the states are [{}]", names.join(", ")))
        })
    }
}

impl fmt::Debug for ModelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelState")
            .field("function", &self.function)
            .field("states", &self.infos)
            .finish_non_exhaustive()
    }
}
