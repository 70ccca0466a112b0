//! Arguments: what the parameters of an op are bound to.

use crate::{
    ir::{Attribute, Constant, Element, Known, ValueId},
    types::{DType, Dim, Opset, Shape, TensorType, Type},
};

use super::{
    def::{OpDef, ParamDef},
    error::OpError,
    infer::Cx,
    param::ParamKind,
};

/// An argument of any type.
#[derive(Clone, PartialEq, Debug)]
pub struct AnyArg {
    /// The value, unless the constant is written in place.
    pub id: Option<ValueId>,
    /// Its type.
    pub ty: Type,
    /// What is known of it.
    pub known: Option<Known>,
    /// Whether it depends on constants alone.
    pub is_const: bool,
}

impl AnyArg {
    /// A constant written in place. Tensors and lists of scalars are known; others have a type only.
    pub fn inline(attribute: &Attribute) -> AnyArg {
        AnyArg { id: None, ty: attribute.ty(), known: attribute.known().map(Known::Constant), is_const: true }
    }

    /// A constant that is no op yet.
    pub fn constant(constant: Constant) -> AnyArg {
        AnyArg { id: None, ty: constant.ty().into(), known: Some(Known::Constant(constant)), is_const: true }
    }
}

/// A tensor argument.
#[derive(Clone, PartialEq, Debug)]
pub struct Arg {
    /// The value, unless the constant is written in place.
    pub id: Option<ValueId>,
    /// Its type.
    pub ty: TensorType,
    /// What is known of it.
    pub known: Option<Known>,
    /// Whether it depends on constants alone.
    pub is_const: bool,
}

impl Arg {
    /// A scalar that a parameter has by default.
    pub fn scalar<T: Element>(value: T) -> Arg {
        let constant = Constant::scalar(value);
        Arg { id: None, ty: constant.ty(), known: Some(Known::Constant(constant)), is_const: true }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.ty.dtype
    }

    /// Dimensions.
    pub fn shape(&self) -> &Shape {
        &self.ty.shape
    }

    /// How many dimensions there are.
    pub fn rank(&self) -> usize {
        self.ty.rank()
    }

    /// A dimension.
    pub fn dim(&self, axis: usize) -> &Dim {
        &self.ty.shape[axis]
    }

    /// The integers it is known to hold, flat; they may hold symbols.
    pub fn known_dims(&self) -> Option<Vec<Dim>> {
        self.known.as_ref()?.dims()
    }

    /// The integers it is known to hold, flat, if all are numbers.
    pub fn known_ints(&self) -> Option<Vec<i64>> {
        self.known_dims()?.iter().map(Dim::value).collect()
    }

    /// The constant it is known to be.
    pub fn constant(&self) -> Option<&Constant> {
        self.known.as_ref()?.constant()
    }
}

/// The arguments of one op, by parameter.
#[derive(Clone, Debug)]
pub struct Args {
    /// The op.
    pub def: &'static OpDef,
    bound: Vec<Option<Vec<AnyArg>>>,
}

impl Args {
    /// No argument yet.
    pub fn new(def: &'static OpDef) -> Args {
        Args { def, bound: vec![None; def.params.len()] }
    }

    /// Binds a parameter by index.
    pub fn set(&mut self, param: usize, args: Vec<AnyArg>) {
        self.bound[param] = Some(args);
    }

    /// What a parameter is bound to, by index.
    pub fn get(&self, param: usize) -> Option<&[AnyArg]> {
        self.bound.get(param)?.as_deref()
    }

    /// Whether a parameter is bound, by name.
    pub fn has(&self, name: &str) -> bool {
        self.def.param(name).is_some_and(|p| self.bound[p].is_some())
    }

    /// Whether all arguments depend on constants alone.
    pub fn all_const(&self) -> bool {
        self.bound.iter().flatten().flatten().all(|a| a.is_const)
    }

    /// The dtype that a dtype variable has by the arguments given so far.
    pub fn var_dtype(&self, var: &str, opset: Opset) -> Option<DType> {
        self.given().find_map(|(p, _, arg)| {
            let same = p.allowed(opset).is_some_and(|a| a.var == Some(var));
            arg.ty.tensor().filter(|_| same).map(|t| t.dtype)
        })
    }

    /// The dtype of the first tensor among the arguments given so far.
    pub fn first_dtype(&self) -> Option<DType> {
        self.given().find_map(|(_, _, arg)| arg.ty.tensor().map(|t| t.dtype))
    }

    fn given(&self) -> impl Iterator<Item = (&'static ParamDef, usize, &AnyArg)> {
        let bound = self.def.params.iter().zip(&self.bound);
        bound.flat_map(|(p, args)| args.iter().flatten().enumerate().map(move |(i, a)| (p, i, a)))
    }

    /// Checks what can be checked without knowing the op: opset, missing parameters, dtypes, constness.
    ///
    /// # Errors
    /// The first that does not hold.
    pub(crate) fn check(&self, cx: &Cx<'_>) -> Result<(), OpError> {
        let opset = cx.opset;
        let name = self.def.name;
        if self.def.since > opset {
            return Err(OpError::new(format!("needs opset {}, but the program's is {opset}", self.def.since))
                .note(format!("set `opset = {}`", self.def.since)));
        }
        for (param, bound) in self.def.params.iter().zip(&self.bound) {
            if param.is_required(opset) && bound.is_none() {
                return Err(OpError::at(param.name, format!("`{name}` needs `{}`", param.name)));
            }
            if bound.is_some() && param.since > opset {
                let message = format!("`{}` needs opset {}, but the program's is {opset}", param.name, param.since);
                return Err(OpError::at(param.name, message).note(format!("set `opset = {}`", param.since)));
            }
            if let Some(until) = param.until.filter(|until| bound.is_some() && *until <= opset) {
                let message = format!("`{}` is gone from opset {until} on, and the program's is {opset}", param.name);
                return Err(OpError::at(param.name, message).note("leave it out"));
            }
        }
        let ended = |p: &ParamDef| p.until.filter(|until| *until <= opset);
        if let Some((param, until)) = self.given().find_map(|(p, ..)| Some((p, ended(p)?))) {
            let message = format!("`{name}` has no `{}` from opset {until} on", param.name);
            return Err(OpError::at(param.name, message).note("leave it out; see the op for what says it instead"));
        }
        let mut vars: Vec<(&str, &str, &Type, DType)> = vec![];
        for (param, index, arg) in self.given() {
            let fail = |message: String| {
                let error = OpError::at(param.name, message);
                if param.kind.is_variadic() { error.index(index) } else { error }
            };
            if param.is_constant(opset) && !arg.is_const {
                return Err(fail(format!("`{}` must be a constant, found a value that is computed", param.name)));
            }
            let (Some(allowed), Some(t)) = (param.allowed(opset), arg.ty.tensor()) else { continue };
            if !allowed.dtypes.is_empty() && !allowed.dtypes.contains(&t.dtype) {
                let list: Vec<_> = allowed.dtypes.iter().map(|d| d.rust_name()).collect();
                let newer = self.opset_taking(param, t.dtype).map(|o| format!("opset {o} takes it"));
                let cast = "convert it with `mb::cast`".to_string();
                let message = format!("`{}` must be of {}, found {}", param.name, list.join(" or "), arg.ty);
                return Err(fail(message).note(newer.unwrap_or(cast)));
            }
            let Some(var) = allowed.var else { continue };
            // In a file, a number like `epsilon` may be of another float dtype than the tensors it belongs to:
            // coremltools' conversion to fp16 leaves those in fp32 that fp16 cannot hold.
            if cx.reading && param.kind == ParamKind::Float && t.dtype.is_float() {
                continue;
            }
            match vars.iter().find(|(v, ..)| *v == var) {
                None => vars.push((var, param.name, &arg.ty, t.dtype)),
                Some((.., dtype)) if *dtype == t.dtype => {}
                Some((_, first, ty, dtype)) => {
                    let same = if *first == param.name { "the one before".into() } else { format!("`{first}`") };
                    let message = format!(
                        "`{}` is of {} but {same} is of {dtype}; they must have the same dtype",
                        param.name, t.dtype
                    );
                    let note = format!("{first}: {ty}\n{}: {}\nconvert one with `mb::cast`", param.name, arg.ty);
                    return Err(fail(message).note(note));
                }
            }
        }
        Ok(())
    }

    fn opset_taking(&self, param: &ParamDef, dtype: DType) -> Option<Opset> {
        param.dtypes.iter().find(|a| a.dtypes.contains(&dtype)).map(|a| a.since)
    }
}
