//! Names of the outputs.

use serde::Deserialize;
use serde_json::Value;

use super::schema::ModuleCall;
use crate::torch::graph::Arg;

/// How a value of Python is made of others: its type, something about it, its parts.
#[derive(Debug, Deserialize)]
struct Tree {
    r#type: Option<String>,
    #[serde(default)]
    context: Value,
    #[serde(default)]
    children_spec: Vec<Tree>,
}

/// Names for what is given: the keys of the dicts that the model gives, where it gives dicts; else the names of the values.
pub(super) fn names(calls: &[ModuleCall], given: &[Arg]) -> Vec<String> {
    let mut keys = vec![];
    if let Some(signature) = calls.iter().find(|c| c.fqn.is_empty()).and_then(|c| c.signature.as_ref())
        && let Ok((_, tree)) = serde_json::from_str::<(i64, Tree)>(&signature.out_spec)
    {
        leaves(&tree, None, &mut keys);
    }
    if keys.len() != given.len() {
        keys = vec![None; given.len()];
    }
    let mut names: Vec<String> = vec![];
    for (i, (key, arg)) in keys.into_iter().zip(given).enumerate() {
        let name = match (key, arg) {
            (Some(key), _) => key,
            (None, Arg::Value(name)) => name.clone(),
            (None, _) => format!("output_{i}"),
        };
        // One value may be given twice.
        let mut free = name.clone();
        for n in 1.. {
            if !names.contains(&free) {
                break;
            }
            free = format!("{name}_{n}");
        }
        names.push(free);
    }
    names
}

/// The keys of the leaves, in order. A tree is as deep as JSON is read.
fn leaves(tree: &Tree, key: Option<&str>, keys: &mut Vec<Option<String>>) {
    let Some(kind) = &tree.r#type else {
        keys.push(key.map(str::to_string));
        return;
    };
    // The context is text of JSON: the list of the keys.
    let dict = matches!(&kind[..], "builtins.dict" | "collections.OrderedDict");
    let names: Vec<String> = match &tree.context {
        Value::String(text) if dict => serde_json::from_str(text).unwrap_or_default(),
        _ => vec![],
    };
    for (i, child) in tree.children_spec.iter().enumerate() {
        leaves(child, names.get(i).map(String::as_str).or(key), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torch::exported::schema::CallSignature;

    #[test]
    fn keys_of_dicts_are_names() {
        let out_spec = r#"[1, {"type": "builtins.tuple", "context": "null", "children_spec": [
            {"type": null, "context": null, "children_spec": []},
            {"type": "builtins.dict", "context": "[\"top\", \"where\"]", "children_spec": [
                {"type": null, "context": null, "children_spec": []}, {"type": null, "context": null, "children_spec": []}]}]}]"#;
        let call = ModuleCall { fqn: String::new(), signature: Some(CallSignature { out_spec: out_spec.to_string() }) };
        let value = |n: &str| Arg::Value(n.to_string());
        let given = [value("add"), value("a"), value("b")];
        assert_eq!(names(&[call], &given), ["add", "top", "where"]);
        assert_eq!(names(&[], &[value("a"), value("a"), Arg::Int(3)]), ["a", "a_1", "output_2"]);
    }
}
