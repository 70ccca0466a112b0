//! Random programs of the ops that nets are made of.

use mil_core::{
    graph::{BuildError, Graph, Value},
    ir::{Constant, Program},
    mb,
    types::{DType, Dim, Domain, Opset, Symbol, TensorType, Type},
};

use crate::{compare::Random, hostile::Choices};

/// More elements than this a value shall not have.
const LARGE: i64 = 1 << 13;
/// The largest size of an open dimension.
pub(crate) const MOST: i64 = 9;

type Built<T = Value> = Result<T, BuildError>;

/// A program under construction.
struct Maker<'c> {
    c: Choices<'c>,
    random: Random,
    /// What the program mostly computes in.
    dtype: DType,
    /// What may be used.
    values: Vec<Value>,
}

/// A program of about `ops` ops.
pub(crate) fn program(bytes: &[u8], ops: usize) -> Option<Program> {
    let mut c = Choices(bytes);
    let dtype = c.pick(&[DType::F32, DType::F32, DType::F16]);
    let mut g = Graph::new("main", Opset::iOS18);
    let dims = match c.below(4) {
        0 => vec![c.pick(&[1, 2, 3]), c.pick(&[4, 3, 7, 16, 33])],
        1 => vec![c.pick(&[1, 2]), c.pick(&[4, 5, 17]), c.pick(&[6, 3, 16])],
        _ => vec![c.pick(&[1, 2]), c.pick(&[3, 4, 1, 8, 17]), c.pick(&[5, 6, 1, 9]), c.pick(&[7, 4, 8, 1])],
    };
    // Sizes that only a run says.
    let open = if c.one_in(3) { c.byte() } else { 0 };
    let symbol =
        |i: usize| Dim::symbol(Symbol::new(["A", "B", "C", "D"][i], Domain::Range { min: 1, max: Some(MOST) }));
    let dims: Vec<Dim> = dims
        .iter()
        .enumerate()
        .map(|(i, d)| if open >> i & 1 == 1 && i != 1 { symbol(i) } else { (*d).into() })
        .collect();
    let x = g.input("x", TensorType::new(dtype, dims));
    let seed = 1 + u64::from(c.byte());
    let mut m = Maker { c, random: Random(seed), dtype, values: vec![x.clone()] };
    let state = match (m.c.one_in(6), x.tensor_type()?.shape.fixed()) {
        (true, Some(shape)) if dtype == DType::F16 => {
            let state = g.input("s", Type::State(TensorType::new(DType::F16, &shape[..])));
            m.values.push(g.push(mb::read_state(&state)).ok()?);
            Some(state)
        }
        _ => None,
    };
    for _ in 0..ops {
        m.step(&mut g);
        if m.c.0.is_empty() {
            break;
        }
    }
    let mut outputs = vec![m.values.last()?.clone()];
    if let Some(state) = state {
        let x = m.values[0].clone();
        let mixed = m.values[1].clone();
        let sum = g.push(mb::add(x, mixed)).ok()?;
        outputs.push(g.coreml_update_state(&state, sum).ok()?);
    }
    // What is wanted in the middle of things must be there as well.
    for _ in 0..m.c.below(3) {
        outputs.push(m.some());
    }
    outputs.dedup();
    let outputs: Vec<_> = outputs.into_iter().enumerate().map(|(i, v)| (format!("y{i}"), v)).collect();
    let program = g.finish(outputs).ok()?;
    mil_core::validate::validate(&program).ok()?;
    Some(program)
}

fn dims(v: &Value) -> Vec<Dim> {
    v.tensor_type().map(|t| t.shape.iter().cloned().collect()).unwrap_or_default()
}

fn rank(v: &Value) -> usize {
    dims(v).len()
}

/// The size of a dimension, if it is a number; elsewhere some number, which will not do.
fn size(v: &Value, d: usize) -> usize {
    dims(v).get(d).and_then(Dim::fixed).unwrap_or(1)
}

/// So large that no division by what is nearly 0 makes small differences large.
fn epsilon(x: &Value) -> Constant {
    match x.tensor_type().map(|t| t.dtype) {
        Some(DType::F16) => Constant::scalar(half::f16::from_f32(0.1)),
        _ => Constant::scalar(0.1f32),
    }
}

/// Whether a value is small whatever the open sizes are.
fn is_small(v: &Value) -> bool {
    dims(v).iter().try_fold(1i64, |n, d| d.eval(&|_| Some(MOST))?.checked_mul(n)).is_some_and(|n| n <= LARGE)
}

impl Maker<'_> {
    /// A value that there is, the last more often than others.
    fn some(&mut self) -> Value {
        let n = self.values.len();
        let back = self.c.pick(&[0, 0, 0, 0, 1, 1, 2, 5]);
        self.values[(n - 1).saturating_sub(back)].clone()
    }

    /// Adds an op, if one can be made of what was chosen.
    fn step(&mut self, g: &mut Graph) {
        let x = self.some();
        let made = self.op(g, &x).unwrap_or_default();
        let float = |v: &Value| v.tensor_type().is_some_and(|t| matches!(t.dtype, DType::F16 | DType::F32));
        self.values.extend(made.into_iter().filter(|v| float(v) && is_small(v)));
    }

    fn constant(&mut self, x: &Value, shape: &[usize], scale: f32) -> Constant {
        let numbers = self.random.floats(shape.iter().product(), scale);
        match x.tensor_type().map(|t| t.dtype) {
            Some(DType::F16) => Constant::new(shape, &numbers.into_iter().map(half::f16::from_f32).collect::<Vec<_>>()),
            _ => Constant::new(shape, &numbers),
        }
        .unwrap()
    }

    /// Weights: sums of `fan_in` products are about as large as what they are of.
    fn weight(&mut self, x: &Value, shape: &[usize], fan_in: usize) -> Constant {
        self.constant(x, shape, 1.7 / (fan_in as f32).sqrt())
    }

    fn positive(&mut self, x: &Value, n: usize) -> Constant {
        let numbers: Vec<f32> = self.random.floats(n, 1.0).into_iter().map(|v| 0.5 + v.abs()).collect();
        match x.tensor_type().map(|t| t.dtype) {
            Some(DType::F16) => Constant::new([n], &numbers.into_iter().map(half::f16::from_f32).collect::<Vec<_>>()),
            _ => Constant::new([n], &numbers),
        }
        .unwrap()
    }

    fn op(&mut self, g: &mut Graph, x: &Value) -> Built<Vec<Value>> {
        let one = |v: Built| v.map(|v| vec![v]);
        match self.c.below(24) {
            0..=3 => one(self.conv(g, x)),
            4 => one(self.pool(g, x)),
            5 | 6 => one(self.unary(g, x)),
            7..=9 => one(self.binary(g, x)),
            10 => one(self.norm(g, x)),
            11 => self.joined(g, x),
            12 => self.split(g, x),
            13 => one(self.slice(g, x)),
            14 => one(self.reshape(g, x)),
            15 => one(self.transpose(g, x)),
            16 => one(self.product(g, x)),
            17 => one(self.reduce(g, x)),
            18 => one(self.dims(g, x)),
            19 => one(self.slow(g, x)),
            20 => one(self.cast(g, x)),
            21 => one(self.softmax(g, x)),
            22 => self.cond(g, x),
            _ => self.while_loop(g, x),
        }
    }

    fn softmax(&mut self, g: &mut Graph, x: &Value) -> Built {
        let axis = self.c.below(rank(x).max(1)) as i64;
        g.push(mb::softmax(x).axis(axis))
    }

    fn conv(&mut self, g: &mut Graph, x: &Value) -> Built {
        let (channels, spatial) = (size(x, 1).max(1), rank(x).saturating_sub(2));
        let groups = self.c.pick(&[1, 1, channels, channels, 2]);
        let inner = (channels / groups).max(1);
        let outputs = groups * self.c.pick(&[1, 2, 3, 8, 17]);
        let mut shape = vec![outputs, inner];
        let kernel = self.c.pick(&[1, 3, 2, 5]);
        shape.extend((0..spatial).map(|i| if i == 0 { kernel } else { self.c.pick(&[kernel, kernel, 3, 1]) }));
        let fan_in = shape[1..].iter().product();
        let weight = self.weight(x, &shape, fan_in);
        let strides: Vec<i32> = (0..spatial).map(|_| self.c.pick(&[1, 1, 2, 3])).collect();
        let dilations: Vec<i32> = (0..spatial).map(|_| self.c.pick(&[1, 1, 1, 2])).collect();
        let mut call = mb::conv(x, weight).groups(groups as i32).strides(strides).dilations(dilations);
        if self.c.one_in(2) {
            call = call.bias(self.constant(x, &[outputs], 1.0));
        }
        call = match self.c.below(4) {
            0 | 1 => call.pad_type("same"),
            2 => call.pad_type("valid"),
            _ => call.pad_type("custom").pad((0..2 * spatial).map(|_| self.c.pick(&[1, 0, 2])).collect::<Vec<i32>>()),
        };
        g.push(call)
    }

    fn pool(&mut self, g: &mut Graph, x: &Value) -> Built {
        let spatial = rank(x).saturating_sub(2);
        let sizes: Vec<i32> = (0..spatial).map(|_| self.c.pick(&[2, 3, 1])).collect();
        let strides: Vec<i32> = (0..spatial).map(|_| self.c.pick(&[2, 1, 3])).collect();
        let pad_type = self.c.pick(&["valid", "same", "custom"]);
        let pad: Vec<i32> =
            (0..2 * spatial).map(|_| if pad_type == "custom" { self.c.pick(&[0, 1]) } else { 0 }).collect();
        match self.c.below(3) {
            0 => g.push(mb::max_pool(x, sizes, pad_type).strides(strides).pad(pad)),
            1 => {
                let exclude = self.c.one_in(2);
                g.push(mb::avg_pool(x, sizes, pad_type).strides(strides).pad(pad).exclude_padding_from_average(exclude))
            }
            _ => g.push(mb::l2_pool(x, sizes, pad_type).strides(strides).pad(pad)),
        }
    }

    fn unary(&mut self, g: &mut Graph, x: &Value) -> Built {
        match self.c.below(15) {
            0 | 1 => g.push(mb::relu(x)),
            2 => g.push(mb::sigmoid(x)),
            3 => g.push(mb::tanh(x)),
            4 => g.push(mb::relu6(x)),
            5 => g.push(mb::silu(x)),
            6 => g.push(mb::gelu(x)),
            7 => g.push(mb::leaky_relu(x, 0.1)),
            8 => g.push(mb::clip(x, -0.5, 0.75)),
            9 => g.push(mb::abs(x)),
            10 => g.push(mb::elu(x, 0.5)),
            11 => g.push(mb::softplus(x)),
            12 => g.push(mb::sigmoid_hard(x, 0.2, 0.5)),
            13 => g.push(mb::erf(x)),
            _ => {
                let alpha = self.weight(x, &[size(x, 1)], 4);
                g.push(mb::prelu(x, alpha))
            }
        }
    }

    fn binary(&mut self, g: &mut Graph, x: &Value) -> Built {
        let op = self.c.below(5);
        macro_rules! push {
            ($a:expr, $b:expr) => {
                match op {
                    0 => g.push(mb::add($a, $b)),
                    1 => g.push(mb::mul($a, $b)),
                    2 => g.push(mb::sub($a, $b)),
                    3 => g.push(mb::maximum($a, $b)),
                    _ => g.push(mb::minimum($a, $b)),
                }
            };
        }
        let shape: Vec<usize> = (0..rank(x)).map(|d| size(x, d)).collect();
        let per = |keep: &dyn Fn(usize) -> bool| -> Vec<usize> {
            shape.iter().enumerate().map(|(d, s)| if keep(d) { *s } else { 1 }).collect()
        };
        let swapped = self.c.one_in(3);
        let y: Value = match self.c.below(6) {
            0 => {
                let c = self.constant(x, &[], 1.0);
                g.constant("c", c)
            }
            1 => {
                let c = self.constant(x, &per(&|d| d == 1), 1.0);
                g.constant("c", c)
            }
            2 => {
                let c = self.constant(x, &per(&|d| d + 1 == shape.len())[shape.len().saturating_sub(1)..], 1.0);
                g.constant("c", c)
            }
            3 => {
                let c = self.constant(x, &shape, 1.0);
                g.constant("c", c)
            }
            // A value like this one, the nearest first, or any.
            4 => {
                let like = |v: &&Value| *v != x && v.tensor_type() == x.tensor_type();
                self.values.iter().rev().find(like).unwrap_or(x).clone()
            }
            _ => self.some(),
        };
        if swapped { push!(&y, x) } else { push!(x, &y) }
    }

    fn norm(&mut self, g: &mut Graph, x: &Value) -> Built {
        let channels = size(x, 1);
        match self.c.below(5) {
            0 | 1 => {
                let (mean, variance) = (self.constant(x, &[channels], 0.5), self.positive(x, channels));
                let mut call = mb::batch_norm(x, mean, variance);
                if self.c.one_in(2) {
                    call = call.gamma(self.positive(x, channels)).beta(self.constant(x, &[channels], 0.5));
                }
                g.push(call)
            }
            2 => {
                let last = rank(x).saturating_sub(1);
                let mut call = mb::layer_norm(x).axes([-1]).epsilon(epsilon(x));
                if self.c.one_in(2) {
                    call = call.gamma(self.positive(x, size(x, last))).beta(self.constant(x, &[size(x, last)], 0.5));
                }
                g.push(call)
            }
            3 => g.push(mb::instance_norm(x).epsilon(epsilon(x))),
            _ => g.push(mb::l2_norm(x).epsilon(epsilon(x))),
        }
    }

    fn joined(&mut self, g: &mut Graph, x: &Value) -> Built<Vec<Value>> {
        let axis = self.c.below(rank(x).max(1)) as i64;
        let (y, z) = (self.some(), self.some());
        let joined = match self.c.below(4) {
            0 => g.push(mb::concat([x, &y], axis)),
            1 => g.push(mb::concat([&y, x, &z], axis)),
            2 => g.push(mb::concat([x, x], axis)),
            _ => g.push(mb::stack([x, &y], axis)),
        };
        // It is worth nothing where nobody has what goes together.
        joined.or_else(|_| g.push(mb::concat([x, x], axis))).map(|v| vec![v])
    }

    fn split(&mut self, g: &mut Graph, x: &Value) -> Built<Vec<Value>> {
        let axis = self.c.below(rank(x).max(1));
        let n = size(x, axis);
        if self.c.one_in(2) && n > 2 {
            return g.push(mb::split(x, axis as i64).split_sizes([1, (n - 1) as i64]));
        }
        g.push(mb::split(x, axis as i64).num_splits(self.c.pick(&[2, 3])))
    }

    fn slice(&mut self, g: &mut Graph, x: &Value) -> Built {
        let n = rank(x);
        let begin: Vec<i64> = (0..n).map(|_| self.c.pick(&[0, 0, 1, -2])).collect();
        let end: Vec<i64> = (0..n).map(|d| self.c.pick(&[size(x, d) as i64, -1, 3])).collect();
        let stride: Vec<i64> = (0..n).map(|_| self.c.pick(&[1, 1, 2, 3])).collect();
        let mask: Vec<bool> = (0..n).map(|_| self.c.pick(&[true, true, false])).collect();
        g.push(mb::slice_by_index(x, begin, end).stride(stride).end_mask(mask))
    }

    fn reshape(&mut self, g: &mut Graph, x: &Value) -> Built {
        let n = rank(x);
        let at = self.c.below(n.max(1));
        let mut shape: Vec<i64> = (0..n).map(|d| dims(x)[d].fixed().map_or(-1, |s| s as i64)).collect();
        match self.c.below(4) {
            0 if n > 1 && at + 1 < n => {
                let joined = shape.remove(at);
                shape[at] = if joined == -1 || shape[at] == -1 { -1 } else { shape[at] * joined };
            }
            1 if at < n && n < 5 && shape[at] % 2 == 0 => {
                shape[at] /= 2;
                shape.insert(at, 2);
            }
            2 => return g.push(mb::reshape(x, [-1])),
            _ => return g.push(mb::flatten2d(x).axis(at as i64)),
        }
        g.push(mb::reshape(x, shape))
    }

    fn transpose(&mut self, g: &mut Graph, x: &Value) -> Built {
        let mut perm: Vec<i64> = (0..rank(x) as i64).collect();
        for i in (1..perm.len()).rev() {
            perm.swap(i, self.c.below(i + 1));
        }
        g.push(mb::transpose(x, perm))
    }

    fn product(&mut self, g: &mut Graph, x: &Value) -> Built {
        let n = rank(x);
        let inner = size(x, n.saturating_sub(1));
        let outer = self.c.pick(&[4, 1, 9, 17, 33]);
        match self.c.below(5) {
            0 | 1 => {
                let weight = self.weight(x, &[outer, inner], inner);
                let mut call = mb::linear(x, weight);
                if self.c.one_in(2) {
                    call = call.bias(self.constant(x, &[outer], 1.0));
                }
                g.push(call)
            }
            2 => {
                let weight = self.weight(x, &[inner, outer], inner);
                g.push(mb::matmul(x, weight))
            }
            3 => {
                let (first, fan_in) = (size(x, n.saturating_sub(2)), inner);
                let weight = self.weight(x, &[first, outer], fan_in);
                g.push(mb::matmul(weight, x).transpose_x(true))
            }
            _ => {
                let y = self.some();
                let scaled = g.push(mb::mul(&y, 0.1))?;
                g.push(mb::matmul(x, &scaled).transpose_y(true))
            }
        }
    }

    fn reduce(&mut self, g: &mut Graph, x: &Value) -> Built {
        let n = rank(x);
        let mut axes = vec![self.c.below(n.max(1)) as i64];
        if self.c.one_in(2) && n > 1 && axes[0] != n as i64 - 1 {
            axes.push(n as i64 - 1);
        }
        let keep = self.c.one_in(2);
        match self.c.below(6) {
            0 | 1 => g.push(mb::reduce_mean(x).axes(axes).keep_dims(keep)),
            2 => g.push(mb::reduce_max(x).axes(axes).keep_dims(keep)),
            3 => g.push(mb::reduce_min(x).axes(axes).keep_dims(keep)),
            4 => {
                let sum = g.push(mb::reduce_sum(x).axes(axes).keep_dims(keep))?;
                g.push(mb::mul(&sum, 0.25))
            }
            _ => g.push(mb::reduce_log_sum_exp(x).axes(axes).keep_dims(keep)),
        }
    }

    fn dims(&mut self, g: &mut Graph, x: &Value) -> Built {
        let ones: Vec<i64> = (0..rank(x)).filter(|d| dims(x)[*d].is(1)).map(|d| d as i64).collect();
        if self.c.one_in(2) && !ones.is_empty() && rank(x) > 1 {
            return g.push(mb::squeeze(x).axes([self.c.pick(&ones)]));
        }
        let axis = self.c.below(rank(x) + 1) as i64;
        g.push(mb::expand_dims(x, [axis]))
    }

    /// Ops that may have no fast kernel.
    fn slow(&mut self, g: &mut Graph, x: &Value) -> Built {
        let n = rank(x);
        let constant = |g: &mut Graph, c: Constant| g.constant("w", c);
        match self.c.below(7) {
            0 => g.push(mb::pad(x, [1, 0, 0, 2])),
            1 => g.push(mb::upsample_nearest_neighbor(x).scale_factor_height(2).scale_factor_width(2)),
            2 => g.push(mb::reverse(x).axes([self.c.below(n.max(1)) as i64])),
            3 => g.push(mb::tile(x, vec![self.c.pick(&[1, 2]); n])),
            4 => {
                let (i, spatial) = (size(x, 1), n.saturating_sub(2));
                let mut shape = vec![i, 3];
                shape.extend(vec![3; spatial]);
                let weight = self.weight(x, &shape, i * 4);
                let weight = constant(g, weight);
                g.push(mb::conv_transpose(x, &weight).strides(vec![2; spatial]))
            }
            5 => g.push(mb::gather(x, [0, 0]).axis(self.c.below(n.max(1)) as i64)),
            _ => g.push(mb::cumsum(x).axis(self.c.below(n.max(1)) as i64)),
        }
    }

    fn cast(&mut self, g: &mut Graph, x: &Value) -> Built {
        let dtype = if x.tensor_type().is_some_and(|t| t.dtype == DType::F16) { DType::F32 } else { DType::F16 };
        let y = g.push(mb::cast(x, dtype))?;
        if self.c.one_in(2) || dtype != self.dtype { g.push(mb::cast(&y, self.dtype)) } else { Ok(y) }
    }

    /// Ops that keep the type, for bodies.
    fn same(&mut self, g: &mut Graph, x: &Value) -> Built {
        let mut y = x.clone();
        for _ in 0..1 + self.c.below(3) {
            y = match self.c.below(5) {
                0 | 1 => {
                    let channels = size(x, 1);
                    let mut shape = vec![channels, channels];
                    shape.extend(vec![3; rank(x).saturating_sub(2)]);
                    let weight = self.weight(x, &shape, channels * 4);
                    g.push(mb::conv(&y, weight).pad_type("same")).or_else(|_| g.push(mb::tanh(&y)))?
                }
                2 => self.unary(g, &y)?,
                3 => g.push(mb::add(&y, x))?,
                // Of the block around.
                _ => {
                    let outer = self.values.iter().find(|v| v.tensor_type() == x.tensor_type()).cloned();
                    g.push(mb::sub(&y, outer.unwrap_or(x.clone())))?
                }
            };
        }
        g.push(mb::tanh(&y))
    }

    fn cond(&mut self, g: &mut Graph, x: &Value) -> Built<Vec<Value>> {
        // Of what is the same everywhere: a sum of computed values may be 0 but for rounding.
        let first = self.values[0].clone();
        let all = g.push(mb::reduce_sum(&first).axes((0..rank(&first) as i64).collect::<Vec<_>>()).keep_dims(false))?;
        let go = g.push(mb::greater(&all, 0.0))?;
        // The builder wants two closures; what they do is chosen by one maker, one after the other.
        let this = std::cell::RefCell::new(self);
        g.cond(&go, |g| Ok(vec![this.borrow_mut().same(g, x)?]), |g| Ok(vec![this.borrow_mut().same(g, x)?]))
    }

    fn while_loop(&mut self, g: &mut Graph, x: &Value) -> Built<Vec<Value>> {
        let rounds = self.c.pick(&[2, 1, 0, 4]);
        let i = g.constant("i", Constant::scalar(0i32));
        let out = g.while_loop(
            vec![i, x.clone()],
            |g, v| g.push(mb::less(&v[0], rounds)),
            |g, v| {
                let next = g.push(mb::add(&v[0], 1))?;
                Ok(vec![next, self.same(g, &v[1])?])
            },
        )?;
        Ok(vec![out[1].clone()])
    }
}
