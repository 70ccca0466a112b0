//! Single ops on constants, for passes that fold them.

use std::sync::atomic::AtomicU64;

use mil_core::{ir::Constant, op::Args, passes::Evaluate};

use super::{Cx, kernel};
use crate::{error::RunError, tensor::AnyTensor};

/// Computes ops with the reference kernels: what [`mil_core::passes::Context`] wants for folding constants.
///
/// ```
/// use mil_core::{graph::Graph, ir::Constant, mb, passes::{Context, Pipeline}, types::*};
/// use mil_runtime::cpu::reference::Evaluator;
///
/// let mut g = Graph::new("main", Opset::iOS17);
/// let x = g.input("x", TensorType::new(DType::F32, [2]));
/// let two = g.constant("two", Constant::scalar(2f32));
/// let four = g.push(mb::mul(&two, &two))?;
/// let y = g.push(mb::add(&x, &four))?;
/// let mut program = g.finish([("y", y)])?;
/// Pipeline::fp32().run(&mut program, &Context { evaluate: Some(&Evaluator) })?;
/// let f = program.main().unwrap();
/// let four = f.walk().into_iter().find_map(|op| f.op(op).constant()).unwrap();
/// assert_eq!(four, &Constant::scalar(4f32));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Evaluator;

/// Of weights this large that an op was computed from, in a mapped file, the pages are given back.
const RELEASED: usize = 1 << 20;

impl Evaluate for Evaluator {
    fn evaluate(&self, args: &Args) -> Result<Vec<Constant>, String> {
        let kernel = kernel(args.def.name).ok_or("this op cannot be run on the CPU")?;
        let bound = (kernel.bind)(args).map_err(|e| e.to_string())?;
        let outputs = bound.run(&Cx { values: &[], draws: &AtomicU64::new(0) }).map_err(|e: RunError| e.to_string())?;
        let constants = outputs.iter().map(|v| constant(v.tensor().map_err(|e| e.to_string())?)).collect();
        let read = (0..args.def.params.len()).filter_map(|i| args.get(i)).flatten();
        for bytes in read.filter_map(|arg| arg.known.as_ref()?.constant()?.bytes()).filter(|b| b.len() >= RELEASED) {
            bytes.release();
        }
        constants
    }
}

fn constant(tensor: &AnyTensor) -> Result<Constant, String> {
    match (tensor.bytes(), tensor.as_strings()) {
        (Some(bytes), _) => Constant::from_bytes(tensor.dtype(), tensor.shape(), bytes.to_vec()),
        (None, strings) => Constant::strings(tensor.shape(), strings.unwrap_or_default().to_vec()),
    }
}
