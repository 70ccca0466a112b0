//! Random numbers.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, 2014: "Fast splittable pseudorandom number generators"), which is
//! three lines of integer arithmetic; logarithms and the like are libm's. So the same seed gives the same numbers on every
//! machine.

use half::f16;
use mil_core::{
    ir::Constant,
    op::Arg,
    ops::random::{CategoricalMode, RandomBernoulli, RandomCategorical, RandomNormal, RandomUniform},
    types::DType,
};

use super::{
    Cx, Kernel, KernelDef, floats,
    movement::{typed, valued},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[
    KernelDef::of::<RandomBernoulli>(),
    KernelDef::of::<RandomCategorical>(),
    KernelDef::of::<RandomNormal>(),
    KernelDef::of::<RandomUniform>(),
];

/// A stream of random numbers.
struct Random(u64);

impl Random {
    /// The stream of a seed; with -1 another one each time.
    fn new(seed: i64, cx: &Cx<'_>) -> Random {
        // Seeds are 32-bit, so that no draw has the start of a seed.
        Random(if seed == -1 { 1 << 63 | cx.draw() } else { u64::from(seed as u32) })
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not including, 1.
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The numbers of a bell, by Box and Muller's method.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.uniform(), self.uniform()); // the logarithm of 0 is none
        libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(std::f64::consts::TAU * angle)
    }
}

fn number(c: &Constant) -> Result<f64, RunError> {
    c.number().ok_or_else(|| RunError::new("a parameter is no number"))
}

/// The shape that is asked for, with its value now.
fn shape_now(shape: &Arg, cx: &Cx<'_>) -> Result<Arg, RunError> {
    valued(shape, &*cx.get(shape)?)
}

fn drawn(dtype: DType, shape: Vec<usize>, mut one: impl FnMut() -> f64) -> Result<Vec<AnyTensor>, RunError> {
    let count = shape.iter().product();
    floats(dtype, shape, (0..count).map(|_| one() as f32).collect())
}

/// The dtype of parameters that share one; of one left out in a file it is not known.
fn dtype(a: &Constant, b: &Constant) -> DType {
    if a.dtype() == DType::F16 { a.dtype() } else { b.dtype() }
}

impl Kernel for RandomBernoulli {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let shape = output_shape(&RandomBernoulli { shape: shape_now(&self.shape, cx)?, ..self.clone() })?;
        let (mut random, prob) = (Random::new(self.seed, cx), number(&self.prob)?);
        drawn(self.prob.dtype(), shape, || f64::from(u8::from(random.uniform() < prob)))
    }
}

impl Kernel for RandomNormal {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let shape = output_shape(&RandomNormal { shape: shape_now(&self.shape, cx)?, ..self.clone() })?;
        let (mut random, mean, stddev) = (Random::new(self.seed, cx), number(&self.mean)?, number(&self.stddev)?);
        drawn(dtype(&self.mean, &self.stddev), shape, || mean + stddev * random.normal())
    }
}

impl Kernel for RandomUniform {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let shape = output_shape(&RandomUniform { shape: shape_now(&self.shape, cx)?, ..self.clone() })?;
        let (mut random, low, high) = (Random::new(self.seed, cx), number(&self.low)?, number(&self.high)?);
        let dtype = dtype(&self.low, &self.high);
        let rounded = |v: f64| match dtype {
            DType::F16 => f64::from(f16::from_f32(v as f32)),
            _ => f64::from(v as f32),
        };
        drawn(dtype, shape, || {
            loop {
                let v = low + (high - low) * random.uniform();
                // What rounding makes `high` is drawn again: at most about half of the numbers, if there is one between.
                if low == high || rounded(v) < high {
                    return v;
                }
            }
        })
    }
}

impl Kernel for RandomCategorical {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&RandomCategorical { x: typed(&self.x, &x), ..self.clone() })?;
        let (last, draws) = (x.rank() - 1, shape[x.rank() - 1]);
        let choices = x.shape()[last];
        if x.dtype() == DType::F16 && choices > 2049 {
            let message = format!("indices of {choices} choices do not fit `f16`; convert `x` to f32");
            return Err(RunError::new(message));
        }
        let mut random = Random::new(self.seed, cx);
        let mut out = Vec::with_capacity(shape.iter().product());
        let values = x.to_f32()?;
        for i in 0..shape[..last].iter().product::<usize>() {
            let sums = running_sums(&values[i * choices..][..choices], self.mode)?;
            let total = sums.last().copied().unwrap_or(0.0);
            for _ in 0..draws {
                let at = random.uniform() * total;
                out.push(sums.partition_point(|sum| *sum <= at) as f32);
            }
        }
        floats(x.dtype(), shape, out)
    }
}

/// The sum of the weights up to and including each.
fn running_sums(x: &[f32], mode: CategoricalMode) -> Result<Vec<f64>, RunError> {
    let greatest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |v: f32| match mode {
        CategoricalMode::Probs => f64::from(v),
        CategoricalMode::Logits => libm::exp(f64::from(v) - f64::from(greatest)),
    };
    let mut total = 0.0;
    let mut sums = Vec::with_capacity(x.len());
    for v in x {
        let weight = weight(*v);
        if !(weight >= 0.0 && weight.is_finite()) {
            return Err(RunError::new(format!("`x` has {v}, which is no weight to choose by")));
        }
        total += weight;
        sums.push(total);
    }
    match total > 0.0 {
        true => Ok(sums),
        false => Err(RunError::new("`x` has weights of 0 only, so that nothing can be chosen")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use half::f16;
    use mil_core::{
        graph::{Graph, Value},
        ir::Constant,
        mb,
        types::{DType, Opset, TensorType},
    };

    use crate::{
        cpu::{
            Executor,
            reference::testing::{Test, close, fails, run},
        },
        tensor::AnyTensor,
    };

    fn values(out: &[AnyTensor]) -> Vec<f32> {
        out[0].to_f32().unwrap().into_owned()
    }

    fn moments(v: &[f32]) -> (f32, f32) {
        let n = v.len() as f32;
        let mean = v.iter().sum::<f32>() / n;
        (mean, (v.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n).sqrt())
    }

    /// The first outputs of SplitMix64 from 0, as its authors' program gives them.
    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = super::Random(0);
        let first = [random.bits(), random.bits(), random.bits()];
        assert_eq!(first, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn a_seed_gives_the_same_numbers_everywhere() {
        let uniform = || values(&run(|_| mb::random_uniform([3]).seed(0)));
        assert_eq!(uniform(), [0.8833108, 0.431528, 0.026433772]);
        let normal = |seed: i64| values(&run(move |_| mb::random_normal([100]).seed(seed)));
        assert_eq!(normal(7), normal(7));
        assert_ne!(normal(7), normal(8));
        assert_ne!(normal(-2), normal(-1));
    }

    #[test]
    fn without_a_seed_each_draw_is_another_but_the_course_is_the_same() {
        let course = || {
            let mut g = Graph::new("main", Opset::iOS17);
            let (a, b): (Value, Value) =
                (g.push(mb::random_uniform([4])).unwrap(), g.push(mb::random_uniform([4])).unwrap());
            let program = g.finish([("a", a), ("b", b)]).unwrap();
            let executor = Executor::new(program.main().unwrap().clone()).unwrap();
            let draw = || executor.run(BTreeMap::new()).unwrap().into_values();
            draw().chain(draw()).map(|t| t.to_f32().unwrap().into_owned()).collect::<Vec<_>>()
        };
        let draws = course();
        assert_eq!(draws.len(), 4);
        assert!((0..4).all(|i| (0..i).all(|j| draws[i] != draws[j])), "{draws:?}");
        assert_eq!(draws, course());
    }

    #[test]
    fn uniform_has_its_bounds() {
        let v = values(&run(|_| mb::random_uniform([10_000]).low(-1.0).high(3.0).seed(1)));
        assert!(v.iter().all(|x| (-1.0..3.0).contains(x)));
        let (mean, deviation) = moments(&v);
        assert!((mean - 1.0).abs() < 0.05 && (deviation - 4.0 / 12f32.sqrt()).abs() < 0.05, "{mean} {deviation}");
        // The least f16 above 1: every number is 1, though half of the numbers between round up.
        let next = Constant::scalar(f16::from_bits(f16::ONE.to_bits() + 1));
        let out = run(|_| mb::random_uniform([50]).low(Constant::scalar(f16::ONE)).high(next));
        assert_eq!(out[0].dtype(), DType::F16);
        close(&out, &[50], &[1.0; 50], 0.0);
        close(&run(|_| mb::random_uniform([2]).low(5.0).high(5.0)), &[2], &[5.0, 5.0], 0.0);
        let wide = values(&run(|_| mb::random_uniform([50]).low(f64::from(f32::MIN)).high(f64::from(f32::MAX))));
        assert!(wide.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn normal_is_a_bell() {
        let v = values(&run(|_| mb::random_normal([10_000]).mean(2.0).stddev(3.0).seed(1)));
        let (mean, deviation) = moments(&v);
        assert!((mean - 2.0).abs() < 0.1 && (deviation - 3.0).abs() < 0.1, "{mean} {deviation}");
        let within = v.iter().filter(|x| (**x - 2.0).abs() < 3.0).count();
        assert!((6600..7050).contains(&within), "{within}"); // 68.27 %
        close(&run(|_| mb::random_normal([3]).mean(1.0).stddev(0.0)), &[3], &[1.0; 3], 0.0);
    }

    #[test]
    fn bernoulli_is_ones_and_zeros() {
        let with = |prob: f64| values(&run(move |_| mb::random_bernoulli([10_000]).prob(prob).seed(3)));
        assert!(with(0.0).iter().all(|v| *v == 0.0) && with(1.0).iter().all(|v| *v == 1.0));
        let ones: f32 = with(0.3).iter().sum();
        assert!((2850.0..3150.0).contains(&ones), "{ones}");
    }

    #[test]
    fn categorical_chooses_by_weight() {
        let weights = [0.1f32, 0.0, 0.6, 0.3, 1.0, 0.0, 0.0, 0.0];
        let choose = |mode: &'static str, x: Vec<f32>| {
            let out = run(move |g| mb::random_categorical(g.f32(&[2, 4], &x)).mode(mode).size(10_000).seed(5));
            assert_eq!(out[0].shape(), [2, 10_000]);
            let v = values(&out);
            assert!(v[10_000..].iter().all(|i| *i == 0.0));
            (0..4).map(|c| v[..10_000].iter().filter(|i| **i == c as f32).count()).collect::<Vec<_>>()
        };
        let by_probability = choose("probs", weights.to_vec());
        assert!((900..1100).contains(&by_probability[0]) && by_probability[1] == 0, "{by_probability:?}");
        assert!((5850..6150).contains(&by_probability[2]), "{by_probability:?}");
        let logits = choose("logits", weights.iter().map(|w| w.ln() + 50.0).collect());
        assert!(logits.iter().zip(&by_probability).all(|(a, b)| a.abs_diff(*b) < 5), "{logits:?} {by_probability:?}");
    }

    #[test]
    fn what_cannot_be_drawn() {
        let choose = |x: &'static [f32], mode: &'static str| {
            move |g: &mut Test| mb::random_categorical(g.f32(&[x.len()], x)).mode(mode)
        };
        fails(choose(&[0.0, 0.0], "probs"), "weights of 0 only");
        fails(choose(&[0.5, -0.5], "probs"), "no weight");
        fails(choose(&[0.5, f32::NAN], "logits"), "no weight");
        fails(choose(&[f32::NEG_INFINITY; 2], "logits"), "no weight");
        fails(choose(&[], "logits"), "weights of 0 only");
        let many = |g: &mut Test| {
            let x = AnyTensor::from_f32(DType::F16, [2050], vec![0.0; 2050]).unwrap();
            mb::random_categorical(g.input(x))
        };
        fails(many, "do not fit `f16`");
        fails(|g| mb::random_normal(g.i32(&[2], &[2, 0])), "1 or more, found 0");
        fails(|g| mb::random_uniform(g.i32(&[2], &[i32::MAX; 2])), "too large");
        let mut g = Graph::new("main", Opset::iOS15);
        let shape = g.input("shape", TensorType::new(DType::I32, [2]));
        assert_eq!(g.push(mb::random_normal(shape)).unwrap().ty().to_string(), "Tensor<f32, ?, ?>");
    }
}
