//! Names in scope, and which variables a stretch of code assigned.

use std::collections::HashMap;

use syn::ItemFn;

use crate::value::Val;

/// A variable, by identity: a name may be bound anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct VarId(usize);

#[derive(Debug)]
struct Var {
    name: String,
    val: Val,
    mutable: bool,
    /// A `const` item: inlined functions see it too.
    item: bool,
}

#[derive(Default)]
struct Scope<'a> {
    vars: HashMap<String, VarId>,
    helpers: HashMap<String, &'a ItemFn>,
    /// The body of an inlined function: it does not see its caller's variables.
    barrier: bool,
}

/// The names in scope.
pub(crate) struct Env<'a> {
    vars: Vec<Var>,
    scopes: Vec<Scope<'a>>,
    /// Per open stretch of code: what the variables were that it has assigned.
    journals: Vec<Vec<(VarId, Val)>>,
}

impl<'a> Env<'a> {
    pub(crate) fn new() -> Env<'a> {
        Env { vars: vec![], scopes: vec![Scope::default()], journals: vec![] }
    }

    pub(crate) fn open(&mut self) {
        self.scopes.push(Scope::default());
    }

    /// Opens the scope of an inlined function.
    pub(crate) fn open_function(&mut self) {
        self.scopes.push(Scope { barrier: true, ..Scope::default() });
    }

    pub(crate) fn close(&mut self) {
        self.scopes.pop();
    }

    pub(crate) fn declare(&mut self, name: &str, val: Val, mutable: bool) {
        self.add(name, val, mutable, false);
    }

    pub(crate) fn declare_item(&mut self, name: &str, val: Val) {
        self.add(name, val, false, true);
    }

    fn add(&mut self, name: &str, val: Val, mutable: bool, item: bool) {
        let id = VarId(self.vars.len());
        self.vars.push(Var { name: name.to_string(), val, mutable, item });
        if let Some(scope) = self.scopes.last_mut() {
            scope.vars.insert(name.to_string(), id);
        }
    }

    pub(crate) fn declare_helper(&mut self, name: &str, helper: &'a ItemFn) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.helpers.insert(name.to_string(), helper);
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<VarId> {
        let mut items_only = false;
        for scope in self.scopes.iter().rev() {
            if let Some(id) = scope.vars.get(name)
                && (!items_only || self.vars[id.0].item)
            {
                return Some(*id);
            }
            items_only |= scope.barrier;
        }
        None
    }

    pub(crate) fn helper(&self, name: &str) -> Option<&'a ItemFn> {
        self.scopes.iter().rev().find_map(|s| s.helpers.get(name).copied())
    }

    /// All names that could be meant, for suggestions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().flat_map(|s| s.vars.keys().map(String::as_str))
    }

    /// All helper names, for suggestions.
    pub(crate) fn helper_names(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().flat_map(|s| s.helpers.keys().map(String::as_str))
    }

    pub(crate) fn get(&self, id: VarId) -> &Val {
        &self.vars[id.0].val
    }

    pub(crate) fn name(&self, id: VarId) -> &str {
        &self.vars[id.0].name
    }

    pub(crate) fn is_mutable(&self, id: VarId) -> bool {
        self.vars[id.0].mutable
    }

    pub(crate) fn is_item(&self, id: VarId) -> bool {
        self.vars[id.0].item
    }

    /// Assigns, and remembers in the innermost journal what was there before.
    pub(crate) fn assign(&mut self, id: VarId, val: Val) {
        let old = std::mem::replace(&mut self.vars[id.0].val, val);
        if let Some(journal) = self.journals.last_mut()
            && !journal.iter().any(|(seen, _)| *seen == id)
        {
            journal.push((id, old));
        }
    }

    /// Begins to record assignments to the variables that exist now.
    pub(crate) fn record(&mut self) -> usize {
        self.journals.push(vec![]);
        self.vars.len()
    }

    /// Ends the recording, undoes the assignments, and gives them: variable, value before, value after.
    pub(crate) fn undo(&mut self, existed: usize) -> Vec<(VarId, Val, Val)> {
        let journal = self.journals.pop().unwrap_or_default();
        let outer = journal.into_iter().filter(|(id, _)| id.0 < existed);
        outer
            .map(|(id, old)| {
                let new = std::mem::replace(&mut self.vars[id.0].val, old.clone());
                (id, old, new)
            })
            .collect()
    }
}
