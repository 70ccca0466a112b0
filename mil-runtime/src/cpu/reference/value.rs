//! What a running function has: tensors, and lists, dictionaries and states beside them.

use std::{collections::BTreeMap, sync::Arc};

use mil_core::{ir::ValueId, types::TensorType};

use crate::{
    error::RunError,
    outputs::Dictionary,
    tensor::{AnyTensor, zeros},
};

/// A value. Cheap to clone: what it holds is shared.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Arc<AnyTensor>),
    List(Arc<List>),
    Dictionary(Arc<Dictionary>),
    /// The function's input that is the state: wherever it is handed to, there is one of it.
    State(ValueId),
}

impl Value {
    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Tensor(t) => t.ty().to_string(),
            Value::List(list) => format!("a list of {} tensors", list.len),
            Value::Dictionary(_) => "a dictionary".into(),
            Value::State(_) => "a state".into(),
        }
    }

    pub(crate) fn tensor(&self) -> Result<&Arc<AnyTensor>, RunError> {
        match self {
            Value::Tensor(t) => Ok(t),
            other => Err(RunError::new(format!("expected a tensor, found {}", other.describe()))),
        }
    }

    pub(crate) fn list(&self) -> Result<&List, RunError> {
        match self {
            Value::List(list) => Ok(list),
            other => Err(RunError::new(format!("expected a list, found {}", other.describe()))),
        }
    }
}

impl From<AnyTensor> for Value {
    fn from(t: AnyTensor) -> Value {
        Value::Tensor(Arc::new(t))
    }
}

/// A list of tensors, of which only those that were written are there: its length costs nothing.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// What its elements are; sizes may be open.
    pub(crate) element: TensorType,
    pub(crate) len: usize,
    /// Whether it grows.
    pub(crate) dynamic: bool,
    items: BTreeMap<usize, Arc<AnyTensor>>,
}

impl List {
    pub(crate) fn new(element: TensorType, len: usize, dynamic: bool) -> List {
        List { element, len, dynamic, items: BTreeMap::new() }
    }

    /// The element at a place; zeros if it was never written, as coremltools' tests of lists expect.
    pub(crate) fn read(&self, index: i64) -> Result<Arc<AnyTensor>, RunError> {
        let at = usize::try_from(index).ok().filter(|i| *i < self.len);
        let outside = || RunError::new(format!("there is no element {index} in a list of {}", self.len));
        if let Some(item) = self.items.get(&at.ok_or_else(outside)?) {
            return Ok(item.clone());
        }
        let open = || RunError::new(format!("element {index} of the list is read but was never written"));
        let shape = self.element.shape.fixed().ok_or_else(open)?;
        zeros(self.element.dtype, &shape).map(Arc::new)
    }

    /// Puts an element at a place.
    pub(crate) fn write(&mut self, index: i64, value: Arc<AnyTensor>) -> Result<(), RunError> {
        let at = usize::try_from(index).ok().filter(|i| *i < self.len || self.dynamic);
        let at = at.ok_or_else(|| {
            let kind = if self.dynamic { "" } else { " and does not grow" };
            RunError::new(format!("there is no place {index} in a list that has {} elements{kind}", self.len))
        })?;
        let fits = value.ty().dtype == self.element.dtype && value.ty().shape.compatible(&self.element.shape);
        if !fits {
            let what = format!("the list's elements are {}, but {} is written", self.element, value.ty());
            return Err(RunError::new(what));
        }
        self.len = self.len.max(at.saturating_add(1));
        self.items.insert(at, value);
        Ok(())
    }
}
