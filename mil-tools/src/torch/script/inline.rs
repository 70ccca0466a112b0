//! Runs the methods of a module by names alone: calls of methods are followed, calls of ops become nodes.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::{
    eval::op,
    syntax::{Action, Definitions, Expr, Function, Parameter, Statement},
};
use crate::{
    import::Refusal,
    torch::{
        graph::{Arg, Graph, Input, Node, Output},
        pickle::{Pickle, Value},
        storage::Storages,
    },
};

/// How deep calls and expressions may be within each other.
pub(super) const MAX_DEPTH: usize = 256;
/// How many values may come up.
const MAX_STEPS: usize = 1 << 22;
/// Bytes of names that may be made.
const MAX_NAMES: usize = 1 << 27;
/// Methods of lists and dicts that change them.
const CHANGING: &[&str] =
    &["append", "extend", "insert", "clear", "pop", "remove", "reverse", "_set_item", "Delete", "__setitem__"];

/// What stands for a value.
#[derive(Clone)]
pub(super) enum Val<'a> {
    /// A number, text, or the name of a value of the graph; lists are [`Val::List`].
    One(Arg),
    /// A module, with its path.
    Object(&'a Value, Rc<str>),
    /// A list or a tuple.
    List(Rc<[Val<'a>]>),
    Dict(Rc<[(Val<'a>, Val<'a>)]>),
}

pub(super) const NONE: Val<'static> = Val::One(Arg::None);

pub(super) struct Inliner<'a> {
    pub(super) definitions: &'a Definitions,
    pub(super) module: Place<'a>,
    pub(super) constants: Place<'a>,
    pub(super) graph: Graph,
    /// Names of the tensors that were met, by where they are.
    pub(super) tensors: HashMap<*const Value, String>,
    names: HashSet<String>,
    /// How often a name was wanted that was taken.
    taken: HashMap<String, usize>,
    /// Lists of ops that were taken apart.
    apart: HashMap<String, Vec<String>>,
    /// Which node gives a value.
    givers: HashMap<String, usize>,
    /// The methods that are being run, with their objects.
    running: Vec<(*const Function, *const Value)>,
    steps: usize,
    bytes: usize,
}

/// A pickle and the tensors in it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) pickle: &'a Pickle,
    pub(super) storages: &'a Storages<'a>,
}

/// A method that is being run.
pub(super) struct Frame<'a> {
    pub(super) vars: HashMap<&'a str, Val<'a>>,
    pub(super) path: Rc<str>,
    file: Rc<str>,
    line: usize,
}

impl Frame<'_> {
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Refusal {
        Refusal::new(format!("line {} of `{}`: {what}", self.line, self.file))
    }
}

pub(super) type Step<T> = Result<T, Refusal>;

impl<'a> Inliner<'a> {
    pub(super) fn new(
        definitions: &'a Definitions,
        module: &'a Pickle,
        storages: &'a Storages<'a>,
        constants: &'a Pickle,
        constant_storages: &'a Storages<'a>,
    ) -> Inliner<'a> {
        Inliner {
            definitions,
            module: Place { pickle: module, storages },
            constants: Place { pickle: constants, storages: constant_storages },
            graph: Graph::default(),
            tensors: HashMap::new(),
            names: HashSet::new(),
            taken: HashMap::new(),
            apart: HashMap::new(),
            givers: HashMap::new(),
            running: vec![],
            steps: 0,
            bytes: 0,
        }
    }

    /// The graph of the module's `forward`.
    pub(super) fn whole(mut self) -> Step<Graph> {
        let root = self.module.pickle.root();
        let Value::Object(class, _) = root else { return Err(Refusal::new("has no module")) };
        let Some(forward) = self.definitions.functions.get(&format!("{class}.forward")) else {
            return Err(Refusal::new(format!("its module `{class}` has no method `forward`"))
                .remedy("save what `torch.jit.trace(model, inputs)` gives"));
        };
        let path: Rc<str> = "".into();
        let mut args = vec![Val::Object(root, Rc::clone(&path))];
        for parameter in forward.parameters.iter().skip(1) {
            args.push(self.input(parameter)?);
        }
        let (result, name) = self.run(forward, args, vec![], path, root, 0)?;
        self.outputs(result, name)?;
        Ok(self.graph)
    }

    /// The value of an input; of a tuple, one for each part.
    fn input(&mut self, parameter: &Parameter) -> Step<Val<'a>> {
        let name = &parameter.name;
        let refused = || {
            Refusal::new(format!("its input `{name}` is no tensor and no tuple of tensors"))
                .remedy("trace a module that takes tensors")
        };
        let one = |this: &mut Self, name: String| {
            this.names.insert(name.clone());
            this.graph.inputs.push(Input { name: name.clone(), dtype: None, sizes: None });
            Val::One(Arg::Value(name))
        };
        let is_tensor = |e: &Expr| matches!(e, Expr::Name(n) if n == "Tensor");
        match &parameter.kind {
            None => Ok(one(self, name.clone())),
            Some(kind) if is_tensor(kind) => Ok(one(self, name.clone())),
            Some(Expr::Index(base, part)) => match (&**base, &**part) {
                (Expr::Name(kind), part) if kind == "Optional" && is_tensor(part) => Ok(one(self, name.clone())),
                (Expr::Name(kind), Expr::Tuple(parts)) if kind == "Tuple" && parts.iter().all(is_tensor) => {
                    Ok(Val::List((0..parts.len()).map(|i| one(self, format!("{name}_{i}"))).collect()))
                }
                (Expr::Name(kind), part) if kind == "Tuple" && is_tensor(part) => {
                    Ok(Val::List([one(self, format!("{name}_0"))].into()))
                }
                _ => Err(refused()),
            },
            Some(_) => Err(refused()),
        }
    }

    /// Declares what `forward` gives: each part of a tuple, and entries of dicts under their keys.
    fn outputs(&mut self, result: Val<'a>, name: Option<String>) -> Step<()> {
        let mut found: Vec<(Option<String>, Val<'a>)> = vec![];
        let mut open = vec![(name, result)];
        while let Some((name, val)) = open.pop() {
            self.spend(1)?;
            match val {
                Val::List(parts) => open.extend(parts.iter().rev().map(|v| (None, v.clone()))),
                Val::Dict(pairs) => {
                    for (key, value) in pairs.iter().rev() {
                        let key = if let Val::One(Arg::Str(key)) = key { Some(key.clone()) } else { None };
                        open.push((key, value.clone()));
                    }
                }
                Val::One(Arg::None) => {}
                Val::Object(..) => return Err(Refusal::new("gives a module, which is no tensor")),
                val => found.push((name, val)),
            }
        }
        let single = found.len() == 1;
        let mut used: HashSet<String> = self.graph.inputs.iter().map(|i| i.name.clone()).collect();
        for (i, (name, val)) in found.into_iter().enumerate() {
            // What TorchScript calls `_3`, and what it calls `input` because it is the input of something, has no name.
            let given =
                name.filter(|n| !n.starts_with('_') && !n.trim_end_matches(|c: char| c.is_ascii_digit()).eq("input"));
            let plain = if single { "output".to_string() } else { format!("output_{i}") };
            let mut name = given.unwrap_or_else(|| plain.clone());
            if used.contains(&name) {
                name = plain;
            }
            while !used.insert(name.clone()) {
                name.push('_');
            }
            let arg = self.arg(&val)?;
            self.graph.outputs.push((name, arg));
        }
        Ok(())
    }

    pub(super) fn spend(&mut self, steps: usize) -> Step<()> {
        self.steps += steps;
        if self.steps > MAX_STEPS {
            return Err(Refusal::new(format!("its code has more than {MAX_STEPS} steps")));
        }
        Ok(())
    }

    /// Runs a function or a method, and gives what it returns, with the name of the variable if it returns one.
    pub(super) fn run(
        &mut self,
        function: &'a Function,
        args: Vec<Val<'a>>,
        named: Vec<(&'a str, Val<'a>)>,
        path: Rc<str>,
        object: *const Value,
        depth: usize,
    ) -> Step<(Val<'a>, Option<String>)> {
        let key = (std::ptr::from_ref(function), object);
        let mut frame = Frame { vars: HashMap::new(), path, file: Rc::clone(&function.file), line: function.line };
        if self.running.contains(&key) {
            return Err(frame
                .wrong("a method that calls itself")
                .remedy("trace the model: `torch.jit.trace(model, inputs)`"));
        }
        let mut args = args.into_iter();
        for parameter in &function.parameters {
            let by_name = named.iter().find(|(name, _)| *name == parameter.name).map(|(_, v)| v.clone());
            let value = match (args.next(), by_name, &parameter.default) {
                (Some(value), _, _) | (None, Some(value), _) => value,
                (None, None, Some(default)) => self.eval(&frame, default, "", depth + 1)?,
                (None, None, None) => return Err(frame.wrong(format!("no value for `{}`", parameter.name))),
            };
            frame.vars.insert(&parameter.name, value);
        }
        self.running.push(key);
        let mut result = (NONE, None);
        for statement in &function.body {
            frame.line = statement.line;
            if let Some(returned) = self.statement(&mut frame, statement, depth)? {
                result = returned;
                break;
            }
        }
        self.running.pop();
        Ok(result)
    }

    fn statement(
        &mut self,
        frame: &mut Frame<'a>,
        statement: &'a Statement,
        depth: usize,
    ) -> Step<Option<(Val<'a>, Option<String>)>> {
        match &statement.action {
            Action::Return(None) => return Ok(Some((NONE, None))),
            Action::Return(Some(value)) => {
                let name = if let Expr::Name(name) = value { Some(name.clone()) } else { None };
                // Of a tuple, variables are the names of its parts.
                if let Expr::Tuple(parts) = value {
                    let pairs = parts.iter().map(|part| {
                        let key = if let Expr::Name(name) = part { name.as_str() } else { "_" };
                        Ok((Val::One(Arg::Str(key.to_string())), self.eval(frame, part, "", depth + 1)?))
                    });
                    let pairs = pairs.collect::<Step<Vec<_>>>()?;
                    if depth == 0 {
                        return Ok(Some((Val::Dict(pairs.into()), None)));
                    }
                    return Ok(Some((Val::List(pairs.into_iter().map(|(_, v)| v).collect()), None)));
                }
                return Ok(Some((self.eval(frame, value, "", depth + 1)?, name)));
            }
            Action::Do(value) => _ = self.eval(frame, value, "", depth + 1)?,
            Action::Assign(names, false, value) if names.len() == 1 => {
                let value = self.eval(frame, value, &names[0], depth + 1)?;
                frame.vars.insert(&names[0], value);
            }
            Action::Assign(names, comma, value) => {
                let values = self.several(frame, names, *comma, value, depth + 1)?;
                frame.vars.extend(names.iter().map(String::as_str).zip(values));
            }
            Action::Other(what) => {
                return Err(frame.wrong(format!("`{what}`, which is not straight-line code")).remedy(
                    "trace the model (`torch.jit.trace(model, inputs)`) or export it (`torch.export.export`)",
                ));
            }
        }
        Ok(None)
    }

    /// The values of `a, b = ..`; with a comma behind the last a list or tuple is taken apart, else an op gives several.
    fn several(
        &mut self,
        frame: &Frame<'a>,
        names: &'a [String],
        comma: bool,
        value: &'a Expr,
        depth: usize,
    ) -> Step<Vec<Val<'a>>> {
        if !comma
            && let Expr::Call(callee, args) = value
            && let Some(op) = op(callee, frame)
        {
            let (args, named) = self.arguments(frame, args, depth)?;
            let hints: Vec<&str> = names.iter().map(String::as_str).collect();
            let given = self.push(frame, &op, args, named, &hints)?;
            return Ok(given.into_iter().map(|name| Val::One(Arg::Value(name))).collect());
        }
        let all = self.eval(frame, value, "", depth)?;
        let wrong = |found: usize| frame.wrong(format!("{found} values where {} are taken", names.len()));
        match all {
            Val::List(parts) if parts.len() == names.len() => Ok(parts.to_vec()),
            Val::List(parts) => Err(wrong(parts.len())),
            Val::One(Arg::Value(list)) => {
                let parts = self.take_apart(frame, list, names)?;
                Ok(parts.into_iter().map(|name| Val::One(Arg::Value(name))).collect())
            }
            _ => Err(wrong(1)),
        }
    }

    /// Names for the parts of a list that an op gives.
    fn take_apart(&mut self, frame: &Frame<'a>, list: String, names: &[String]) -> Step<Vec<String>> {
        if let Some(parts) = self.apart.get(&list) {
            if parts.len() != names.len() {
                return Err(frame.wrong(format!("{} values where {} are taken", parts.len(), names.len())));
            }
            return Ok(parts.clone());
        }
        let parts = names.iter().map(|name| self.unique(frame, name)).collect::<Step<Vec<_>>>()?;
        let Some(node) = self.givers.get(&list).and_then(|i| self.graph.nodes.get_mut(*i)) else {
            return Err(frame.wrong("takes apart what no op gives"));
        };
        let Some(output) = node.outputs.iter_mut().find(|o| matches!(o, Output::One(name) if *name == list)) else {
            return Err(frame.wrong("takes apart what no op gives"));
        };
        *output = Output::List(parts.clone());
        self.apart.insert(list, parts.clone());
        Ok(parts)
    }

    /// A name that no other value has, from the module's path and what the value is called there.
    fn unique(&mut self, frame: &Frame<'a>, hint: &str) -> Step<String> {
        let name = if frame.path.is_empty() { hint.to_string() } else { format!("{}.{hint}", frame.path) };
        self.unused(name)
    }

    /// Counts bytes of names and text that are copied.
    pub(super) fn charge(&mut self, bytes: usize) -> Step<()> {
        self.bytes += bytes;
        if self.bytes > MAX_NAMES {
            return Err(Refusal::new(format!("its names take more than {MAX_NAMES} bytes")));
        }
        Ok(())
    }

    pub(super) fn unused(&mut self, name: String) -> Step<String> {
        self.charge(name.len() + 8)?;
        if self.names.insert(name.clone()) {
            return Ok(name);
        }
        let count = self.taken.entry(name.clone()).or_insert(0);
        loop {
            *count += 1;
            let numbered = format!("{name}_{count}");
            if self.names.insert(numbered.clone()) {
                return Ok(numbered);
            }
        }
    }

    /// What a value is as an argument.
    pub(super) fn arg(&mut self, value: &Val<'a>) -> Step<Arg> {
        self.spend(1)?;
        Ok(match value {
            Val::One(Arg::Value(name)) => match self.apart.get(name) {
                Some(parts) => {
                    let parts = parts.clone();
                    self.spend(parts.len())?;
                    Arg::List(parts.into_iter().map(Arg::Value).collect())
                }
                None => {
                    self.charge(name.len())?;
                    Arg::Value(name.clone())
                }
            },
            Val::One(arg) => arg.clone(),
            // As deep as expressions are, which is bounded.
            Val::List(all) => Arg::List(all.iter().map(|v| self.arg(v)).collect::<Step<_>>()?),
            Val::Object(_, path) => return Err(Refusal::new(format!("an op takes the module `{path}`"))),
            Val::Dict(_) => return Err(Refusal::new("an op takes a dict")),
        })
    }

    /// A node of one output.
    pub(super) fn one(
        &mut self,
        frame: &Frame<'a>,
        op: &str,
        args: Vec<Arg>,
        named: Vec<(String, Arg)>,
        hint: &str,
    ) -> Step<Val<'a>> {
        let name = self.push(frame, op, args, named, &[hint])?.remove(0);
        Ok(Val::One(Arg::Value(name)))
    }

    /// A node; gives the names of its outputs, one for each hint.
    fn push(
        &mut self,
        frame: &Frame<'a>,
        op: &str,
        args: Vec<Arg>,
        named: Vec<(String, Arg)>,
        hints: &[&str],
    ) -> Step<Vec<String>> {
        if let Some(name) = op.strip_prefix("aten::").filter(|name| CHANGING.contains(name)) {
            return Err(frame
                .wrong(format!("`{name}`, which changes a list"))
                .remedy("trace the model (`torch.jit.trace(model, inputs)`) or export it (`torch.export.export`)"));
        }
        // What TorchScript calls `_3` is called after the op.
        let plain = op.rsplit("::").next().unwrap_or(op);
        let hint = |given: &str| if given.is_empty() || given.starts_with('_') { plain } else { given }.to_string();
        let outputs = hints.iter().map(|given| self.unique(frame, &hint(given))).collect::<Step<Vec<_>>>()?;
        for name in &outputs {
            self.givers.insert(name.clone(), self.graph.nodes.len());
        }
        let args = args.into_iter().map(|arg| (None, arg)).chain(named.into_iter().map(|(n, arg)| (Some(n), arg)));
        let place = if frame.path.is_empty() { String::new() } else { format!("{}, ", frame.path) };
        let place = format!("{place}line {} of {}", frame.line, frame.file);
        self.charge(place.len())?;
        self.graph.nodes.push(Node {
            op: op.to_string(),
            overload: String::new(),
            args: args.collect(),
            outputs: outputs.iter().cloned().map(Output::One).collect(),
            place,
        });
        Ok(outputs)
    }
}
