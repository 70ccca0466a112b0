//! The builder that lowerings write to.

use mil_core::{
    graph::{Graph, Value},
    ir::Constant,
    mb,
    op::{Call, Op},
    types::{DType, Opset},
};
use mil_runtime::cpu::reference::Evaluator;

use super::{Refusal, Tensor, carrier, tensor::axis_of};

/// A graph under construction, ops on constants being computed at once, and the op of the model that is being lowered:
/// what is pushed is named after it.
#[derive(Debug)]
pub(crate) struct Lowering {
    graph: Graph,
    name: String,
    warnings: Vec<String>,
}

impl Lowering {
    pub(crate) fn new(opset: Opset) -> Lowering {
        let mut graph = Graph::new("main", opset);
        graph.fold_constants(&Evaluator);
        Lowering { graph, name: String::new(), warnings: vec![] }
    }

    /// The graph: for blocks, inputs and what has no shorter way here.
    pub(crate) fn graph(&mut self) -> &mut Graph {
        &mut self.graph
    }

    pub(crate) fn opset(&self) -> Opset {
        self.graph.opset()
    }

    /// Refuses what this opset does not have yet.
    pub(crate) fn needs(&self, opset: Opset, what: &str) -> Result<(), Refusal> {
        if self.opset() >= opset {
            return Ok(());
        }
        let message = format!("{what} needs {opset}, but the target is {}", self.opset());
        Err(Refusal::new(message).remedy(format!("convert with `--target {opset}` or later")))
    }

    /// From now on ops are named after this op of the model.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.name = name.to_string();
    }

    /// Tells the user something; the same thing once.
    pub(crate) fn warn(&mut self, line: String) {
        if !self.warnings.contains(&line) {
            self.warnings.push(line);
        }
    }

    pub(crate) fn finish(self) -> (Graph, Vec<String>) {
        (self.graph, self.warnings)
    }

    /// Pushes an op; if its arguments are constants, computes it.
    ///
    /// # Errors
    /// If MIL does not take it.
    #[track_caller]
    pub(crate) fn push<O: Op>(&mut self, call: Call<O>) -> Result<O::Outputs, Refusal> {
        let call = if self.name.is_empty() { call } else { call.name(&self.name) };
        Ok(self.graph.push(call)?)
    }

    /// A constant.
    pub(crate) fn constant(&mut self, constant: Constant) -> Value {
        let name = format!("{}_const", self.name);
        self.graph.constant(&name, constant)
    }

    /// A list of `i32`.
    ///
    /// # Errors
    /// If one does not fit.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Result<Value, Refusal> {
        Ok(self.constant(Constant::integers(DType::I32, [values.len()], values)?))
    }

    /// A number of rank 0, of the dtype of a value here: f32, f16, i32 or bool.
    ///
    /// # Errors
    /// If it does not fit the dtype.
    pub(crate) fn number(&mut self, dtype: DType, number: f64) -> Result<Value, Refusal> {
        let literal = match dtype {
            DType::Bool => mil_core::ir::Literal::Bool(number != 0.0),
            d if d.is_int() => mil_core::ir::Literal::Int(number as i64),
            _ => mil_core::ir::Literal::Float(number),
        };
        Ok(self.constant(literal.constant(dtype)?))
    }

    /// The value in another dtype of those that values have here, by MIL's rules: floats are cut off.
    pub(crate) fn cast(&mut self, x: &Value, dtype: DType) -> Result<Value, Refusal> {
        if x.dtype() == Some(dtype) {
            return Ok(x.clone());
        }
        self.push(mb::cast(x, dtype))
    }

    /// A tensor of the model in another of the model's dtypes: narrow integers wrap around, as they do there.
    pub(crate) fn convert(&mut self, x: &Tensor, dtype: DType) -> Result<Tensor, Refusal> {
        let Some(to) = carrier(dtype) else {
            return Err(Refusal::new(format!("MIL has no values of {dtype}")));
        };
        let mut value = self.cast(&x.value, to)?;
        if dtype.is_int() && dtype != x.dtype && !fits_into(x.dtype, dtype) {
            value = self.wrap(&value, dtype)?;
        }
        Ok(Tensor::new(value, dtype))
    }

    /// An `i32` reduced to what a narrower integer would hold: the lowest bits. Others are as they are.
    pub(crate) fn wrap(&mut self, x: &Value, dtype: DType) -> Result<Value, Refusal> {
        let Some((min, max)) = dtype.int_range().filter(|_| dtype.bits() < 32) else { return Ok(x.clone()) };
        let (offset, period) = (-min as i64, (max - min + 1) as i64);
        let raised = if offset == 0 { x.clone() } else { self.push(mb::add(x, offset))? };
        // MIL's `mod` has the sign of the divisor (source: MIL reference), so that this is within 0 and the period.
        let within = self.push(mb::mod_(&raised, period))?;
        if offset == 0 { Ok(within) } else { Ok(self.push(mb::sub(&within, offset))?) }
    }

    /// Several axes, sorted; each counts from the end if it is negative.
    ///
    /// # Errors
    /// If there is no such axis, or one is named twice.
    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
        let mut all = axes.iter().map(|a| axis_of(*a, rank)).collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable();
        if all.windows(2).any(|w| w[0] == w[1]) {
            return Err(Refusal::new(format!("the axes {axes:?} name one axis twice")));
        }
        Ok(all)
    }
}

/// Whether every number of one dtype is one of the other.
fn fits_into(from: DType, to: DType) -> bool {
    match (from.int_range(), to.int_range()) {
        (Some(from), Some(to)) => to.0 <= from.0 && from.1 <= to.1,
        _ => from == DType::Bool,
    }
}
