//! From what the user gave to arguments: literals get dtypes, defaults are written out, constants become ops.

use crate::{
    ir::{Argument, Attribute, Binding, Constant, Known, Literal},
    op::{AnyArg, Args, OpDef, OpError, Operand, ParamDef, ParamKind},
    types::DType,
};

use super::Graph;

impl Graph {
    pub(super) fn resolve(&self, def: &'static OpDef, operands: Vec<(&'static str, Operand)>) -> Result<Args, OpError> {
        let mut args = Args::new(def);
        let mut pending: Vec<(usize, Vec<Operand>)> = vec![];
        for (name, operand) in operands {
            let Some(index) = def.param(name) else {
                return Err(OpError::at(name, format!("`{}` has no parameter `{name}`", def.name)));
            };
            let param = &def.params[index];
            let items = match operand {
                Operand::List(items) if param.kind.is_variadic() => items,
                Operand::Literal(Literal::List(items)) if param.kind.is_variadic() => {
                    items.into_iter().map(Operand::Literal).collect()
                }
                one => vec![one],
            };
            // Values decide the dtype of literals, so they go first; a list that mixes both waits.
            match items.iter().map(|i| self.typed(param, i)).collect::<Result<Option<Vec<_>>, _>>()? {
                Some(typed) => args.set(index, typed),
                None => {
                    let typed: Vec<_> = items.iter().filter_map(|i| self.typed(param, i).ok().flatten()).collect();
                    if !typed.is_empty() {
                        args.set(index, typed);
                    }
                    pending.push((index, items));
                }
            }
        }
        // A float among the literals makes the others float.
        pending.sort_by_key(|(_, items)| !items.iter().any(is_float));
        for (index, items) in pending {
            let param = &def.params[index];
            let mut all = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                let arg = match (self.typed(param, item)?, item) {
                    (Some(arg), _) => arg,
                    (None, Operand::Literal(l)) => {
                        let e = |e: OpError| if param.kind.is_variadic() { e.index(i) } else { e };
                        AnyArg::constant(self.literal(param, l, &args).map_err(e)?)
                    }
                    (None, _) => {
                        let message = format!("`{}` takes {}, not a list", param.name, param.kind.describe());
                        return Err(OpError::at(param.name, message));
                    }
                };
                all.push(arg);
            }
            args.set(index, all);
        }
        Ok(args)
    }

    /// The argument, if its dtype does not depend on others.
    fn typed(&self, param: &ParamDef, operand: &Operand) -> Result<Option<AnyArg>, OpError> {
        match operand {
            Operand::Value(v) => {
                self.check_scope(v).map_err(|m| OpError::at(param.name, m))?;
                Ok(Some(v.arg()))
            }
            Operand::Constant(c) => Ok(Some(AnyArg::constant(c.clone()))),
            Operand::Literal(_) | Operand::List(_) => Ok(None),
        }
    }

    /// A literal as a constant of the dtype that the parameter wants.
    fn literal(&self, param: &ParamDef, literal: &Literal, args: &Args) -> Result<Constant, OpError> {
        let allowed = param.allowed(self.opset());
        let by_var = allowed.and_then(|a| a.var).and_then(|var| args.var_dtype(var, self.opset()));
        let natural = literal.natural_dtype();
        let fits = |d: DType| literal.fits(d) && allowed.is_none_or(|a| a.dtypes.is_empty() || a.dtypes.contains(&d));
        let by_param = || {
            let list = allowed.map_or(&[][..], |a| a.dtypes);
            // Numbers with a point follow the op's first float tensor: `leaky_relu(x, 0.2)` of an f16 `x` is all f16.
            let float = args.first_dtype().filter(|d| d.is_float() && natural == DType::F32);
            let wanted = float.into_iter().chain([natural, DType::I32, DType::F32]);
            wanted.chain(list.iter().copied()).find(|d| fits(*d))
        };
        let dtype = by_var.or_else(by_param).unwrap_or(natural);
        // `strides = 2` where a list is wanted means a list of one.
        let wrapped = match (param.kind, literal) {
            (ParamKind::Ints | ParamKind::Bools, Literal::List(_)) => None,
            (ParamKind::Ints | ParamKind::Bools, one) => Some(Literal::List(vec![one.clone()])),
            _ => None,
        };
        let literal = wrapped.as_ref().unwrap_or(literal);
        literal.constant(dtype).map_err(|message| {
            let e = OpError::at(param.name, message);
            match by_var {
                Some(d) if !literal.fits(d) => {
                    e.note(format!("the other operand is of {d}; write the number so, or convert with `mb::cast`"))
                }
                _ => e,
            }
        })
    }

    /// Writes out the defaults of absent parameters, as coremltools does: a file says all that an op does.
    pub(super) fn fill_defaults(&self, def: &'static OpDef, args: &mut Args) -> Result<(), OpError> {
        for (name, literal) in def.defaults(args)? {
            let Some(index) = def.param(name) else { continue };
            let param = &def.params[index];
            if args.get(index).is_none() && param.exists(self.opset()) {
                let constant = self.literal(param, &literal, args)?;
                args.set(index, vec![AnyArg::constant(constant)]);
            }
        }
        Ok(())
    }

    /// A `constexpr_` op reads constants, or (from opset iOS18 on) what another one gives.
    pub(super) fn check_constexpr(&self, def: &'static OpDef, args: &Args) -> Result<(), OpError> {
        if !def.is_constexpr() {
            return Ok(());
        }
        let form = def.form(self.opset());
        for (param, p) in def.params.iter().enumerate() {
            for arg in args.get(param).unwrap_or_default() {
                let constant = matches!(arg.known, Some(Known::Constant(_)));
                if !constant && !arg.id.is_some_and(|id| self.function.is_named_by_constexpr(form, id)) {
                    let message = format!("`{}` must be a constant that is written in place", p.name);
                    let note = "from opset iOS18 on it may also be what another `constexpr_` op gives";
                    return Err(OpError::at(p.name, message).note(note).of(def.name));
                }
            }
        }
        Ok(())
    }

    /// Makes `const` ops of the constants among the arguments. Those of a `constexpr_` op stay in place.
    pub(super) fn materialize(&mut self, def: &'static OpDef, args: Args, op: &str) -> Vec<Argument> {
        let mut bound = vec![];
        for (param, p) in def.params.iter().enumerate() {
            let Some(given) = args.get(param) else { continue };
            let mut bindings = Vec::with_capacity(given.len());
            for arg in given {
                if let (true, Some(Known::Constant(c))) = (p.in_place || def.is_constexpr(), &arg.known) {
                    if def.is_constexpr() {
                        self.in_place.extend(arg.id);
                    }
                    bindings.push(Binding::Inline(Attribute::Tensor(c.clone())));
                    continue;
                }
                let id = match (arg.id, &arg.known) {
                    (Some(id), _) => id,
                    (None, Some(Known::Constant(c))) if p.kind == ParamKind::List => {
                        bindings.extend(Attribute::list_of(c).map(Binding::Inline));
                        continue;
                    }
                    (None, Some(Known::Constant(c))) => {
                        let name = match c.weight_name() {
                            Some(weight) => weight.to_string(),
                            None => format!("{op}_{}_0", p.name),
                        };
                        self.constant(&name, c.clone()).id
                    }
                    (None, _) => continue, // no operand is neither a value nor a constant
                };
                bindings.push(Binding::Value(id));
            }
            bound.push(Argument { param, bindings });
        }
        bound
    }
}

fn is_float(operand: &Operand) -> bool {
    matches!(operand, Operand::Literal(l) if l.natural_dtype() == DType::F32)
}
