//! Definitions as data.

use std::fmt;

use crate::types::{DType, Opset, TensorType};

use super::{
    args::{AnyArg, Args},
    error::OpError,
    infer::{Cx, Inferred},
    param::ParamKind,
};
use crate::ir::{Constant, Known, Literal};

/// The dtypes that a parameter takes from an opset on.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// From this opset on, until the next entry.
    pub since: Opset,
    /// A dtype variable: parameters of one op with the same variable have the same dtype.
    pub var: Option<&'static str>,
    /// The dtypes. Empty: any.
    pub dtypes: &'static [DType],
}

/// A parameter of an op.
#[derive(Debug)]
pub struct ParamDef {
    /// MIL name.
    pub name: &'static str,
    /// What it is, from the field's doc comment.
    pub doc: &'static str,
    /// What the field holds.
    pub kind: ParamKind,
    /// Whether it must be given, in every opset. Required parameters can be given by position, in order.
    pub required: bool,
    /// Whether it is filled in when it is not given (an optional parameter without a default stays absent).
    pub has_default: bool,
    /// The opset that brought it.
    pub since: Opset,
    /// The opset that took it away again.
    pub until: Option<Opset>,
    /// Whether it must be given in the opsets that have it, though others do not.
    pub needed: bool,
    /// Whether files hold its value in the op itself, and not in a `const`.
    pub in_place: bool,
    /// Whether its value must be known when the program is built: from `.0` on, `.1` holds.
    pub constant: &'static [(Opset, bool)],
    /// The dtypes it takes, oldest first.
    pub dtypes: &'static [Allowed],
}

impl ParamDef {
    /// The dtypes in an opset; `None` if there is no rule.
    pub fn allowed(&self, opset: Opset) -> Option<&'static Allowed> {
        self.dtypes.iter().rev().find(|a| a.since <= opset)
    }

    /// Whether an opset has it.
    pub fn exists(&self, opset: Opset) -> bool {
        self.since <= opset && self.until.is_none_or(|until| opset < until)
    }

    /// Whether it must be given in an opset.
    pub fn is_required(&self, opset: Opset) -> bool {
        self.required || (self.needed && self.exists(opset))
    }

    /// Whether its value must be known when the program is built, in an opset.
    pub fn is_constant(&self, opset: Opset) -> bool {
        self.constant.iter().rev().find(|(since, _)| *since <= opset).is_some_and(|(_, c)| *c)
    }
}

/// How many values an op defines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outputs {
    /// This many.
    Fixed(usize),
    /// As many as inference says.
    Variadic,
}

/// How an op's parameters stand in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As inputs that name values; a constant is an op `const`.
    Inputs,
    /// As inputs: a constant is written in place, and what another op gives is named.
    InPlace,
    /// As attributes, so that all are constants.
    Attributes,
}

/// Parameters with their defaults.
pub type Defaults = Vec<(&'static str, Literal)>;

/// Unpacks what a `constexpr_` op holds.
pub type MaterializeFn = fn(&Args) -> Result<Vec<Constant>, OpError>;

/// The definition of an op, for everyone who works by name: reader, macro, printer, docs.
pub struct OpDef {
    /// MIL name.
    pub name: &'static str,
    /// The documentation, from the struct's doc comment.
    pub doc: &'static str,
    /// The opset that brought it.
    pub since: Opset,
    /// Parameters, in order.
    pub params: &'static [ParamDef],
    /// How many values it defines.
    pub outputs: Outputs,
    /// How many nested blocks it has.
    pub blocks: usize,
    /// Of `constexpr_` ops: from `.0` on, parameters stand as `.1` says. Empty: they are inputs.
    pub forms: &'static [(Opset, Form)],
    /// Of `constexpr_` ops: binds and computes; called through [`OpDef::materialize`].
    pub materialize_fn: Option<MaterializeFn>,
    /// Binds and infers; called through [`OpDef::infer`].
    pub infer_fn: fn(&Args, &mut Cx<'_>) -> Result<Vec<Inferred>, OpError>,
    /// Binds and tells the filled-in defaults; called through [`OpDef::defaults`].
    pub defaults_fn: fn(&Args) -> Result<Defaults, OpError>,
}

/// No output of a `constexpr_` op may be larger: a file of a few bytes must not exhaust memory.
const MAX_BYTES: usize = 1 << 33;

impl OpDef {
    /// The index of a parameter.
    pub fn param(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|p| p.name == name)
    }

    /// Whether this is `const`, whose value is an attribute and not a parameter.
    pub fn is_const(&self) -> bool {
        self.name == "const"
    }

    /// How parameters stand in a file of an opset.
    pub fn form(&self, opset: Opset) -> Form {
        self.forms.iter().rev().find(|(since, _)| *since <= opset).map_or(Form::Inputs, |(_, form)| *form)
    }

    /// Whether this is a `constexpr_` op: a packed constant and how to unpack it. It reads constants only, and Core ML
    /// unpacks it when the model is loaded, or while it runs.
    pub fn is_constexpr(&self) -> bool {
        self.materialize_fn.is_some()
    }

    /// The unpacked outputs of a `constexpr_` op whose arguments are all known constants.
    ///
    /// # Errors
    /// If this is another op, it cannot be with these arguments, one is not known, or an output is too large.
    pub fn materialize(&self, args: &Args, opset: Opset) -> Result<Vec<Constant>, OpError> {
        let Some(materialize) = self.materialize_fn else {
            return Err(
                OpError::new("computes when the program runs; only `constexpr_` ops are unpacked").of(self.name)
            );
        };
        self.unpacked_types(args, opset)?;
        materialize(args).map_err(|e| e.of(self.name))
    }

    /// The types of what [`OpDef::materialize`] gives, without unpacking anything: it cannot fail after that.
    ///
    /// # Errors
    /// As [`OpDef::materialize`].
    pub fn unpacked_types(&self, args: &Args, opset: Opset) -> Result<Vec<TensorType>, OpError> {
        let mut types = vec![];
        for output in self.infer(args, &mut Cx::new(opset, "", &[]).reading())? {
            let Some(ty) = output.ty.tensor() else { continue };
            let count = ty.shape.fixed().and_then(|s| s.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
            if count.and_then(|n| ty.dtype.packed_len(n)).is_none_or(|bytes| bytes > MAX_BYTES) {
                let message = format!("unpacks to {ty}, which is more than {} GiB", MAX_BYTES >> 30);
                return Err(OpError::new(message).of(self.name));
            }
            types.push(ty.clone());
        }
        for (at, param) in self.params.iter().enumerate() {
            let known = |a: &AnyArg| matches!(&a.known, Some(Known::Constant(c)) if c.weight_name().is_none());
            if !args.get(at).unwrap_or_default().iter().all(known) {
                let message = format!("`{}` must be a known constant to be unpacked", param.name);
                return Err(OpError::at(param.name, message).of(self.name));
            }
        }
        Ok(types)
    }

    /// The types and known values of the outputs: the one inference, for macro, builder and reader alike.
    ///
    /// # Errors
    /// If the op cannot be, in this opset, with these arguments.
    pub fn infer(&self, args: &Args, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        args.check(cx).and_then(|()| (self.infer_fn)(args, cx)).map_err(|e| e.of(self.name))
    }

    /// The defaults of the parameters that have one.
    ///
    /// # Errors
    /// If the op cannot be bound.
    pub fn defaults(&self, args: &Args) -> Result<Defaults, OpError> {
        (self.defaults_fn)(args).map_err(|e| e.of(self.name))
    }
}

/// Definitions are the same if their names are.
impl PartialEq for OpDef {
    fn eq(&self, other: &OpDef) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
