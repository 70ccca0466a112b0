//! A function on the reference kernels and on the fast ones: what may differ.

#![allow(dead_code, unreachable_pub)] // tests of two crates share this file, and each uses a part

use std::{collections::BTreeMap, num::NonZeroUsize};

use half::f16;
use mil_core::{ir::Function, types::DType};
use mil_runtime::{
    AnyTensor, Numerics, RunError,
    cpu::{CpuOptions, Executor, States},
    outputs::Output,
};

/// How far floats may be off.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Of the largest magnitude of the tensor.
    pub relative: f32,
    /// Of f16: units in the last place of the element.
    pub ulps: f32,
}

/// What a run gave: the outputs and what the states hold, or the error's text.
pub type Outcome = Result<(BTreeMap<String, Output>, States), String>;

/// Options as tests write them.
pub fn options(numerics: Numerics, threads: usize) -> CpuOptions {
    CpuOptions { threads: NonZeroUsize::new(threads), numerics, ..CpuOptions::default() }
}

/// A function on the reference kernels, and on the fast ones of each kind.
pub struct Engines {
    pub reference: Executor,
    pub planned: Vec<(CpuOptions, Executor)>,
}

impl Engines {
    /// One for each of the options, each with a limit for loops.
    pub fn new(function: &Function, options: &[CpuOptions], rounds: u64) -> Result<Engines, RunError> {
        let planned = |o: &CpuOptions| Ok((*o, Executor::with_options(function.clone(), o)?.with_loop_limit(rounds)));
        Ok(Engines {
            reference: Executor::new(function.clone())?.with_loop_limit(rounds),
            planned: options.iter().map(planned).collect::<Result<_, RunError>>()?,
        })
    }

    /// Runs all on the same inputs and states; says how any of the fast ones differs from the reference.
    pub fn check(
        &self,
        inputs: &BTreeMap<String, AnyTensor>,
        states: &States,
        tolerance: impl Fn(Numerics) -> Tolerance,
    ) -> Result<Outcome, String> {
        let expected = run(&self.reference, inputs, states);
        for (options, engine) in &self.planned {
            let found = run(engine, inputs, states);
            same(&expected, &found, tolerance(options.numerics))
                .map_err(|e| format!("{} numerics, {} threads: {e}", options.numerics, options.thread_count()))?;
        }
        Ok(expected)
    }
}

/// Runs a function once.
pub fn run(executor: &Executor, inputs: &BTreeMap<String, AnyTensor>, states: &States) -> Outcome {
    let mut states = states.clone();
    let outputs = executor.run_with(inputs.clone(), &mut states).map_err(|e| e.to_string())?;
    Ok((outputs, states))
}

/// Whether two outcomes are the same but for rounding; errors must be the same to the letter.
pub fn same(expected: &Outcome, found: &Outcome, tolerance: Tolerance) -> Result<(), String> {
    let ((outputs, states), (their_outputs, their_states)) = match (expected, found) {
        (Ok(e), Ok(f)) => (e, f),
        (Err(e), Err(f)) if e == f => return Ok(()),
        (Err(e), Err(f)) => return Err(format!("the error is `{f}`, not `{e}`")),
        (Err(e), Ok(_)) => return Err(format!("it ran, but the reference says: {e}")),
        (Ok(_), Err(f)) => return Err(format!("it failed, but the reference ran: {f}")),
    };
    if !outputs.keys().eq(their_outputs.keys()) || !states.keys().eq(their_states.keys()) {
        return Err("other outputs or states".into());
    }
    for ((name, e), f) in outputs.iter().zip(their_outputs.values()) {
        let difference = match (e, f) {
            (Output::Tensor(e), Output::Tensor(f)) => tensors(e, f, tolerance),
            // Dictionaries hold numbers by label.
            (Output::Dictionary(e), Output::Dictionary(f)) => dictionaries(e, f, tolerance),
            _ => Err("a tensor on one side, a dictionary on the other".into()),
        };
        difference.map_err(|e| format!("output `{name}`: {e}"))?;
    }
    for ((name, e), f) in states.iter().zip(their_states.values()) {
        tensors(e, f, tolerance).map_err(|e| format!("state `{name}`: {e}"))?;
    }
    Ok(())
}

fn dictionaries(e: &mil_runtime::Dictionary, f: &mil_runtime::Dictionary, tolerance: Tolerance) -> Result<(), String> {
    let (labels, theirs): (Vec<_>, Vec<_>) = (e.iter().collect(), f.iter().collect());
    let near = |e: f64, f: f64| e == f || (e - f).abs() <= f64::from(tolerance.relative) || (e.is_nan() && f.is_nan());
    let same = labels.len() == theirs.len() && labels.iter().zip(&theirs).all(|(e, f)| e.0 == f.0 && near(e.1, f.1));
    if same { Ok(()) } else { Err(format!("{theirs:?}, not {labels:?}")) }
}

/// Whether two tensors are the same: floats but for rounding, others to the last bit.
pub fn tensors(expected: &AnyTensor, found: &AnyTensor, tolerance: Tolerance) -> Result<(), String> {
    if expected.ty() != found.ty() {
        return Err(format!("it is {}, not {}", found.ty(), expected.ty()));
    }
    let dtype = expected.dtype();
    if !matches!(dtype, DType::F16 | DType::F32) {
        let same = expected.bytes() == found.bytes() && expected.as_strings() == found.as_strings();
        return if same { Ok(()) } else { Err(format!("{found:?}, not {expected:?}")) };
    }
    let (e, f) = (expected.to_f32().map_err(|e| e.to_string())?, found.to_f32().map_err(|e| e.to_string())?);
    let largest = e.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
    for (i, (&e, &f)) in e.iter().zip(f.iter()).enumerate() {
        let mut most = tolerance.relative * largest;
        if dtype == DType::F16 {
            most += tolerance.ulps * ulp(e);
        }
        let same = e == f || (e.is_nan() && f.is_nan()) || (e - f).abs() <= most || (dtype == DType::F16 && edge(e, f));
        if !same {
            return Err(format!("element {i} of {} is {f:e}, not {e:e} (largest: {largest:e})", expected.ty()));
        }
    }
    Ok(())
}

/// Whether one is f16's largest number and the other infinity: they are neighbours.
fn edge(a: f32, b: f32) -> bool {
    let max = f16::MAX.to_f32();
    a.is_sign_negative() == b.is_sign_negative() && a.abs().min(b.abs()) == max && a.abs().max(b.abs()).is_infinite()
}

/// How far the f16 beside `v` is.
fn ulp(v: f32) -> f32 {
    let exponent = (v.abs().max(f16::MIN_POSITIVE.to_f32()).to_bits() >> 23) as i32 - 127;
    2f32.powi(exponent - 10)
}

/// Random numbers, the same at each run of the tests.
pub struct Random(pub u64);

impl Random {
    /// 24 random bits.
    pub fn bits(&mut self) -> u32 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as u32
    }

    /// From -1 to 1.
    pub fn float(&mut self) -> f32 {
        self.bits() as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// So many of them, times `scale`.
    pub fn floats(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.float() * scale).collect()
    }
}
