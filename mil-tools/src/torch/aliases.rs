//! Which nodes matter, and what writing to a tensor means for its other names.
//!
//! A traced module may write to a view (`x[:, 0] = y` is a `select` and a `copy_`), after which the graph goes on to read
//! `x`. Values here are never changed, so that a write gives new values, and each name of the tensor must get its own.

use std::collections::{HashMap, HashSet};

use super::graph::{Arg, Graph, Node, Output};
use crate::import::Refusal;

/// What is found before lowering.
pub(super) struct Plan<'g> {
    /// Whether each node has to be lowered.
    pub(super) live: Vec<bool>,
    /// All names that live nodes and outputs read.
    pub(super) used: HashSet<&'g str>,
    /// For nodes that write to a tensor with other names: what becomes of them.
    pub(super) writes: HashMap<usize, Write<'g>>,
}

/// What becomes of the other names of a tensor that is written to.
pub(super) enum Write<'g> {
    /// They are bound anew, one after the other: each base from the view that was cut out of it.
    Through(Vec<Step<'g>>),
    /// This is not supported.
    Refused(Refusal),
}

/// A base, and the node that made the view of it.
pub(super) struct Step<'g> {
    pub(super) base: &'g str,
    pub(super) view: &'g Node,
}

/// Ops whose result may share the elements of their first argument.
const VIEWS: &[&str] = &[
    "alias",
    "as_strided",
    "chunk",
    "contiguous",
    "data",
    "detach",
    "diagonal",
    "dropout",
    "expand",
    "expand_as",
    "flatten",
    "lift_fresh",
    "movedim",
    "narrow",
    "numpy_T",
    "permute",
    "real",
    "reshape",
    "reshape_as",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "swapaxes",
    "t",
    "to",
    "transpose",
    "type_as",
    "unbind",
    "unflatten",
    "unfold",
    "unsqueeze",
    "view",
    "view_as",
    "_unsafe_view",
    "mT",
    "T",
    "__getitem__",
];

/// Whether the op writes to its first argument.
pub(super) fn in_place(op: &str) -> bool {
    let name = op.rsplit("::").next().unwrap_or("");
    op.starts_with("aten::") && name.ends_with('_') && !name.ends_with("__")
}

/// The names in an argument.
pub(super) fn names(arg: &Arg) -> Vec<&str> {
    let mut found = vec![];
    let mut open = vec![arg];
    while let Some(arg) = open.pop() {
        match arg {
            Arg::Value(name) => found.push(&name[..]),
            Arg::List(items) => open.extend(items),
            _ => {}
        }
    }
    found
}

/// The names that a node gives.
pub(super) fn outputs(node: &Node) -> Vec<&str> {
    let all = node.outputs.iter().flat_map(|o| match o {
        Output::One(name) => vec![&name[..]],
        Output::List(names) => names.iter().map(|n| &n[..]).collect(),
    });
    all.collect()
}

fn first(node: &Node) -> Option<&str> {
    match node.args.first() {
        Some((_, Arg::Value(name))) => Some(name),
        _ => None,
    }
}

/// Plans the lowering of a graph.
pub(super) fn plan(graph: &Graph) -> Plan<'_> {
    // The tensor that a name shares elements with, by the name it had first.
    let mut roots: HashMap<&str, &str> = HashMap::new();
    let mut families: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut cuts: HashMap<&str, (&str, &Node)> = HashMap::new();
    let mut born: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        born.extend(outputs(node).into_iter().map(|name| (name, i)));
        let name = node.op.rsplit("::").next().unwrap_or("");
        let shares = VIEWS.contains(&name) || in_place(&node.op);
        if let Some(base) = first(node).filter(|_| shares) {
            let root = roots.get(base).copied().unwrap_or(base);
            for output in outputs(node) {
                roots.insert(output, root);
                families.entry(root).or_insert_with(|| vec![root]).push(output);
                if matches!(name, "select" | "slice") {
                    cuts.insert(output, (base, node));
                }
            }
        }
    }
    let root = |name| roots.get(name).copied().unwrap_or(name);
    let mut live = vec![false; graph.nodes.len()];
    let mut used: HashSet<&str> = graph.outputs.iter().flat_map(|(_, arg)| names(arg)).collect();
    let mut used_roots: HashSet<&str> = used.iter().map(|n| root(n)).collect();
    let mut writes = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        let given = outputs(node);
        let target = first(node).filter(|_| in_place(&node.op));
        live[i] = given.iter().any(|n| used.contains(n)) || target.is_some_and(|t| used_roots.contains(root(t)));
        if !live[i] {
            continue;
        }
        if let Some(target) = target {
            // Only names that are read later matter; `used` holds those of the nodes behind this one.
            let family = families.get(root(target)).map_or(&[][..], |f| f);
            let later = |n: &&&str| used.contains(**n) && **n != target && !given.contains(*n);
            let others: Vec<&str> =
                family.iter().filter(later).copied().filter(|n| born.get(n).is_none_or(|b| *b < i)).collect();
            if !others.is_empty() {
                writes.insert(i, write(target, &others, &cuts));
            }
        }
        for name in node.args.iter().flat_map(|(_, arg)| names(arg)) {
            used.insert(name);
            used_roots.insert(root(name));
        }
    }
    Plan { live, used, writes }
}

fn write<'g>(target: &'g str, others: &[&'g str], cuts: &HashMap<&'g str, (&'g str, &'g Node)>) -> Write<'g> {
    let mut steps = vec![];
    let mut at = target;
    while let Some((base, view)) = cuts.get(at) {
        steps.push(Step { base, view });
        at = base;
    }
    if others.iter().all(|o| steps.iter().any(|s| s.base == *o)) {
        return Write::Through(steps);
    }
    let message = format!("writes to `{target}`, which shares its elements with `{}`", others.join("`, `"));
    Write::Refused(
        Refusal::new(message).remedy("write the module so that it makes new tensors, or `clone()` before it writes"),
    )
}
