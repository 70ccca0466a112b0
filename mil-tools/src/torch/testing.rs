//! Small graphs for tests of the importer and of lowerings.

use mil_core::{
    ir::{Constant, Program},
    op::AnyArg,
    types::DType,
};
use mil_runtime::{AnyTensor, Model};

use super::{
    graph::{Arg, Graph, Input, InputSize, Node, Output},
    importer,
};
use crate::import::ImportOptions;

/// A graph under construction.
#[derive(Default)]
pub(super) struct Net {
    graph: Graph,
    options: ImportOptions,
}

impl Net {
    pub(super) fn new() -> Net {
        Net::default()
    }

    /// An input of `f32`; a size of -1 is open, between 2 and 16.
    pub(super) fn input(self, name: &str, sizes: &[i64]) -> Net {
        self.input_of(DType::F32, name, sizes)
    }

    /// An input of another dtype.
    pub(super) fn input_of(mut self, dtype: DType, name: &str, sizes: &[i64]) -> Net {
        let size = |(i, n): (usize, &i64)| match n {
            -1 => InputSize::Symbol(format!("s{i}"), Some(2), Some(16)),
            n => InputSize::Fixed(*n),
        };
        let sizes = Some(sizes.iter().enumerate().map(size).collect());
        self.graph.inputs.push(Input { name: name.into(), dtype: Some(dtype), sizes });
        self
    }

    /// A parameter or a buffer.
    pub(super) fn constant(mut self, name: &str, constant: Constant) -> Net {
        self.graph.constants.push((name.into(), constant));
        self
    }

    /// One of ones.
    pub(super) fn ones(self, name: &str, sizes: &[usize]) -> Net {
        let ones = vec![1f32; sizes.iter().product()];
        self.constant(name, Constant::new(sizes, &ones).unwrap())
    }

    /// A node: `y = aten::sum.dim_IntList(x, [1], keepdim=True)`, `a, b = aten::max(x, 1)`, `[a, b] = aten::split(x, 2)`. Words are values;
    /// `'text'` is text, `@f16` a dtype.
    #[track_caller]
    pub(super) fn node(mut self, text: &str) -> Net {
        let (outputs, call) = text.split_once(" = ").expect("an assignment");
        let (op, args) = call.split_once('(').expect("a call");
        let (op, overload) = op.split_once('.').unwrap_or((op, ""));
        let names = |text: &str| text.split(", ").map(str::to_string).collect::<Vec<_>>();
        let outputs = match outputs.strip_prefix('[').and_then(|o| o.strip_suffix(']')) {
            Some(list) => vec![Output::List(names(list))],
            None => names(outputs).into_iter().map(Output::One).collect(),
        };
        let mut rest = args;
        let args = list(&mut rest, ')');
        assert!(rest.is_empty(), "{rest}");
        self.graph.nodes.push(Node { op: op.into(), overload: overload.into(), args, outputs, place: op.into() });
        self
    }

    /// With these options.
    pub(super) fn options(self, options: ImportOptions) -> Net {
        Net { options, ..self }
    }

    /// The program that gives this value, or what is said of the graph.
    pub(super) fn import(mut self, output: &str) -> Result<Program, String> {
        self.graph.outputs = vec![("out".into(), Arg::Value(output.into()))];
        let imported = importer::import(&self.graph, "net.pt2", &self.options);
        imported.map(|i| i.program).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn program(self, output: &str) -> Program {
        self.import(output).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Why the graph is refused.
    #[track_caller]
    pub(super) fn refusal(self, output: &str) -> String {
        self.import(output).expect_err("the graph is not refused")
    }

    /// The ops of the program, in their order, but constants.
    #[track_caller]
    pub(super) fn ops(self, output: &str) -> Vec<&'static str> {
        let program = self.program(output);
        let f = program.main().unwrap();
        f.walk().into_iter().map(|op| f.op(op).def).filter(|def| !def.is_const()).map(|def| def.name).collect()
    }

    /// The same with all arguments: `relu(x=x)`. Of constants that have more than eight elements, their type.
    #[track_caller]
    pub(super) fn form(self, output: &str) -> Vec<String> {
        let program = self.program(output);
        let f = program.main().unwrap();
        let shown = |arg: &AnyArg| {
            let constant = arg.known.as_ref().and_then(|k| k.constant()).filter(|_| arg.is_const);
            match (constant, arg.id) {
                (Some(c), _) => literal(c),
                (None, Some(id)) => f.value(id).name.clone(),
                (None, None) => "?".into(),
            }
        };
        let mut lines = vec![];
        for op in f.walk().into_iter().map(|op| f.op(op)).filter(|op| !op.def.is_const()) {
            let args = f.args(op);
            let given = op.def.params.iter().enumerate().filter_map(|(i, param)| {
                let all: Vec<String> = args.get(i)?.iter().map(shown).collect();
                Some(format!("{}={}", param.name, all.join(" ")))
            });
            lines.push(format!("{}({})", op.def.name, given.collect::<Vec<_>>().join(", ")));
        }
        lines
    }

    /// What the program gives for its only input, `x`.
    #[track_caller]
    pub(super) fn run(self, output: &str, x: &[f32], shape: &[usize]) -> Vec<f32> {
        let model = Model::from_program(&self.program(output)).unwrap();
        let x = AnyTensor::new(shape.to_vec(), x.to_vec()).unwrap();
        let out = model.predict([("x", x)]).unwrap().single().unwrap();
        out.to_f32().unwrap().into_owned()
    }
}

/// A constant as a person would write it, if it is short.
fn literal(c: &Constant) -> String {
    let numbers = match c.ints() {
        Some(all) if c.dtype() == DType::Bool => Some(format!("{:?}", all.iter().map(|v| *v != 0).collect::<Vec<_>>())),
        Some(all) => Some(format!("{all:?}")),
        None => c.floats().map(|v| format!("{v:?}")),
    };
    let text = numbers.or_else(|| c.as_strings().map(|v| format!("{v:?}"))).filter(|_| c.count() <= 8);
    match text {
        Some(text) if c.shape().is_empty() => text.trim_matches(['[', ']']).to_string(),
        Some(text) if c.shape().len() == 1 => text,
        _ => c.ty().to_string(),
    }
}

/// Arguments up to a bracket, which is taken as well.
fn list(rest: &mut &str, close: char) -> Vec<(Option<String>, Arg)> {
    let mut all = vec![];
    loop {
        *rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix(close) {
            *rest = behind;
            return all;
        }
        let word = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        match rest[word.len()..].strip_prefix('=') {
            Some(behind) => {
                *rest = behind;
                all.push((Some(word.to_string()), value(rest)));
            }
            None => all.push((None, value(rest))),
        }
    }
}

fn value(rest: &mut &str) -> Arg {
    if let Some(behind) = rest.strip_prefix('[') {
        *rest = behind;
        return Arg::List(list(rest, ']').into_iter().map(|(_, arg)| arg).collect());
    }
    let end = match rest.strip_prefix('\'') {
        Some(text) => text.find('\'').map(|at| at + 2),
        None => rest.find([',', ')', ']']),
    };
    let (word, behind) = rest.split_at(end.expect("a quote or a bracket that closes"));
    *rest = behind;
    match word {
        "None" => Arg::None,
        "True" => Arg::Bool(true),
        "False" => Arg::Bool(false),
        _ if word.starts_with('\'') => Arg::Str(word.trim_matches('\'').into()),
        _ if word.starts_with('@') => Arg::DType(DType::parse(&word[1..]).expect("a dtype")),
        _ => match (word.parse(), word.parse()) {
            (Ok(n), _) => Arg::Int(n),
            (_, Ok(x)) => Arg::Float(x),
            _ => Arg::Value(word.into()),
        },
    }
}
