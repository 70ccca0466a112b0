//! Passes: changes of programs that keep what they compute, and make them smaller or faster.
//!
//! A [`Pipeline`] runs passes in order and keeps what each reports. [`Pipeline::fp16`] and [`Pipeline::fp32`] are what
//! makes a good package out of a naively written program.
//!
//! ```
//! use mil_core::{graph::Graph, mb, passes::{Context, Pipeline}, types::*};
//!
//! let mut g = Graph::new("main", Opset::iOS17);
//! let x = g.input("x", TensorType::new(DType::F32, [2, 3]));
//! let same = g.push(mb::reshape(&x, [2, 3]))?;
//! let y = g.push(mb::relu(&same))?;
//! let mut program = g.finish([("y", y)])?;
//!
//! let reports = Pipeline::fp32().run(&mut program, &Context::default())?;
//! assert!(reports.iter().any(|r| r.pass == "noop_elimination" && r.changes() == 1));
//! let kinds: Vec<_> = program.main().unwrap().walk().into_iter().map(|op| program.main().unwrap().op(op).def.name).collect();
//! assert_eq!(kinds, ["relu"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How to write a pass
//!
//! A pass is a struct in a file of its own that implements [`Pass`], and a line in this module's list. It gets a
//! [`Rewriter`], which knows who uses what, inserts and erases ops anywhere, and infers what is inserted as the builder does:
//!
//! ```
//! use mil_core::{mb, op::OpError, passes::{Context, Pass, Pipeline, Report, Rewriter}};
//!
//! /// `relu(relu(x))` is `relu(x)`; `x * 2` is `x + x`.
//! struct Example;
//!
//! impl Pass for Example {
//!     fn name(&self) -> &'static str {
//!         "example"
//!     }
//!     fn doc(&self) -> &'static str {
//!         "removes the second of two relus, and doubles by adding"
//!     }
//!     fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
//!         for op in rw.ops() {
//!             // An op may be gone since the list was made.
//!             if !rw.is_live(op) {
//!                 continue;
//!             }
//!             // An op as its struct, with typed fields.
//!             if let Some(relu) = rw.bind::<mb::Relu>(op)
//!                 && let Some(x) = relu.x.id
//!                 && rw.made_by(x, "relu").is_some()
//!             {
//!                 // The users of this op's output use `x` now; outputs of the function keep their names.
//!                 let x = rw.value(x);
//!                 rw.replace(op, &[x])?;
//!                 report.count("removed relu");
//!             } else if rw.op(op).def.name == "mul"
//!                 && let Some((x, 2.0)) = rw.with_number(op)
//!             {
//!                 let x = rw.value(x);
//!                 let sum = rw.before(op).push(mb::add(&x, &x))?;
//!                 rw.replace(op, &[sum])?;
//!                 report.count("mul to add");
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # use mil_core::{graph::Graph, types::*};
//! # let mut g = Graph::new("main", Opset::iOS17);
//! # let x = g.input("x", TensorType::new(DType::F32, [2, 3]));
//! # let a = g.push(mb::relu(&x))?;
//! # let b = g.push(mb::relu(&a))?;
//! # let y = g.push(mb::mul(&b, 2.0))?;
//! # let mut program = g.finish([("y", y)])?;
//! let mut pipeline = Pipeline::default();
//! pipeline.push(Example);
//! let reports = pipeline.run(&mut program, &Context::default())?;
//! assert_eq!(reports[0].to_string(), "example: mul to add 1, removed relu 1");
//! # let f = program.main().unwrap();
//! # assert_eq!(f.walk().into_iter().map(|op| f.op(op).def.name).collect::<Vec<_>>(), ["relu", "add"]);
//! # assert_eq!(f.value(f.outputs()[0]).name, "y");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a pass cannot do it leaves as it is: an error is a bug of the pass. It takes time by the number of ops, or nearly, and never
//! touches the bytes of constants but to compute with them. In debug builds each pass is checked with
//! [`validate`](crate::validate::validate).

mod add_fp16_cast;
mod adjust_io_to_supported_types;
mod cast_optimization;
mod channels;
mod const_deduplication;
mod const_elimination;
mod dead_code_elimination;
mod dedup_op_and_var_names;
mod divide_to_multiply;
mod fuse_conv_batchnorm;
mod fuse_conv_bias;
mod fuse_conv_scale;
mod fuse_elementwise_to_batchnorm;
mod fuse_gelu_exact;
mod fuse_gelu_sigmoid_approximation;
mod fuse_gelu_tanh_approximation;
mod fuse_hard_sigmoid;
mod fuse_layernorm_or_instancenorm;
mod fuse_leaky_relu;
mod fuse_linear_bias;
mod fuse_matmul_weight_bias;
mod fuse_pad_conv;
mod fuse_prelu;
mod fuse_reduce_mean;
mod fuse_silu;
mod fuse_stack_split;
mod fuse_transpose_matmul;
mod fusion;
mod merge_consecutive_paddings;
mod merge_consecutive_relus;
mod merge_consecutive_reshapes;
mod merge_consecutive_transposes;
mod noop_elimination;
mod pass;
mod pipeline;
mod prelu_to_lrelu;
mod reduce_transposes;
mod remove_redundant_ops;
mod rewrite;
mod sanitize_name_strings;

pub use add_fp16_cast::AddFp16Cast;
pub use adjust_io_to_supported_types::AdjustIoToSupportedTypes;
pub use cast_optimization::CastOptimization;
pub use const_deduplication::ConstDeduplication;
pub use const_elimination::ConstElimination;
pub use dead_code_elimination::DeadCodeElimination;
pub use dedup_op_and_var_names::DedupOpAndVarNames;
pub use divide_to_multiply::DivideToMultiply;
pub use fuse_conv_batchnorm::FuseConvBatchnorm;
pub use fuse_conv_bias::FuseConvBias;
pub use fuse_conv_scale::FuseConvScale;
pub use fuse_elementwise_to_batchnorm::FuseElementwiseToBatchnorm;
pub use fuse_gelu_exact::FuseGeluExact;
pub use fuse_gelu_sigmoid_approximation::FuseGeluSigmoidApproximation;
pub use fuse_gelu_tanh_approximation::FuseGeluTanhApproximation;
pub use fuse_hard_sigmoid::FuseHardSigmoid;
pub use fuse_layernorm_or_instancenorm::FuseLayernormOrInstancenorm;
pub use fuse_leaky_relu::FuseLeakyRelu;
pub use fuse_linear_bias::FuseLinearBias;
pub use fuse_matmul_weight_bias::FuseMatmulWeightBias;
pub use fuse_pad_conv::FusePadConv;
pub use fuse_prelu::FusePrelu;
pub use fuse_reduce_mean::FuseReduceMean;
pub use fuse_silu::FuseSilu;
pub use fuse_stack_split::FuseStackSplit;
pub use fuse_transpose_matmul::FuseTransposeMatmul;
pub use merge_consecutive_paddings::MergeConsecutivePaddings;
pub use merge_consecutive_relus::MergeConsecutiveRelus;
pub use merge_consecutive_reshapes::MergeConsecutiveReshapes;
pub use merge_consecutive_transposes::MergeConsecutiveTransposes;
pub use noop_elimination::NoopElimination;
pub use pass::{Context, Evaluate, Pass, PassError, Report};
pub use pipeline::Pipeline;
pub use prelu_to_lrelu::PreluToLrelu;
pub use reduce_transposes::ReduceTransposes;
pub use remove_redundant_ops::RemoveRedundantOps;
pub use rewrite::{Inserter, Rewriter, Use};
pub use sanitize_name_strings::SanitizeNameStrings;

use crate::{ir::Program, op::OpError};

/// All passes, by name.
const LIST: &[&dyn Pass] = &[
    &add_fp16_cast::DEFAULT,
    &AdjustIoToSupportedTypes,
    &CastOptimization,
    &ConstDeduplication,
    &ConstElimination::DEFAULT,
    &DeadCodeElimination,
    &DedupOpAndVarNames,
    &DivideToMultiply,
    &FuseConvBatchnorm,
    &FuseConvBias,
    &FuseConvScale,
    &FuseElementwiseToBatchnorm,
    &FuseGeluExact,
    &FuseGeluSigmoidApproximation,
    &FuseGeluTanhApproximation,
    &FuseHardSigmoid,
    &FuseLayernormOrInstancenorm,
    &FuseLeakyRelu,
    &FuseLinearBias,
    &FuseMatmulWeightBias,
    &FusePadConv,
    &FusePrelu,
    &FuseReduceMean,
    &FuseSilu,
    &FuseStackSplit,
    &FuseTransposeMatmul,
    &MergeConsecutivePaddings,
    &MergeConsecutiveRelus,
    &MergeConsecutiveReshapes,
    &MergeConsecutiveTransposes,
    &NoopElimination,
    &PreluToLrelu,
    &ReduceTransposes,
    &RemoveRedundantOps,
    &SanitizeNameStrings,
];

/// All passes.
pub fn all() -> impl Iterator<Item = &'static dyn Pass> {
    LIST.iter().copied()
}

/// The pass of this name.
pub fn find(name: &str) -> Option<&'static dyn Pass> {
    all().find(|p| p.name() == name)
}

/// Rewrites each function of a program.
///
/// # Errors
/// If a rewriting fails; then that function is lost, since a copy of it would keep weights that a pass replaces. A
/// [`Pipeline`] works on a copy of the program.
pub fn each_function(
    program: &mut Program,
    pass: &'static str,
    mut rewrite: impl FnMut(&mut Rewriter) -> Result<(), OpError>,
) -> Result<(), PassError> {
    for (name, function) in &mut program.functions {
        let empty = crate::ir::Function::new(name.clone(), function.opset);
        let mut rewriter = Rewriter::new(std::mem::replace(function, empty));
        let done = rewrite(&mut rewriter).and_then(|()| rewriter.finish());
        let fail = |e: OpError| PassError { pass, function: Some(name.clone()), message: e.to_string() };
        *function = done.map_err(fail)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing;
