//! The order in which nodes run.

use std::collections::{BTreeSet, HashMap};

use super::proto::{GraphProto, NodeProto};
use crate::import::Refusal;

/// The places of the nodes in an order in which each comes after those whose outputs it reads. That is the order in which
/// they stand, unless this one is wrong.
///
/// # Errors
/// If two nodes give one name, or nodes wait for each other.
pub(super) fn order(nodes: &[NodeProto]) -> Result<Vec<usize>, Refusal> {
    let mut giver: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if let Some(first) = giver.insert(name, i) {
                let (a, b) = (shown(&nodes[first]), shown(node));
                let message = format!("the name `{}` is given by two nodes, {a} and {b}", name.escape_debug());
                return Err(Refusal::new(message).remedy("every name in a graph is given once"));
            }
        }
    }
    let waits: Vec<BTreeSet<usize>> = nodes.iter().map(|node| reads(node, &giver)).collect();
    if waits.iter().enumerate().all(|(i, w)| w.iter().all(|j| *j < i)) {
        return Ok((0..nodes.len()).collect());
    }
    let mut readers: Vec<Vec<usize>> = vec![vec![]; nodes.len()];
    let mut open: Vec<usize> = waits.iter().map(BTreeSet::len).collect();
    for (i, waits) in waits.iter().enumerate() {
        waits.iter().for_each(|j| readers[*j].push(i));
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|i| open[*i] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for reader in &readers[next] {
            open[*reader] -= 1;
            if open[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    if order.len() == nodes.len() { Ok(order) } else { Err(circle(nodes, &waits, &open)) }
}

/// The nodes of this graph whose outputs a node reads, in its bodies too.
fn reads(node: &NodeProto, giver: &HashMap<&str, usize>) -> BTreeSet<usize> {
    let mut found: BTreeSet<usize> = node.input.iter().filter_map(|name| giver.get(&name[..]).copied()).collect();
    let mut open: Vec<&GraphProto> = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).collect();
    while let Some(body) = open.pop() {
        // A name that the body gives itself hides the outer one.
        let own: BTreeSet<&str> = body
            .input
            .iter()
            .map(|i| &i.name[..])
            .chain(body.initializer.iter().map(|t| &t.name[..]))
            .chain(body.node.iter().flat_map(|n| n.output.iter().map(|o| &o[..])))
            .collect();
        let names = body.node.iter().flat_map(|n| n.input.iter().map(|i| &i[..]));
        let names = names.chain(body.output.iter().map(|o| &o.name[..])).filter(|name| !own.contains(name));
        found.extend(names.filter_map(|name| giver.get(name).copied()));
        open.extend(body.node.iter().flat_map(|n| &n.attribute).flat_map(|a| a.g.iter().chain(&a.graphs)));
    }
    found
}

/// Names nodes that wait for each other.
fn circle(nodes: &[NodeProto], waits: &[BTreeSet<usize>], open: &[usize]) -> Refusal {
    // Whoever waits follows those it waits for until it meets one again.
    let mut at = open.iter().position(|n| *n > 0).unwrap_or(0);
    let mut way: Vec<usize> = vec![];
    while !way.contains(&at) {
        way.push(at);
        at = waits[at].iter().copied().find(|j| open[*j] > 0).unwrap_or(at);
    }
    let first = way.iter().position(|i| *i == at).unwrap_or(0);
    let names: Vec<String> = way[first..].iter().take(8).map(|i| shown(&nodes[*i])).collect();
    let more = if way.len() - first > 8 { " and others" } else { "" };
    Refusal::new(format!("the graph has a cycle: {}{more} wait for each other", names.join(", ")))
        .remedy("ONNX graphs have no cycles; a `Loop` repeats things")
}

fn shown(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    format!("`{}`", name.map_or("", |n| n).escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], output: &str) -> NodeProto {
        let input = inputs.iter().map(|i| i.to_string()).collect();
        NodeProto { input, output: vec![output.to_string()], ..NodeProto::default() }
    }

    #[test]
    fn nodes_are_put_into_order() {
        let nodes = [node(&["b"], "c"), node(&["a"], "b"), node(&["x"], "a"), node(&["y"], "d")];
        assert_eq!(order(&nodes).unwrap(), [2, 1, 0, 3]);
        let nodes = [node(&["x"], "a"), node(&["a"], "b")];
        assert_eq!(order(&nodes).unwrap(), [0, 1]);
    }

    #[test]
    fn a_body_waits_for_what_it_captures() {
        use crate::onnx::proto::AttributeProto;
        let body = GraphProto { node: vec![node(&["late"], "inner")], ..GraphProto::default() };
        let mut branch = node(&[], "out");
        branch.attribute.push(AttributeProto { g: Some(body), ..AttributeProto::default() });
        assert_eq!(order(&[branch, node(&["x"], "late")]).unwrap(), [1, 0]);
    }

    #[test]
    fn cycles_and_names_given_twice_are_refused() {
        let nodes = [node(&["x"], "a"), node(&["c"], "b"), node(&["b"], "c"), node(&["c"], "d")];
        let error = order(&nodes).unwrap_err().to_string();
        assert!(error.contains("cycle: `b`, `c` wait for each other"), "{error}");
        let error = order(&[node(&["x"], "a"), node(&["y"], "a")]).unwrap_err().to_string();
        assert!(error.contains("`a` is given by two nodes"), "{error}");
    }
}
