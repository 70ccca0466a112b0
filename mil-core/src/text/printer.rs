//! Programs, functions, blocks and ops.
//!
//! Indentation is what Core ML's compiler does: a function's ops by twelve, its closing brace by eight.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use super::{Options, types::write_type, values::write_value};
use crate::ir::{Argument, Attribute, Binding, BlockId, Constant, Function, Op, OpId, Program, ValueId};

const STEP: usize = 4;

pub(super) struct Printer<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) options: &'a Options,
}

impl Printer<'_> {
    pub(super) fn program(&mut self, program: &Program) -> fmt::Result {
        writeln!(self.out, "program({}.0)", program.version)?;
        if !program.attributes.is_empty() {
            self.attributes(None, &program.attributes)?;
            self.out.write_char('\n')?;
        }
        self.out.write_str("{\n")?;
        for function in program.functions.values() {
            self.function(function)?;
        }
        self.out.write_str("}\n")
    }

    pub(super) fn function(&mut self, f: &Function) -> fmt::Result {
        write!(self.out, "{:STEP$}func {}<{}>", "", f.name, f.opset.name().to_ascii_lowercase())?;
        self.inputs(f, &f.inputs)?;
        if !f.attributes.is_empty() {
            self.out.write_char(' ')?;
            self.attributes(None, &f.attributes)?;
        }
        self.out.write_char(' ')?;
        self.body(f, f.body, 2 * STEP)?;
        self.out.write_str(";\n")
    }

    fn inputs(&mut self, f: &Function, inputs: &[ValueId]) -> fmt::Result {
        self.out.write_char('(')?;
        self.typed(f, inputs)?;
        self.out.write_char(')')
    }

    /// `type name, type name`.
    fn typed(&mut self, f: &Function, values: &[ValueId]) -> fmt::Result {
        for (i, id) in values.iter().enumerate() {
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            let value = f.value(*id);
            write_type(self.out, &value.ty, self.options.symbols)?;
            write!(self.out, " {}", value.name)?;
        }
        Ok(())
    }

    /// A block from its brace on; the closing one is indented by `indent`.
    fn body(&mut self, f: &Function, id: BlockId, indent: usize) -> fmt::Result {
        let block = f.block(id);
        self.out.write_str("{\n")?;
        for op in &block.ops {
            self.op(f, *op, indent + STEP)?;
        }
        write!(self.out, "{:indent$}}} -> (", "")?;
        for (i, id) in block.outputs.iter().enumerate() {
            write!(self.out, "{}{}", if i == 0 { "" } else { ", " }, f.value(*id).name)?;
        }
        self.out.write_char(')')?;
        self.attributes(None, &block.attributes)
    }

    fn op(&mut self, f: &Function, id: OpId, indent: usize) -> fmt::Result {
        let op: &Op = f.op(id);
        write!(self.out, "{:indent$}", "")?;
        self.typed(f, &op.outputs)?;
        if !op.outputs.is_empty() {
            self.out.write_str(" = ")?;
        }
        write!(self.out, "{}(", op.def.name)?;
        for (i, argument) in op.file_inputs(f.opset).iter().enumerate() {
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            self.argument(f, op, argument)?;
        }
        self.out.write_char(')')?;
        self.attributes((!op.name.is_empty()).then_some(&op.name), &op.file_attributes(f.opset))?;
        for (i, block) in op.blocks.iter().enumerate() {
            self.out.write_str(if i == 0 { " " } else { ", " })?;
            let inputs = &f.block(*block).inputs;
            if !inputs.is_empty() {
                self.inputs(f, inputs)?;
                self.out.write_char(' ')?;
            }
            self.body(f, *block, indent)?;
        }
        self.out.write_str(";\n")
    }

    fn argument(&mut self, f: &Function, op: &Op, argument: &Argument) -> fmt::Result {
        let param = &op.def.params[argument.param];
        write!(self.out, "{} = ", param.name)?;
        if let ([one], false) = (&argument.bindings[..], param.kind.is_variadic()) {
            return self.binding(f, one);
        }
        self.out.write_char('(')?;
        for (i, binding) in argument.bindings.iter().enumerate() {
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            self.binding(f, binding)?;
        }
        self.out.write_char(')')
    }

    fn binding(&mut self, f: &Function, binding: &Binding) -> fmt::Result {
        match binding {
            Binding::Value(id) => self.out.write_str(&f.value(*id).name),
            Binding::Inline(value) => write_value(self.out, value, self.options),
        }
    }

    /// Attributes in brackets, `name` first; nothing if there are none.
    fn attributes(&mut self, name: Option<&String>, attributes: &BTreeMap<String, Attribute>) -> fmt::Result {
        if name.is_none() && attributes.is_empty() {
            return Ok(());
        }
        self.out.write_char('[')?;
        if let Some(name) = name {
            self.out.write_str("name = ")?;
            write_value(self.out, &Attribute::Tensor(Constant::string(name)), self.options)?;
        }
        for (i, (key, value)) in attributes.iter().enumerate() {
            write!(self.out, "{}{key} = ", if i == 0 && name.is_none() { "" } else { ", " })?;
            write_value(self.out, value, self.options)?;
        }
        self.out.write_char(']')
    }
}
