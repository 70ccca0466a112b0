//! What the ops are: the reference pages, made from the definitions.

use std::fmt::Write as _;

use mil_core::{
    op::{OpDef, Outputs, ParamDef},
    ops,
    types::{DType, Opset},
};

use crate::{
    ToolError,
    neural_engine::{Rule, rule},
};

const HEAD: &str = "\
# Ops

Every op that `mil` reads, checks, writes and runs. Made from the definitions in `mil-core/src/ops`: `mil ops --markdown` prints this
page, and `UPDATE=1 cargo test -p mil-tools --test ops_page` renews it.

An op exists from the opset in the column *since* on; iOS15 to iOS18 are `CoreML5` to `CoreML8`, and iOS26 (`CoreML9`) has no op of its
own. A parameter in **bold** is required; *const* ones must be known when the program is built. A letter before a colon is a dtype
variable: parameters of one op with the same letter have the same dtype. Types and shapes of the outputs are inferred by the rule below
each op, whose constraints are checked when a program is written and when it is read.

CPU says which engine has a kernel. Neural Engine says what is known of Apple's compiler, and how surely: evidence, not a promise
(after *ane-guide* by S. Bryngelson, CC BY 4.0, and published compute plans; `mil-tools/data/ane_rules.tsv`).

";

/// All ops as one page of Markdown: a table of contents with the essentials, and a section for each.
pub fn markdown() -> String {
    let mut defs: Vec<&OpDef> = ops::all().collect();
    defs.sort_by_key(|d| d.name);
    let mut page =
        format!("{HEAD}{} ops.\n\n| op | since | gives | CPU | Neural Engine |\n|---|---|---|---|---|\n", defs.len());
    for def in &defs {
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "| [`{0}`](#{0}) | {1} | {2} | {3} | {4} |",
            def.name,
            def.since,
            gives(def),
            cpu(def),
            rule(def.name).map_or("unknown", |r| r.verdict.words()),
        );
    }
    for def in defs {
        page.push('\n');
        page.push_str(&section(def));
    }
    page
}

/// One op as a section of Markdown.
///
/// # Errors
/// If there is no op of this name; the error names those whose names hold it.
pub fn describe(op: &str) -> Result<String, ToolError> {
    if let Some(def) = ops::find(op) {
        return Ok(section(def));
    }
    let mut similar: Vec<&str> = ops::all().map(|d| d.name).filter(|n| n.contains(op)).collect();
    similar.sort_unstable();
    Err(ToolError::new(match &similar[..] {
        [] => format!("there is no op `{op}`; `mil ops` lists them"),
        names => format!("there is no op `{op}`; there are {}", names.join(", ")),
    }))
}

/// The names of all ops, a line each with what it is in a sentence.
pub fn list() -> String {
    let mut defs: Vec<&OpDef> = ops::all().collect();
    defs.sort_by_key(|d| d.name);
    let width = defs.iter().map(|d| d.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for def in defs {
        let _ = writeln!(text, "{:width$}  {:5}  {}", def.name, def.since.name(), summary(def));
    }
    text
}

fn summary(def: &OpDef) -> &str {
    def.doc.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("")
}

fn gives(def: &OpDef) -> String {
    match def.outputs {
        Outputs::Fixed(0) => "nothing".into(),
        Outputs::Fixed(1) => "1 value".into(),
        Outputs::Fixed(n) => format!("{n} values"),
        Outputs::Variadic => "values".into(),
    }
}

fn cpu(def: &OpDef) -> &'static str {
    if mil_runtime::cpu::runs(def.name) { "reference" } else { "no" }
}

fn section(def: &OpDef) -> String {
    let mut text = format!("## {}\n\n", def.name);
    for line in def.doc.lines().map(|l| l.strip_prefix(' ').unwrap_or(l)) {
        // Headings of a doc comment are below the op's own here.
        let _ = match line.strip_prefix("# ") {
            Some(heading) => writeln!(text, "{heading}:\n"),
            None => writeln!(text, "{line}"),
        };
    }
    text.push('\n');
    if !def.params.is_empty() {
        text.push_str("| parameter | what | dtypes |\n|---|---|---|\n");
        for param in def.params {
            let _ = writeln!(text, "| {} | {} | {} |", title(param, def), one_line(param.doc), dtypes(param));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "Since {}; gives {}. CPU: {}. {}", def.since, gives(def), cpu(def), told(rule(def.name)));
    text
}

fn title(param: &ParamDef, def: &OpDef) -> String {
    let mut text = if param.required { format!("**`{}`**", param.name) } else { format!("`{}`", param.name) };
    let constant: Vec<String> = match param.constant {
        [(_, true)] => vec!["const".into()],
        entries => {
            let words = |c: bool| if c { "const" } else { "not const" };
            let known = |&(i, (_, c)): &(usize, &(Opset, bool))| i > 0 || *c;
            let said = entries.iter().enumerate().filter(known);
            said.map(
                |(_, (since, c))| {
                    if *since <= def.since { words(*c).into() } else { format!("{} from {since}", words(*c)) }
                },
            )
            .collect()
        }
    };
    if param.since > def.since {
        let _ = write!(text, ", since {}", param.since);
    }
    for word in constant {
        let _ = write!(text, ", {word}");
    }
    text
}

fn dtypes(param: &ParamDef) -> String {
    let entries = param.dtypes.iter().enumerate().map(|(i, allowed)| {
        let names: Vec<&str> = allowed.dtypes.iter().map(|d: &DType| d.rust_name()).collect();
        let names = if names.is_empty() { "any".to_string() } else { names.join(" ") };
        let variable = allowed.var.map_or(String::new(), |v| format!("{v}: "));
        let since = if i == 0 { String::new() } else { format!("from {} ", allowed.since) };
        format!("{since}{variable}{names}")
    });
    entries.collect::<Vec<_>>().join("; ")
}

fn told(rule: Option<&Rule>) -> String {
    let Some(rule) = rule else { return "Neural Engine: unknown.".into() };
    let confidence = format!("{:?}", rule.confidence).to_lowercase();
    let mut text = format!("Neural Engine: {} (confidence {confidence})", rule.verdict.words());
    if !rule.condition.is_empty() {
        let _ = write!(text, ": {}", rule.condition);
    }
    text.push('.');
    text
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
