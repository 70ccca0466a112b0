//! Ops that change a tensor in place, as ops that give a new one.
//!
//! Whoever names the changed tensor afterwards gets the new one. Other names of its memory (views) would have to change with it: whoever
//! uses one of those afterwards is refused.

use std::collections::{HashMap, HashSet};

use super::graph::{Arg, Node, Output};
use crate::import::Refusal;

/// Ops whose output may share the memory of their first argument.
const VIEWS: &[&str] = &[
    "_unsafe_view",
    "alias",
    "alpha_dropout",
    "as_strided",
    "broadcast_to",
    "chunk",
    "contiguous",
    "detach",
    "diagonal",
    "dropout",
    "expand",
    "expand_as",
    "feature_dropout",
    "flatten",
    "movedim",
    "moveaxis",
    "mT",
    "narrow",
    "numpy_T",
    "permute",
    "pin_memory",
    "ravel",
    "real",
    "reshape",
    "reshape_as",
    "resolve_conj",
    "resolve_neg",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "swapaxes",
    "swapdims",
    "t",
    "tensor_split",
    "to",
    "transpose",
    "type_as",
    "unbind",
    "unflatten",
    "unfold",
    "unsqueeze",
    "view",
    "view_as",
];

/// What has been changed up to a place in a graph.
#[derive(Debug, Default)]
pub(super) struct Mutations {
    /// The value that took the place of another.
    newest: HashMap<String, String>,
    /// Values that must not be used any more, with the op that changed their memory.
    stale: HashMap<String, String>,
    /// Whose memory values share: an index of `members`.
    memory: HashMap<String, usize>,
    members: Vec<Vec<String>>,
    constants: HashSet<String>,
}

impl Mutations {
    /// Says that a value is a constant of the model.
    pub(super) fn constant(&mut self, name: &str) {
        self.constants.insert(name.to_string());
    }

    /// Makes an op functional, and replaces what it names by what that has become.
    pub(super) fn apply(&mut self, node: &mut Node) -> Result<(), Refusal> {
        for (_, arg) in &mut node.args {
            self.update(arg)?;
        }
        let Some(op) = node.op.strip_prefix("aten::") else { return Ok(()) };
        let first = match node.args.first() {
            Some((_, Arg::Value(name))) => name.clone(),
            _ => return Ok(()),
        };
        if let Some(functional) = op.strip_suffix('_').filter(|f| !f.ends_with('_')) {
            let (was, op) = (node.op.clone(), format!("aten::{functional}"));
            node.op = op;
            self.change(&first, &was, &node.outputs);
        } else if VIEWS.contains(&op) {
            let memory = self.memory_of(&first);
            for name in node.outputs.iter().flat_map(Output::names) {
                self.memory.insert(name.clone(), memory);
                self.members[memory].push(name.clone());
            }
        }
        Ok(())
    }

    /// Replaces names by those of what they have become.
    pub(super) fn update(&mut self, arg: &mut Arg) -> Result<(), Refusal> {
        match arg {
            Arg::Value(name) => {
                if let Some(newest) = self.current(name)? {
                    *name = newest;
                }
                Ok(())
            }
            Arg::List(all) => all.iter_mut().try_for_each(|arg| self.update(arg)),
            _ => Ok(()),
        }
    }

    /// What a value has become; `None` if it is what it was.
    fn current(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let mut at = name.to_string();
        while let Some(next) = self.newest.get(&at) {
            at = next.clone();
        }
        if let Some(op) = self.stale.get(&at) {
            let what =
                if self.constants.contains(&at) { "which a package cannot change" } else { "of which there is a view" };
            return Err(Refusal::new(format!("uses `{at}` after `{op}` changed its memory in place, {what}"))
                .remedy("write `x = x + y` instead of `x += y`, and call `model.eval()` before saving the model"));
        }
        if at == name {
            return Ok(None);
        }
        // The next one has a shorter way.
        self.newest.insert(name.to_string(), at.clone());
        Ok(Some(at))
    }

    fn change(&mut self, changed: &str, op: &str, outputs: &[Output]) {
        let memory = self.memory_of(changed);
        for name in std::mem::take(&mut self.members[memory]) {
            self.stale.insert(name, op.to_string());
        }
        let Some(new) = outputs.iter().flat_map(Output::names).find(|name| !name.is_empty()) else {
            self.stale.insert(changed.to_string(), op.to_string());
            return;
        };
        if self.constants.contains(changed) {
            // The next prediction would see it.
            self.constants.insert(new.clone());
            self.stale.insert(new.clone(), op.to_string());
            self.stale.insert(changed.to_string(), op.to_string());
        } else {
            self.stale.remove(changed);
            self.newest.insert(changed.to_string(), new.clone());
        }
    }

    fn memory_of(&mut self, name: &str) -> usize {
        if let Some(memory) = self.memory.get(name) {
            return *memory;
        }
        self.memory.insert(name.to_string(), self.members.len());
        self.members.push(vec![name.to_string()]);
        self.members.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, args: &[&str], output: &str) -> Node {
        Node {
            op: format!("aten::{op}"),
            overload: String::new(),
            args: args.iter().map(|a| (None, Arg::Value(a.to_string()))).collect(),
            outputs: vec![Output::One(output.to_string())],
            place: String::new(),
        }
    }

    /// What the ops become.
    fn applied(nodes: &[(&str, &[&str], &str)]) -> Result<Vec<String>, String> {
        let mut mutations = Mutations::default();
        mutations.constant("weight");
        let all = nodes.iter().map(|(op, args, output)| {
            let mut node = node(op, args, output);
            mutations.apply(&mut node).map_err(|e| e.to_string())?;
            let args: Vec<String> = node.args.iter().map(|(_, a)| format!("{a:?}").replace("Value", "")).collect();
            Ok(format!("{} = {} {}", output, node.op, args.join(" ")))
        });
        all.collect()
    }

    #[test]
    fn later_uses_see_the_change() {
        let nodes: &[(&str, &[&str], &str)] = &[
            ("relu_", &["x"], "a"),
            ("add_", &["x", "y"], "b"),
            ("mul", &["x", "a"], "c"),
            ("__and__", &["c", "a"], "d"),
        ];
        let expected = [
            "a = aten::relu (\"x\")",
            "b = aten::add (\"a\") (\"y\")",
            "c = aten::mul (\"b\") (\"b\")",
            "d = aten::__and__ (\"c\") (\"b\")",
        ];
        assert_eq!(applied(nodes).unwrap(), expected);
    }

    #[test]
    fn other_names_of_changed_memory_are_refused() {
        let view: &[(&str, &[&str], &str)] = &[("view", &["x"], "v"), ("relu_", &["v"], "a"), ("neg", &["v"], "b")];
        assert_eq!(applied(view).unwrap()[2], "b = aten::neg (\"a\")");
        let of_base = [view, &[("neg", &["x"], "c")]].concat();
        let e = applied(&of_base).unwrap_err();
        assert!(
            e.contains("uses `x` after `aten::relu_` changed its memory in place, of which there is a view"),
            "{e}"
        );
        // A view of a view, after the base was changed.
        let e = applied(&[("t", &["x"], "v"), ("t", &["v"], "w"), ("relu_", &["x"], "a"), ("neg", &["w"], "b")]);
        assert!(e.unwrap_err().contains("uses `w`"));
        // What is made of the new value is another thing.
        assert!(
            applied(&[("t", &["x"], "v"), ("relu_", &["x"], "a"), ("t", &["x"], "w"), ("neg", &["w"], "b")]).is_ok()
        );
    }

    #[test]
    fn constants_that_change_are_not_used_again() {
        let change: (&str, &[&str], &str) = ("add_", &["weight", "x"], "a");
        assert!(applied(&[change]).is_ok());
        for used in ["a", "weight"] {
            let e = applied(&[change, ("neg", &[used], "b")]).unwrap_err();
            assert!(e.contains("which a package cannot change") && e.contains("model.eval()"), "{e}");
        }
    }
}
