//! Values of expressions.

use std::rc::Rc;

use super::{
    inline::{Frame, Inliner, MAX_DEPTH, NONE, Place, Step, Val},
    syntax::Expr,
};
use crate::{
    import::Refusal,
    torch::{graph::Arg, pickle::Value},
};

impl<'a> Inliner<'a> {
    /// The value of an expression. `hint` is what it will be called.
    pub(super) fn eval(&mut self, frame: &Frame<'a>, expr: &'a Expr, hint: &str, depth: usize) -> Step<Val<'a>> {
        self.spend(1)?;
        if depth > MAX_DEPTH {
            return Err(frame.wrong("calls that are nested too deeply"));
        }
        Ok(match expr {
            Expr::Int(v) => Val::One(Arg::Int(*v)),
            Expr::Float(v) => Val::One(Arg::Float(*v)),
            Expr::Text(text) => {
                self.charge(text.len())?;
                Val::One(Arg::Str(text.clone()))
            }
            Expr::Name(name) => self.variable(frame, name)?,
            Expr::Negative(inner) => match self.eval(frame, inner, hint, depth + 1)? {
                Val::One(Arg::Int(v)) => Val::One(Arg::Int(v.wrapping_neg())),
                Val::One(Arg::Float(v)) => Val::One(Arg::Float(-v)),
                other => {
                    let arg = self.arg(&other)?;
                    self.one(frame, "aten::neg", vec![arg], vec![], hint)?
                }
            },
            Expr::List(all) | Expr::Tuple(all) => {
                Val::List(all.iter().map(|e| self.eval(frame, e, "", depth + 1)).collect::<Step<_>>()?)
            }
            Expr::Dict(all) => {
                let pair = |this: &mut Self, k, v| {
                    Ok((this.eval(frame, k, "", depth + 1)?, this.eval(frame, v, "", depth + 1)?))
                };
                Val::Dict(all.iter().map(|(k, v)| pair(self, k, v)).collect::<Step<_>>()?)
            }
            Expr::Attribute(base, name) => {
                if matches!(&**base, Expr::Name(n) if n == "CONSTANTS") {
                    return self.constant(frame, name);
                }
                let base = self.eval(frame, base, "", depth + 1)?;
                self.attribute(frame, &base, name)?
            }
            Expr::Index(base, index) => {
                let base = self.eval(frame, base, "", depth + 1)?;
                let index = self.eval(frame, index, "", depth + 1)?;
                self.index(frame, &base, &index, hint)?
            }
            Expr::Slice(base, first, last) => {
                let base = self.eval(frame, base, "", depth + 1)?;
                let mut end = |e: &'a Option<Box<Expr>>| match e {
                    None => Ok(None),
                    Some(e) => match self.eval(frame, e, "", depth + 1)? {
                        Val::One(Arg::Int(v)) => Ok(Some(v)),
                        _ => Err(frame.wrong("a slice whose ends are not known")),
                    },
                };
                let (first, last) = (end(first)?, end(last)?);
                let Val::List(all) = base else { return Err(frame.wrong("a slice of what is no tuple")) };
                let count = all.len() as i64;
                let place = |v: i64| if v < 0 { v.saturating_add(count) } else { v }.clamp(0, count) as usize;
                let (first, last) = (first.map_or(0, place), last.map_or(all.len(), place));
                Val::List(all[first..last.max(first)].to_vec().into())
            }
            Expr::Call(callee, args) => self.call(frame, callee, args, hint, depth)?,
        })
    }

    fn variable(&mut self, frame: &Frame<'a>, name: &str) -> Step<Val<'a>> {
        if let Some(value) = frame.vars.get(name) {
            if let Val::One(Arg::Value(text) | Arg::Str(text)) = value {
                self.charge(text.len())?;
            }
            return Ok(value.clone());
        }
        Ok(Val::One(match name {
            "None" => Arg::None,
            "True" => Arg::Bool(true),
            "False" => Arg::Bool(false),
            "inf" => Arg::Float(f64::INFINITY),
            "nan" => Arg::Float(f64::NAN),
            _ => return Err(frame.wrong(format!("`{name}` is not defined"))),
        }))
    }

    fn attribute(&mut self, frame: &Frame<'a>, base: &Val<'a>, name: &str) -> Step<Val<'a>> {
        let Val::Object(object, path) = base else {
            return Err(frame.wrong(format!("the attribute `{name}` of what is no module")));
        };
        // Modules of a module that are long in numbers would be searched again and again.
        let mut searched = 0;
        let pickle = self.module.pickle;
        let found = pickle.attributes(object).rev().inspect(|_| searched += 1).find(|(n, _)| *n == name);
        self.spend(searched / 64)?;
        let Some((_, value)) = found else { return Err(frame.wrong(format!("no attribute `{name}` of `{path}`"))) };
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        self.charge(path.len())?;
        self.stored(self.module, value, &path, 0)
    }

    /// `c12`: an element of the tuple of constants.
    fn constant(&mut self, frame: &Frame<'a>, name: &str) -> Step<Val<'a>> {
        let number = name.strip_prefix('c').and_then(|n| n.parse::<usize>().ok());
        let all = match self.constants.pickle.root() {
            Value::Tuple(all) | Value::List(all) => &all[..],
            _ => &[],
        };
        let Some(id) = number.and_then(|n| all.get(n)) else {
            return Err(frame.wrong(format!("no constant `{}`", name.escape_debug())));
        };
        self.stored(self.constants, self.constants.pickle.get(*id), &format!("constants.{}", &name[1..]), 0)
    }

    /// A value of a pickle. Tensors become constants of the graph where they are first met.
    fn stored(&mut self, place: Place<'a>, value: &'a Value, path: &str, depth: usize) -> Step<Val<'a>> {
        self.spend(1)?;
        if depth > MAX_DEPTH / 8 {
            return Err(Refusal::new(format!("its `{path}` is nested too deeply")));
        }
        Ok(match value {
            Value::None => NONE,
            Value::Bool(v) => Val::One(Arg::Bool(*v)),
            Value::Int(v) => Val::One(Arg::Int(*v)),
            Value::Float(v) => Val::One(Arg::Float(*v)),
            Value::Str(v) => {
                self.charge(v.len())?;
                Val::One(Arg::Str(v.clone()))
            }
            Value::Object(..) => Val::Object(value, path.into()),
            Value::Tuple(all) | Value::List(all) => {
                let items = all
                    .iter()
                    .enumerate()
                    .map(|(i, id)| self.stored(place, place.pickle.get(*id), &format!("{path}.{i}"), depth + 1));
                Val::List(items.collect::<Step<_>>()?)
            }
            Value::Dict(_) => {
                let pairs = place.pickle.entries(value).map(|(key, v)| {
                    let v = self.stored(place, v, &format!("{path}.{key}"), depth + 1)?;
                    Ok((Val::One(Arg::Str(key.to_string())), v))
                });
                Val::Dict(pairs.collect::<Step<_>>()?)
            }
            Value::Tensor(t) => {
                let key = std::ptr::from_ref(value);
                if let Some(name) = self.tensors.get(&key) {
                    return Ok(Val::One(Arg::Value(name.clone())));
                }
                let tensor = place.storages.tensor(t).map_err(|e| Refusal {
                    message: format!("its tensor `{}` {}", path.escape_debug(), e.message),
                    ..e
                })?;
                let name = self.unused(path.to_string())?;
                self.tensors.insert(key, name.clone());
                self.graph.constants.push((name.clone(), tensor));
                Val::One(Arg::Value(name))
            }
            _ => return Err(Refusal::new(format!("its `{}` is no tensor, number or text", path.escape_debug()))),
        })
    }

    fn index(&mut self, frame: &Frame<'a>, base: &Val<'a>, index: &Val<'a>, hint: &str) -> Step<Val<'a>> {
        match (base, index) {
            (Val::List(all), Val::One(Arg::Int(i))) => {
                let at = if *i < 0 { i.saturating_add(all.len() as i64) } else { *i };
                let found = usize::try_from(at).ok().and_then(|at| all.get(at)).cloned();
                found.ok_or_else(|| frame.wrong(format!("the element {i} of {}", all.len())))
            }
            (Val::Dict(pairs), Val::One(key)) => {
                self.spend(pairs.len())?;
                let found = pairs.iter().rev().find(|(k, _)| matches!(k, Val::One(k) if k == key));
                found.map(|(_, v)| v.clone()).ok_or_else(|| frame.wrong("a key that the dict does not have"))
            }
            (Val::One(Arg::Value(_)), _) => {
                let args = vec![self.arg(base)?, self.arg(index)?];
                self.one(frame, "aten::__getitem__", args, vec![], hint)
            }
            _ => Err(frame.wrong("an element of what has none")),
        }
    }

    #[allow(clippy::type_complexity)]
    pub(super) fn arguments(
        &mut self,
        frame: &Frame<'a>,
        args: &'a [(Option<String>, Expr)],
        depth: usize,
    ) -> Step<(Vec<Arg>, Vec<(String, Arg)>)> {
        let (mut placed, mut named) = (vec![], vec![]);
        for (name, expr) in args {
            let value = self.eval(frame, expr, "", depth + 1)?;
            let arg = self.arg(&value)?;
            match name {
                Some(name) => named.push((name.clone(), arg)),
                None => placed.push(arg),
            }
        }
        Ok((placed, named))
    }

    fn call(
        &mut self,
        frame: &Frame<'a>,
        callee: &'a Expr,
        args: &'a [(Option<String>, Expr)],
        hint: &str,
        depth: usize,
    ) -> Step<Val<'a>> {
        if let Some(op) = op(callee, frame) {
            let (placed, named) = self.arguments(frame, args, depth)?;
            if op == "aten::device" {
                return Ok(Val::One(placed.into_iter().next().unwrap_or(Arg::None)));
            }
            return self.one(frame, &op, placed, named, hint);
        }
        if let Some(name) = dotted(callee).filter(|name| name.starts_with("__torch__.")) {
            let Some(function) = self.definitions.functions.get(&name) else {
                return Err(frame.wrong(format!("calls `{name}`, which the file does not have")));
            };
            let (placed, named) = self.values(frame, args, depth)?;
            let result = self.run(function, placed, named, Rc::clone(&frame.path), std::ptr::null(), depth + 1)?;
            return Ok(result.0);
        }
        match callee {
            Expr::Attribute(base, method) => {
                let base = self.eval(frame, base, "", depth + 1)?;
                let Val::Object(object @ Value::Object(class, _), path) = &base else {
                    return Err(frame.wrong(format!("calls `{method}` of what is no module")));
                };
                self.charge(class.len() + method.len())?;
                let Some(function) = self.definitions.functions.get(&format!("{class}.{method}")) else {
                    return Err(frame.wrong(format!("calls `{method}` of `{class}`, which has no such method")));
                };
                let (placed, named) = self.values(frame, args, depth)?;
                let placed = std::iter::once(base.clone()).chain(placed).collect();
                Ok(self.run(function, placed, named, Rc::clone(path), std::ptr::from_ref(*object), depth + 1)?.0)
            }
            Expr::Name(name) => self.builtin(frame, name, args, hint, depth),
            _ => Err(frame.wrong("calls what is no function")),
        }
    }

    #[allow(clippy::type_complexity)]
    fn values(
        &mut self,
        frame: &Frame<'a>,
        args: &'a [(Option<String>, Expr)],
        depth: usize,
    ) -> Step<(Vec<Val<'a>>, Vec<(&'a str, Val<'a>)>)> {
        let (mut placed, mut named) = (vec![], vec![]);
        for (name, expr) in args {
            let value = self.eval(frame, expr, "", depth + 1)?;
            match name {
                Some(name) => named.push((&name[..], value)),
                None => placed.push(value),
            }
        }
        Ok((placed, named))
    }

    fn builtin(
        &mut self,
        frame: &Frame<'a>,
        name: &str,
        args: &'a [(Option<String>, Expr)],
        hint: &str,
        depth: usize,
    ) -> Step<Val<'a>> {
        let first = |i: usize| args.get(i).map(|(_, e)| e).ok_or_else(|| frame.wrong(format!("`{name}` of nothing")));
        match name {
            // A type and a value.
            "annotate" | "unchecked_cast" => self.eval(frame, first(1)?, hint, depth + 1),
            "uninitialized" => Ok(NONE),
            "getattr" => {
                let base = self.eval(frame, first(0)?, "", depth + 1)?;
                let Expr::Text(attribute) = first(1)? else { return Err(frame.wrong("an attribute without name")) };
                self.attribute(frame, &base, attribute)
            }
            "int" | "float" | "bool" => {
                let value = self.eval(frame, first(0)?, "", depth + 1)?;
                match (name, &value) {
                    ("float", Val::One(Arg::Str(text))) => match &text[..] {
                        "inf" => Ok(Val::One(Arg::Float(f64::INFINITY))),
                        "-inf" => Ok(Val::One(Arg::Float(f64::NEG_INFINITY))),
                        "nan" => Ok(Val::One(Arg::Float(f64::NAN))),
                        _ => Err(frame.wrong("a number that is none")),
                    },
                    ("int", Val::One(Arg::Int(_)))
                    | ("float", Val::One(Arg::Float(_)))
                    | ("bool", Val::One(Arg::Bool(_))) => Ok(value),
                    _ => {
                        let op = match name {
                            "int" => "aten::Int",
                            "float" => "aten::Float",
                            _ => "aten::Bool",
                        };
                        let arg = self.arg(&value)?;
                        self.one(frame, op, vec![arg], vec![], hint)
                    }
                }
            }
            _ => Err(frame
                .wrong(format!("calls `{}`, which is not known", name.chars().take(60).collect::<String>()))
                .remedy("export the model: `torch.export.export(model, inputs)`")),
        }
    }
}

/// `a.b.c`.
fn dotted(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Name(name) => Some(name.clone()),
        Expr::Attribute(base, name) => Some(format!("{}.{name}", dotted(base)?)),
        _ => None,
    }
}

/// The op that is called: `torch.add` is `aten::add`, `ops.prim.NumToTensor` `prim::NumToTensor`.
pub(super) fn op(callee: &Expr, frame: &Frame<'_>) -> Option<String> {
    let Expr::Attribute(base, name) = callee else { return None };
    match &**base {
        Expr::Name(module) if module == "torch" && !frame.vars.contains_key("torch") => Some(format!("aten::{name}")),
        Expr::Attribute(base, space) => match &**base {
            Expr::Name(module) if module == "ops" && !frame.vars.contains_key("ops") => {
                Some(format!("{space}::{name}"))
            }
            _ => None,
        },
        _ => None,
    }
}
