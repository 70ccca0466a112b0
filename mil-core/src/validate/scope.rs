//! Names, definitions and uses.

use std::collections::HashSet;

use super::report::Report;
use crate::{
    graph::is_identifier,
    ir::{BlockId, Def, Function, OpId, Program, ValueId},
    op::OpError,
};

/// There is a function; the default function exists; a function's name is a MIL name and the one it is listed under.
///
/// Core ML: `defaultFunctionName` must name a function of the model.
pub(super) fn functions(program: &Program, report: &mut Report<'_>) {
    if program.functions.is_empty() {
        report.whole("there is no function", "add one, made with `Graph::finish_function`");
    } else if !program.functions.contains_key(&program.default_function) {
        let message = format!("the default function `{}` does not exist", program.default_function.escape_debug());
        let names: Vec<_> = program.functions.keys().map(|n| format!("`{n}`")).collect();
        report.whole(message, &format!("set `default_function` to one of {}", names.join(", ")));
    }
    for (name, function) in &program.functions {
        if !is_identifier(name) {
            report.whole(format!("`{}` is no function name", name.escape_debug()), NAME_RULE);
        }
        if *name != function.name {
            let (listed, own) = (name.escape_debug(), function.name.escape_debug());
            report.whole(format!("function `{own}` is listed as `{listed}`"), "give both the same name");
        }
    }
}

const NAME_RULE: &str = "a name has letters, digits and `_`, does not start with a digit, and is no word of MIL";

/// Every value has a name that MIL takes, and no two values that are visible at one place have the same. Blocks side by
/// side may repeat names: coremltools names the loop variables of `while_loop`'s two blocks alike.
///
/// Core ML's text reader refuses a type's name as a value's ("Invalid operation output name: got 'tensor' when
/// expecting token of type 'ID'").
pub(super) fn value_names(f: &Function, report: &mut Report<'_>) {
    for id in defined(f) {
        let name = &f.value(id).name;
        if !is_identifier(name) {
            report.value(id, format!("`{}` is no name for a value", name.escape_debug()), NAME_RULE);
        }
    }
    let mut visible = HashSet::new();
    for id in &f.inputs {
        take_name(f, *id, &mut visible, report);
    }
    block_names(f, f.body, &mut visible, report);
}

fn block_names<'a>(f: &'a Function, id: BlockId, visible: &mut HashSet<&'a str>, report: &mut Report<'_>) {
    let block = f.block(id);
    let mut here: Vec<&str> = vec![];
    here.extend(block.inputs.iter().filter_map(|id| take_name(f, *id, visible, report)));
    for op in &block.ops {
        for nested in &f.op(*op).blocks {
            block_names(f, *nested, visible, report);
        }
        here.extend(f.op(*op).outputs.iter().filter_map(|id| take_name(f, *id, visible, report)));
    }
    for name in here {
        visible.remove(name);
    }
}

/// The name, if it is free here.
fn take_name<'a>(
    f: &'a Function,
    id: ValueId,
    visible: &mut HashSet<&'a str>,
    report: &mut Report<'_>,
) -> Option<&'a str> {
    let name = &f.value(id).name[..];
    if visible.insert(name) {
        return Some(name);
    }
    report.value(id, format!("two values are named `{}`", name.escape_debug()), "give each value its own name");
    None
}

/// Every value is defined once, by what it says it is defined by.
pub(super) fn definitions(f: &Function, report: &mut Report<'_>) {
    let mut seen: HashSet<ValueId> = HashSet::new();
    let mut check = |id: ValueId, place: Def, report: &mut Report<'_>| {
        let value = f.value(id);
        let name = value.name.escape_debug();
        if !seen.insert(id) {
            report.value(id, format!("`{name}` is defined twice"), "define each value once; copy with `mb::identity`");
        } else if value.def != place {
            report.value(id, format!("`{name}` is defined at another place than it says"), "this is a bug of a pass");
        }
    };
    for (i, id) in f.inputs.iter().enumerate() {
        check(*id, Def::Input(i), report);
    }
    for op in f.walk() {
        for block in &f.op(op).blocks {
            for (i, id) in f.block(*block).inputs.iter().enumerate() {
                check(*id, Def::BlockInput(*block, i), report);
            }
        }
        for (i, id) in f.op(op).outputs.iter().enumerate() {
            check(*id, Def::Op(op, i), report);
        }
    }
}

/// A value is used only after its definition, in the same block or one inside it.
pub(super) fn uses(f: &Function, report: &mut Report<'_>) {
    let mut visible: HashSet<ValueId> = f.inputs.iter().copied().collect();
    block_uses(f, f.body, None, &mut visible, report);
}

fn block_uses(f: &Function, id: BlockId, owner: Option<OpId>, visible: &mut HashSet<ValueId>, report: &mut Report<'_>) {
    let block = f.block(id);
    let mut here: Vec<ValueId> = block.inputs.iter().filter(|v| visible.insert(**v)).copied().collect();
    for &op in &block.ops {
        for used in f.op(op).uses().filter(|v| !visible.contains(v)) {
            report.op(op, undefined(f, used));
        }
        for nested in &f.op(op).blocks {
            block_uses(f, *nested, Some(op), visible, report);
        }
        here.extend(f.op(op).outputs.iter().filter(|v| visible.insert(**v)));
    }
    for output in block.outputs.iter().filter(|v| !visible.contains(v)) {
        let error = undefined(f, *output);
        match owner {
            Some(op) => report.op(op, error),
            None => report.whole(error.message, error.note.as_deref().unwrap_or_default()),
        }
    }
    for id in here {
        visible.remove(&id);
    }
}

fn undefined(f: &Function, id: ValueId) -> OpError {
    let name = f.value(id).name.escape_debug();
    OpError::new(format!("`{name}` is used where it is not defined"))
        .note("define it before, in this block or one around it")
}

/// An op has the nested blocks that its definition says.
pub(super) fn blocks(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        let op = f.op(id);
        if op.blocks.len() != op.def.blocks {
            let message = format!("it has {} nested blocks, found {}", op.def.blocks, op.blocks.len());
            report.op(id, OpError::new(message).note("make it with `Graph::cond` or `Graph::while_loop`"));
        }
    }
}

/// All values that something defines: inputs, inputs of nested blocks, outputs of ops.
pub(super) fn defined(f: &Function) -> Vec<ValueId> {
    let mut all = f.inputs.clone();
    for op in f.walk() {
        all.extend(f.op(op).blocks.iter().flat_map(|b| &f.block(*b).inputs));
        all.extend(&f.op(op).outputs);
    }
    all
}
