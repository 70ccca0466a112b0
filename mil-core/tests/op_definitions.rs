//! Every op's definition against an inventory of coremltools 9.0's ops (`testdata/op_definitions.json`, made by
//! `tests/oracle/op_definitions.py`): opsets, parameters, dtypes, dtype variables, constness, defaults.

use std::collections::BTreeSet;

use mil_core::{
    op::{OpDef, ParamDef},
    ops,
    types::{DType, Opset},
};
use serde_json::Value;

/// Where we say something else on purpose, and why. An entry that no longer differs fails.
const DIFFERENCES: &[(&str, &str, &str)] =
    &[("write_state", "", "coremltools has it in files only: its builder says `coreml_update_state`")];

fn inventory() -> serde_json::Map<String, Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/op_definitions.json");
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Ops whose arguments are not ordinary parameters.
fn is_special(op: &OpDef) -> bool {
    op.is_const() || op.blocks > 0
}

fn dtypes(p: &ParamDef, opset: Opset) -> BTreeSet<&'static str> {
    p.allowed(opset).map(|a| a.dtypes.iter().map(|d| d.mil_name()).collect()).unwrap_or_default()
}

/// Everything that differs between a parameter and its line in the inventory, in one opset.
fn compare(p: &ParamDef, opset: Opset, line: &Value, variables: &dyn Fn(&str) -> usize) -> Vec<String> {
    let mut differences = vec![];
    let mut expect = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            differences.push(format!("{what}: ours {ours}, coremltools {theirs}"));
        }
    };
    expect("required", p.is_required(opset).to_string(), line["required"].to_string());
    expect("constant", p.is_constant(opset).to_string(), line["constant"].to_string());
    let theirs: BTreeSet<&str> = line["dtypes"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    // Types without a tensor inside (states, lists) have no dtypes in the inventory.
    if !theirs.is_empty() {
        expect("dtypes", format!("{:?}", dtypes(p, opset)), format!("{theirs:?}"));
    }
    // A variable that only one parameter has says nothing.
    let var = line["var"].as_str().filter(|v| variables(v) > 1);
    let ours = p.allowed(opset).and_then(|a| a.var);
    if var.is_some() {
        expect("variable", format!("{ours:?}"), format!("{var:?}"));
    }
    if !p.is_required(opset) {
        expect("has a default", p.has_default.to_string(), line.get("default").is_some().to_string());
    }
    differences
}

#[test]
fn definitions_agree_with_coremltools() {
    let inventory = inventory();
    let mut found: Vec<(String, String, String)> = vec![];
    for op in ops::all().filter(|op| !is_special(op)) {
        let Some(entry) = inventory.get(op.name) else {
            found.push((op.name.into(), String::new(), "is not in the inventory".into()));
            continue;
        };
        if entry["since"].as_str() != Some(op.since.name()) {
            found.push((op.name.into(), String::new(), format!("since: ours {}, theirs {}", op.since, entry["since"])));
        }
        let mut current = None;
        for opset in Opset::ALL.into_iter().filter(|o| *o >= op.since && *o <= Opset::iOS18) {
            current = entry["versions"].get(opset.name()).or(current);
            let Some(params) = current.and_then(Value::as_object) else { continue };
            let uses = |var: &str| params.values().filter(|p| p["var"].as_str() == Some(var)).count();
            for (name, line) in params {
                let differences = match op.params.iter().find(|p| p.name == name) {
                    None => vec!["is missing here".into()],
                    Some(p) if p.since > opset => vec![format!("is there in {opset}, ours since {}", p.since)],
                    Some(p) => compare(p, opset, line, &uses),
                };
                found.extend(differences.into_iter().map(|d| (op.name.into(), name.clone(), format!("{opset}: {d}"))));
            }
            for p in op.params.iter().filter(|p| p.exists(opset) && !params.contains_key(p.name)) {
                found.push((op.name.into(), p.name.into(), format!("{opset}: is not in the inventory")));
            }
        }
    }
    let known = |op: &str, param: &str| DIFFERENCES.iter().any(|(o, p, _)| *o == op && *p == param);
    let unknown: Vec<String> =
        found.iter().filter(|(o, p, _)| !known(o, p)).map(|(o, p, d)| format!("{o}.{p} {d}")).collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    for (op, param, why) in DIFFERENCES {
        let still = found.iter().any(|(o, p, _)| o == op && p == param);
        assert!(still, "{op}.{param} no longer differs: remove it from the list ({why})");
    }
}

#[test]
fn names_are_unique_and_found() {
    let mut seen = BTreeSet::new();
    for op in ops::all() {
        assert!(seen.insert(op.name), "`{}` is in two lists", op.name);
        assert_eq!(ops::find(op.name), Some(op));
        assert!(!op.doc.is_empty() && op.params.iter().all(|p| !p.doc.is_empty()), "`{}` is not documented", op.name);
    }
    assert!(ops::find("no_such_op").is_none());
}

#[test]
fn dtype_names_of_the_inventory_are_ours() {
    for (op, entry) in inventory() {
        for (_, version) in entry["versions"].as_object().unwrap() {
            for (param, line) in version.as_object().unwrap() {
                for d in line["dtypes"].as_array().unwrap() {
                    assert!(DType::parse(d.as_str().unwrap()).is_some(), "{op}.{param}: {d}");
                }
            }
        }
    }
}
