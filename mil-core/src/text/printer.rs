//! Programs, functions, blocks and ops.
//!
//! Indentation is what Core ML's compiler does: a function's ops by twelve, its closing brace by eight.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use super::{
    Options, Style, Weights, flexible,
    lexer::is_identifier,
    types::write_type,
    values::{write_string, write_value},
};
use crate::{
    ir::{Argument, Attribute, Binding, BlockId, Constant, Function, Op, OpId, Program, ValueId},
    spec::encode::NAME,
    types::Opset,
};

const STEP: usize = 4;

pub(super) struct Printer<'a> {
    out: &'a mut dyn Write,
    style: Style,
}

impl<'a> Printer<'a> {
    /// A printer for a model of the specification version that brought an opset.
    pub(super) fn new(out: &'a mut dyn Write, options: &Options, opset: Opset) -> Printer<'a> {
        let &Options { weights, symbols } = options;
        Printer { out, style: Style { weights, symbols, short: opset >= Opset::iOS18 } }
    }

    pub(super) fn program(&mut self, program: &Program) -> fmt::Result {
        writeln!(self.out, "program({}.{})", program.version, if self.style.short { 3 } else { 0 })?;
        if !program.attributes.is_empty() {
            self.attributes(&program.attributes)?;
            self.out.write_char('\n')?;
        }
        self.out.write_str("{\n")?;
        for function in program.functions.values() {
            self.function(function)?;
        }
        self.out.write_str("}\n")
    }

    pub(super) fn function(&mut self, f: &Function) -> fmt::Result {
        write!(self.out, "{:STEP$}func ", "")?;
        self.name(&f.name)?;
        write!(self.out, "<{}>", f.opset.name().to_ascii_lowercase())?;
        self.inputs(f, &f.inputs)?;
        let sizes = match self.style.weights {
            Weights::Full if !f.attributes.contains_key(flexible::ATTRIBUTE) => flexible::attribute(f),
            _ => None,
        };
        let sizes = sizes.map(|a| (flexible::ATTRIBUTE.to_string(), a)).into_iter().collect::<BTreeMap<_, _>>();
        if !sizes.is_empty() || !f.attributes.is_empty() {
            self.out.write_char(' ')?;
            self.attributes(sizes.iter().chain(&f.attributes))?;
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
            write_type(self.out, &value.ty, self.style)?;
            self.out.write_char(' ')?;
            self.name(&value.name)?;
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
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            self.name(&f.value(*id).name)?;
        }
        self.out.write_char(')')?;
        self.attributes(&block.attributes)
    }

    fn op(&mut self, f: &Function, id: OpId, indent: usize) -> fmt::Result {
        let op: &Op = f.op(id);
        write!(self.out, "{:indent$}", "")?;
        self.typed(f, &op.outputs)?;
        if !op.outputs.is_empty() {
            self.out.write_str(" = ")?;
        }
        write!(self.out, "{}(", op.def.name)?;
        let mut args: Vec<&Argument> = op.file_inputs(f.opset).iter().collect();
        args.sort_by_key(|a| op.def.params[a.param].name);
        for (i, argument) in args.into_iter().enumerate() {
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            self.argument(f, op, argument)?;
        }
        self.out.write_char(')')?;
        let name = (NAME.to_string(), Attribute::Tensor(Constant::string(&op.name)));
        let name = (!op.name.is_empty()).then_some((&name.0, &name.1));
        let held = op.file_attributes(f.opset);
        let mut attributes: Vec<_> = name.into_iter().chain(held.iter()).collect();
        attributes.sort_by_key(|(key, _)| *key);
        self.attributes(attributes)?;
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
            Binding::Value(id) => self.name(&f.value(*id).name),
            Binding::Inline(value) => write_value(self.out, value, self.style),
        }
    }

    /// Attributes in brackets; nothing if there are none.
    fn attributes<'b>(&mut self, attributes: impl IntoIterator<Item = (&'b String, &'b Attribute)>) -> fmt::Result {
        let mut any = false;
        for (key, value) in attributes {
            self.out.write_str(if any { ", " } else { "[" })?;
            any = true;
            self.name(key)?;
            self.out.write_str(" = ")?;
            write_value(self.out, value, self.style)?;
        }
        if any { self.out.write_char(']') } else { Ok(()) }
    }

    /// A name as it is, or in quotes if the format does not allow it.
    fn name(&mut self, name: &str) -> fmt::Result {
        if is_identifier(name) { self.out.write_str(name) } else { write_string(self.out, name) }
    }
}
