//! A whole program: parameters, body, outputs.

use std::{collections::BTreeMap, rc::Rc};

use mil_core::{
    graph::{Graph, NamedOutput, is_identifier},
    ir::{Def, Program},
    types::{DType, Opset, TensorType, Type},
};
use proc_macro2::TokenStream;
use syn::{Expr, ItemConst, ItemFn, ReturnType, Stmt};

use super::{Frame, Lower};
use crate::{
    attr::ProgramAttr,
    diag::{Diagnostics, Place},
    env::Env,
    item::{ParamItem, ProgramItem},
    shadow::{Shadow, compiler_runs_us},
    sig::{Written, complete, describe},
    suggest,
    value::{Val, Weight},
    weights::WeightsFile,
};

/// What stands beside a program in its module.
#[derive(Default)]
pub(crate) struct Module<'a> {
    pub(crate) consts: Vec<&'a ItemConst>,
    pub(crate) helpers: Vec<&'a ItemFn>,
}

/// A lowered program.
pub(crate) struct Lowering {
    /// `None` if there are problems.
    pub(crate) program: Option<Program>,
    pub(crate) diag: Diagnostics,
    /// The inputs and states.
    pub(crate) inputs: Vec<Input>,
    /// What it gives.
    pub(crate) output: Output,
    /// The shadow, as items.
    pub(crate) shadow: TokenStream,
    /// The ops that it names.
    pub(crate) op_paths: Vec<TokenStream>,
    /// The weights file.
    pub(crate) weights: Option<WeightsFile>,
}

/// A parameter that is an input, or a state, of the model.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// `None` where it is wrong. Of a state: what it holds.
    pub(crate) ty: Option<TensorType>,
    pub(crate) state: bool,
}

/// What a program gives.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Unknown,
    Single(Type),
    Tuple(Vec<Type>),
}

/// Lowers a program.
pub(crate) fn program<'a>(
    item: &'a ProgramItem,
    attr: &'a ProgramAttr,
    module: &Module<'a>,
    mut diag: Diagnostics,
) -> Lowering {
    let weights = attr.weights.as_ref().and_then(|option| WeightsFile::open(option, &mut diag));
    program_with(item, attr, module, weights, diag)
}

/// Lowers a program whose weights file is open.
pub(super) fn program_with<'a>(
    item: &'a ProgramItem,
    attr: &'a ProgramAttr,
    module: &Module<'a>,
    weights: Option<WeightsFile>,
    diag: Diagnostics,
) -> Lowering {
    let mut lower = Lower::new(attr, weights, diag);
    lower.module(module);
    lower.params(item);
    let (outputs, shadow) = lower.body(item);
    lower.finish(item, outputs, shadow)
}

type Outputs = Option<(Val, Vec<(NamedOutput, Place)>)>;

impl<'a> Lower<'a> {
    fn new(attr: &'a ProgramAttr, weights: Option<WeightsFile>, diag: Diagnostics) -> Lower<'a> {
        Lower {
            graph: Graph::new("main", attr.opset),
            env: Env::new(),
            diag,
            attr,
            dims: attr.dims.clone(),
            weights,
            frames: vec![Frame::default()],
            calls: vec![],
            unrolled: 0,
            shadow: Shadow::new(attr.check_shadow || !compiler_runs_us()),
            op_paths: BTreeMap::new(),
            inputs: vec![],
            input_values: vec![],
        }
    }

    fn module(&mut self, module: &Module<'a>) {
        for f in &module.helpers {
            self.env.declare_helper(&f.sig.ident.to_string(), f);
        }
        for c in &module.consts {
            self.const_item(c);
            let name = c.ident.to_string();
            if let Some(n) = self.env.find(&name).and_then(|id| self.env.get(id).as_int())
                && n >= 0
            {
                self.dims.entry(name).or_insert(n.into());
            }
        }
    }

    fn params(&mut self, item: &'a ProgramItem) {
        let names: Vec<String> = item.params.iter().map(|p| p.ident.to_string()).collect();
        for (name, _) in &self.attr.types {
            if !names.contains(&name.to_string()) {
                let hint = suggest::hint(&name.to_string(), names.iter().map(String::as_str));
                self.error(name, format!("the program has no parameter `{name}`{hint}"));
            }
        }
        self.env.open();
        for (i, p) in item.params.iter().enumerate() {
            if names[..i].contains(&names[i]) {
                self.error(&p.ident, format!("two parameters are named `{}`", names[i]));
                continue;
            }
            let val = self.param(p);
            let ty = self.shadow.ty(&val);
            self.shadow.param(&p.ident, ty);
            self.env.declare(&names[i], val, p.mutable);
        }
    }

    fn param(&mut self, p: &'a ParamItem) -> Val {
        let name = p.ident.to_string().trim_start_matches("r#").to_string();
        for attr in &p.others {
            self.error(attr, "a parameter has the attributes `#[weight(\"..\")]`, `#[image(..)]` and `#[default(..)]`, and no others");
        }
        let in_attr = self.attr.types.iter().find(|(n, _)| *n == p.ident).map(|(_, ty)| ty);
        if let (Some(ty), Some(_)) = (in_attr, &p.ty) {
            return self.error(ty, format!("the type of `{name}` stands at the parameter already"));
        }
        let Some(ty) = p.ty.as_ref().or(in_attr) else {
            let message = format!(
                "the type of `{name}` is missing: write `{name}: Tensor<f32, 1, 3>` here or in `#[mil_program(..)]`"
            );
            return self.error(&p.ident, message);
        };
        let at = Place::of(ty);
        let Some(written) = self.read_type(ty) else {
            self.inputs.push(Input { name, ty: None, state: false });
            return Val::Poison;
        };
        if let Some(image) = &p.image
            && !matches!(written, Written::Tensor(..))
        {
            return self.error(&image.color, "only a `Tensor` parameter is an image");
        }
        if let Some(default) = &p.default
            && !matches!(written, Written::Tensor(..))
        {
            return self.error(default, "only a `Tensor` parameter has a default");
        }
        if let Some(weight) = &p.weight
            && !matches!(written, Written::Weight(..) | Written::AnyWeight | Written::Weights)
        {
            return self.error(weight, "only a `Weight` or `Weights` parameter has the name of a weight");
        }
        match written {
            Written::Tensor(dtype, dims) => match complete(dtype, &dims) {
                Some(t) => self.input(p, &name, t, at),
                None => {
                    self.inputs.push(Input { name: name.clone(), ty: None, state: false });
                    let message = "the dimensions of an input are all said; for one of flexible size declare a name, as in \
                                   `#[mil_program(H in 64..=512)]`";
                    self.error_at(at, message)
                }
            },
            Written::AnyTensor => {
                self.inputs.push(Input { name, ty: None, state: false });
                self.error_at(at, "an input has an element type and dimensions, such as `Tensor<f32, 1, 3>`")
            }
            Written::Weight(dtype, dims) => self.weight_param(p, &name, dtype, &dims, at),
            Written::AnyWeight | Written::Weights if self.weights.is_none() => {
                if self.attr.weights.is_some() {
                    return Val::Poison; // that the file cannot be read has been said
                }
                let message = "this needs the weights file: `#[mil_program(weights = \"model.safetensors\")]`";
                self.error_at(at, message)
            }
            Written::AnyWeight => {
                let wanted = p.weight.as_ref().map_or(name, |w| w.value());
                let place = p.weight.as_ref().map_or(Place::of(&p.ident), Place::of);
                match self.weights.as_ref().map(|f| f.weight(&wanted)) {
                    Some(Ok(w)) => Val::Weight(Rc::new(w)),
                    Some(Err(message)) => self.error_at(place, message),
                    None => Val::Poison,
                }
            }
            Written::Weights => {
                let prefix = p.weight.as_ref().map_or(String::new(), |w| w.value());
                match (&self.weights, &p.weight) {
                    (Some(file), Some(w)) if !file.has_prefix(&prefix) => {
                        let message =
                            format!("no weight in `{}` has a name that begins with `{prefix}.`", file.written.value());
                        self.error(w, message)
                    }
                    _ => Val::Weights(prefix),
                }
            }
            Written::State(dtype, dims, by_mut) => self.state_param(&name, dtype, &dims, by_mut, at),
            Written::Tuple(_) | Written::List(_) | Written::Constant(_) | Written::Infer => {
                self.error_at(at, "a parameter of a program is a `Tensor`, `Weight`, `Weights` or `&mut State`")
            }
        }
    }

    fn input(&mut self, p: &'a ParamItem, name: &str, t: TensorType, at: Place) -> Val {
        let before = self.diag.count();
        if !is_identifier(name) {
            self.error(
                &p.ident,
                format!("`{name}` is no name in MIL: letters, digits and `_`, not starting with a digit"),
            );
        }
        if t.rank() > 5 {
            self.error_at(at, format!("a tensor has at most 5 dimensions, found {}: {t}", t.rank()));
        }
        if p.image.is_none() || t.dtype != DType::U8 {
            self.io_dtype("an input", &t, at);
        }
        self.inputs.push(Input { name: name.to_string(), ty: Some(t.clone()), state: false });
        let value = self.graph.input(name, t.clone());
        self.input_values.push(value.clone());
        if self.diag.count() > before {
            return Val::Poison;
        }
        if let Some(default) = &p.default {
            self.default(&value, default);
        }
        match &p.image {
            Some(image) => self.image(name, &value, image, at).map_or(Val::Poison, Val::Value),
            None => Val::Value(value),
        }
    }

    /// Core ML takes few element types at its borders.
    fn io_dtype(&mut self, what: &str, t: &TensorType, at: Place) {
        let opset = self.graph.opset();
        if opset.io_dtypes().contains(&t.dtype) {
            return;
        }
        let newer = Opset::ALL.into_iter().find(|o| o.io_dtypes().contains(&t.dtype));
        let message = match newer {
            Some(o) => {
                format!("{what} of `{}` needs opset {o}, but the program's is {opset}\nset `opset = {o}`", t.dtype)
            }
            None => {
                let all: Vec<_> = opset.io_dtypes().iter().map(|d| format!("`{d}`")).collect();
                format!("{what} is of {}, found {t}\nconvert inside of the program, as in `x as f32`", all.join(" or "))
            }
        };
        self.error_at(at, message);
    }

    fn weight_param(
        &mut self,
        p: &ParamItem,
        name: &str,
        dtype: DType,
        dims: &[Option<mil_core::types::Dim>],
        at: Place,
    ) -> Val {
        let wanted = p.weight.as_ref().map_or(name.to_string(), |w| w.value());
        let place = p.weight.as_ref().map_or(Place::of(&p.ident), Place::of);
        match self.weights.as_ref().map(|f| (f.weight(&wanted), f.written.value(), f.convert)) {
            Some((Err(message), ..)) => self.error_at(place, message),
            Some((Ok(w), file, convert)) => {
                if crate::sig::matches(dtype, dims, &w.ty().into()) {
                    return Val::Weight(Rc::new(w));
                }
                let found = Val::Weight(Rc::new(w.clone())).describe();
                let written = describe("Weight", dtype, dims);
                let mut message = format!("the weight `{wanted}` in `{file}` is {found}, not {written}");
                if w.dtype != dtype && w.dtype.is_float() && dtype.is_float() && convert.is_none() {
                    message += &format!("\nto convert all floats of the file: `weights = \"{file}\" as {dtype}`");
                }
                self.error_at(at, message)
            }
            None if self.attr.weights.is_some() => Val::Poison,
            None => match complete(dtype, dims).and_then(|t| t.shape.fixed()) {
                Some(shape) => Val::Weight(Rc::new(Weight { name: wanted, dtype, shape })),
                None => self.error_at(at, "the dimensions of a weight are numbers"),
            },
        }
    }

    /// Lowers the body; gives the outputs with their names and places.
    fn body(&mut self, item: &'a ProgramItem) -> (Outputs, TokenStream) {
        let tail = match item.body.stmts.last() {
            Some(Stmt::Expr(e, None)) => Some(strip(e)),
            _ => None,
        };
        let hint = match tail {
            Some(Expr::Path(_) | Expr::Tuple(_)) | None => None,
            Some(_) => Some("output"),
        };
        let before = self.diag.count();
        self.env.open();
        let body = self.statements(&item.body.stmts, hint);
        let mut val = body.val;
        let tail_at = tail.map_or_else(|| Place::at(item.body.brace_token.span.close()), Place::of);
        if let ReturnType::Type(_, ty) = &item.output {
            val = match self.read_type(ty) {
                Some(written) => self.ascribe(val, &written, tail_at, Place::of(&**ty)),
                None => Val::Poison,
            };
        }
        if val == Val::Unit && self.diag.count() == before {
            match item.body.stmts.last() {
                Some(Stmt::Expr(e, Some(semi)))
                    if !matches!(e, Expr::Assign(_) | Expr::While(_) | Expr::ForLoop(_)) =>
                {
                    self.error(semi, "the program gives nothing; without this `;` it gives the value before it")
                }
                _ => self.error_at(tail_at, "the program gives nothing; its last expression is its value"),
            };
        }
        let outputs = self.outputs(val, tail, tail_at);
        self.env.close();
        (outputs, body.shadow)
    }

    fn outputs(&mut self, val: Val, tail: Option<&'a Expr>, at: Place) -> Outputs {
        let elems: Vec<&Expr> = match tail {
            Some(Expr::Tuple(t)) => t.elems.iter().map(strip).collect(),
            _ => vec![],
        };
        let items = match &val {
            Val::Tuple(items) | Val::List(items) => items.clone(),
            Val::Unit => return None,
            one => vec![one.clone()],
        };
        let single = !matches!(val, Val::Tuple(_) | Val::List(_));
        let mut outputs = vec![];
        for (i, item) in items.iter().enumerate() {
            let e = if single { tail } else { elems.get(i).copied() };
            let place = e.map_or(at, Place::of);
            let value = match item {
                Val::Value(v) => v.clone(),
                Val::Weight(w) => self.weight_value(w),
                Val::Const(_) => self.constant_value(item, None, place)?,
                Val::Poison => return None,
                Val::State(_) => {
                    self.error_at(place, "a state is no output: give what it holds, with `*`");
                    return None;
                }
                found => {
                    self.error_at(place, format!("an output is a tensor, found {}", found.describe()));
                    return None;
                }
            };
            if let Some(t) = value.tensor_type().cloned()
                && !self.is_label(&value)
            {
                self.io_dtype("an output", &t, place);
            }
            let name = match e {
                Some(Expr::Path(p)) => p.path.get_ident().map(|i| self.output_name(&i.to_string())),
                Some(_) if single => None,
                Some(e) if names_itself(e) => None,
                _ => Some(format!("output_{i}")),
            };
            outputs.push((NamedOutput { value, name }, place));
        }
        Some((val, outputs))
    }

    /// Whether this is the label that `classify` gives, which may be text.
    fn is_label(&self, value: &mil_core::graph::Value) -> bool {
        let f = self.graph.function();
        matches!(f.value(value.id()).def, Def::Op(op, 0) if f.op(op).def.name == "classify")
    }

    /// The name of an output that is a variable: the variable's, unless an input has it.
    fn output_name(&self, name: &str) -> String {
        let name = name.trim_start_matches("r#");
        let taken = self.inputs.iter().any(|input| input.name == name);
        if taken { format!("{name}_out") } else { name.to_string() }
    }

    fn finish(mut self, item: &ProgramItem, outputs: Outputs, shadow: TokenStream) -> Lowering {
        let mut output = Output::Unknown;
        let mut finished = None;
        if let Some((val, outputs)) = outputs {
            let types: Vec<_> = outputs.iter().map(|(o, _)| o.value.ty().clone()).collect();
            output = match (&val, &types[..]) {
                (Val::Tuple(_) | Val::List(_), _) => Output::Tuple(types),
                (_, [one]) => Output::Single(one.clone()),
                _ => Output::Unknown,
            };
            let (named, places): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
            let graph = std::mem::replace(&mut self.graph, Graph::new("", Opset::default()));
            match graph.finish_function(named) {
                Ok(f) => finished = Some(f),
                Err(e) => {
                    let at = e.index.and_then(|i| places.get(i)).copied().unwrap_or_else(|| Place::of(&item.ident));
                    self.error_at(at, e);
                }
            }
        }
        let mut program = None;
        if self.diag.is_empty()
            && let Some(function) = finished
        {
            program = Some(Program::single(function));
            self.attr.describe(program.as_mut());
        }
        Lowering {
            program,
            shadow: self.shadow.finish(&shadow),
            diag: self.diag,
            inputs: self.inputs,
            output,
            op_paths: self.op_paths.into_values().collect(),
            weights: self.weights,
        }
    }
}

fn strip(e: &Expr) -> &Expr {
    match e {
        Expr::Paren(p) => strip(&p.expr),
        Expr::Group(g) => strip(&g.expr),
        e => e,
    }
}

/// Whether the call says its own name.
fn names_itself(e: &Expr) -> bool {
    match e {
        Expr::Call(c) => c
            .args
            .iter()
            .any(|a| matches!(a, Expr::Assign(k) if matches!(&*k.left, Expr::Path(p) if p.path.is_ident("name")))),
        Expr::MethodCall(m) => m.method == "name" || names_itself(&m.receiver),
        _ => false,
    }
}

/// The types of the inputs and outputs, for the documentation: one line each.
pub(crate) fn document(lowering: &Lowering) -> String {
    let input = |i: &Input| {
        let t = i.ty.as_ref()?.to_string();
        let t = if i.state { t.replacen("Tensor", "&mut State", 1) } else { t };
        Some(format!("- `{}: {t}`\n", i.name))
    };
    let inputs: String = lowering.inputs.iter().filter_map(input).collect();
    let gives = match &lowering.output {
        Output::Single(t) => format!("`{t}`"),
        Output::Tuple(all) => format!("`({})`", all.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ")),
        Output::Unknown => return inputs,
    };
    format!("{inputs}\nGives {gives}.")
}
