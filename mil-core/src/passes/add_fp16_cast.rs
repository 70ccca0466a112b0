//! f32 becomes f16, op by op.

use std::collections::{BTreeSet, HashMap, HashSet};

use half::{f16, slice::HalfFloatSliceExt};

use crate::{
    ir::{Argument, Binding, Constant, OpId, ValueId},
    mb,
    op::{OpError, ParamDef},
    types::{DType, Type},
};

use super::{Context, Pass, Report, Rewriter, Use};

mod logarithms;

use logarithms::logarithms;

/// The largest finite f16.
const MAX: f32 = 65504.0;

/// From here on a finite number stands for infinity, as the least f32 does in an attention mask.
const STANDS_FOR_INFINITY: f32 = 1e38;

/// Constants with fewer elements than that are looked through for numbers that become 0: an epsilon must not.
const LOOKED_THROUGH: usize = 400;

/// Ops that must be what they are, and those whose values are no tensors.
fn is_left(name: &str) -> bool {
    let tensors = !matches!(name, "read_state" | "write_state" | "make_list") && !name.starts_with("list_");
    !tensors || matches!(name, "const" | "cast" | "cond" | "while_loop" | "classify") || name.starts_with("constexpr_")
}

/// Makes ops compute in f16 where they can: their f32 arguments are converted, constants at once and each once, other values by a
/// `cast`, and back where f32 is wanted: by an op that stays f32, a block, the function's interface.
///
/// Conversion saturates: a finite number beyond 1e38, which stands for infinity in a mask, becomes ±65504 and not infinite, which
/// would make a softmax give NaN; and a number of a small constant that f16 rounds to 0 becomes the least f16 beside it, since it is
/// an epsilon. What stays f32 is reported with the reason:
///
/// - an op with a constant between 65504 and 1e38, whose exact value matters;
/// - an op that computes sizes out of shapes, which f16 would get wrong from 2048 on;
/// - an op that cannot be of f16 in the program's opset;
/// - a logarithm of numbers that are too small for f16 (powers, probabilities, what an epsilon keeps from 0), and what computes them: the
///   powers, sums and epsilons before it;
/// - an op that the user has named.
///
/// From opset iOS17 on, parameters `alpha`, `beta` and `epsilon` may be of another dtype than the tensors, and stay f32.
#[derive(Clone, Debug, Default)]
pub struct AddFp16Cast {
    /// Ops that stay f32: by their names, or by what they are (`softmax`).
    pub keep: BTreeSet<String>,
    /// Ops that stay f32, by their names alone: one that is called as another is of a kind does not stand for the kind.
    pub keep_named: BTreeSet<String>,
}

pub(super) const DEFAULT: AddFp16Cast = AddFp16Cast { keep: BTreeSet::new(), keep_named: BTreeSet::new() };

impl Pass for AddFp16Cast {
    fn name(&self) -> &'static str {
        "add_fp16_cast"
    }

    fn doc(&self) -> &'static str {
        "makes ops compute in f16 where that is safe, and tells what stays f32"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        let mut conversion = Conversion { logarithms: logarithms(rw), ..Conversion::default() };
        for op in rw.ops() {
            conversion.visit(rw, op, self, report)?;
        }
        // What blocks give, the function's outputs among them, is of f32 as before.
        let mut halved: Vec<ValueId> = conversion.halved.iter().copied().collect();
        halved.sort_unstable();
        for v in halved {
            if rw.uses(v).any(|(by, _)| matches!(by, Use::Block(_))) {
                let full = conversion.full(rw, v)?;
                rw.replace_uses_where(v, full, |by| matches!(by, Use::Block(_)))?;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Conversion {
    /// Values of f32 before, whose ops give f16 now.
    halved: HashSet<ValueId>,
    /// The f16 of a value of f32: a constant, or a cast.
    half: HashMap<ValueId, ValueId>,
    /// The f32 of a halved value: a cast.
    full: HashMap<ValueId, ValueId>,
    /// Floats that are computed from shapes.
    sizes: HashSet<ValueId>,
    /// Logarithms of small numbers, and what computes them.
    logarithms: HashSet<OpId>,
    /// Of constants that were looked at: why they cannot be of f16.
    misfits: HashMap<ValueId, Option<String>>,
}

fn is_f32(ty: &Type) -> bool {
    ty.tensor().is_some_and(|t| t.dtype == DType::F32)
}

impl Conversion {
    fn visit(&mut self, rw: &mut Rewriter, op: OpId, asked: &AddFp16Cast, report: &mut Report) -> Result<(), OpError> {
        let kind = rw.op(op).def.name;
        self.follow_sizes(rw, op);
        let wanted: Vec<(usize, ValueId)> = if is_left(kind) { vec![] } else { self.convertible(rw, op) };
        if !wanted.is_empty() {
            match self.reason(rw, op, &wanted, asked) {
                None => match self.convert(rw, op, &wanted, report)? {
                    None => {
                        report.count("op in f16");
                        return Ok(());
                    }
                    Some(refusal) => stays(rw, op, &refusal, report),
                },
                Some(reason) => stays(rw, op, &reason, report),
            }
        }
        // It stays f32, and so do its arguments; a cast takes either.
        if kind != "cast" {
            let mut used: Vec<ValueId> = rw.op(op).uses().filter(|v| self.halved.contains(v)).collect();
            used.sort_unstable();
            used.dedup();
            for v in used {
                let full = self.full(rw, v)?;
                rw.rebind(op, v, full);
            }
        }
        Ok(())
    }

    /// The f32 arguments that may be of f16 (some are already): index of the argument, value.
    fn convertible(&self, rw: &Rewriter, op: OpId) -> Vec<(usize, ValueId)> {
        let opset = rw.opset();
        let def = rw.op(op).def;
        let of_tensors = def.params.first().and_then(|p| p.allowed(opset)).and_then(|a| a.var);
        let stays = |p: &ParamDef| {
            let mixed = p.allowed(opset).and_then(|a| a.var) != of_tensors;
            mixed && matches!(p.name, "alpha" | "beta" | "epsilon")
        };
        let takes =
            |p: &ParamDef| p.allowed(opset).is_none_or(|a| a.dtypes.is_empty() || a.dtypes.contains(&DType::F16));
        let mut found = vec![];
        for (i, Argument { param, bindings }) in rw.op(op).args.iter().enumerate() {
            let param = &def.params[*param];
            if takes(param) && !stays(param) {
                let floats = |v: &ValueId| is_f32(rw.ty(*v)) || self.halved.contains(v);
                let values = bindings.iter().filter_map(|b| match b {
                    Binding::Value(v) => Some(*v),
                    Binding::Inline(_) => None,
                });
                found.extend(values.filter(floats).map(|v| (i, v)));
            }
        }
        found
    }

    /// Why an op must stay f32, if it must.
    fn reason(
        &mut self,
        rw: &Rewriter,
        op: OpId,
        wanted: &[(usize, ValueId)],
        AddFp16Cast { keep, keep_named }: &AddFp16Cast,
    ) -> Option<String> {
        let data = rw.op(op);
        let name = rw.name_of(op);
        if keep.contains(data.def.name) || keep.contains(&name) || keep_named.contains(&name) {
            return Some("as asked".into());
        }
        if data.outputs.iter().any(|v| self.sizes.contains(v)) {
            return Some("it computes sizes".into());
        }
        if self.logarithms.contains(&op) {
            return Some("a logarithm tells apart numbers that are too small for f16".into());
        }
        wanted.iter().find_map(|(_, v)| {
            let constant = rw.known(*v)?;
            self.misfits.entry(*v).or_insert_with(|| misfit(constant)).clone()
        })
    }

    /// Floats that stand for sizes: a `cast` of known integers, and what is computed from such alone.
    fn follow_sizes(&mut self, rw: &Rewriter, op: OpId) {
        let data = rw.op(op);
        if !data.blocks.is_empty() || data.def.is_const() {
            return;
        }
        let computed = |v: &ValueId| !rw.data(*v).is_const;
        let known = |v: &ValueId| rw.data(*v).known.is_some();
        let mut arguments = data.uses().filter(computed).peekable();
        let some = arguments.peek().is_some();
        let sizes = match data.def.name {
            "cast" => some && arguments.all(|v| known(&v) || self.sizes.contains(&v)),
            _ => some && arguments.all(|v| self.sizes.contains(&v)),
        };
        if sizes {
            self.sizes.extend(data.outputs.iter().copied().filter(|v| is_f32(rw.ty(*v))));
        }
    }

    /// Gives an op its arguments in f16; if it cannot be then, everything is as before, and the refusal is told.
    fn convert(
        &mut self,
        rw: &mut Rewriter,
        op: OpId,
        wanted: &[(usize, ValueId)],
        report: &mut Report,
    ) -> Result<Option<String>, OpError> {
        let before: Vec<ValueId> = rw.op(op).outputs.iter().copied().filter(|v| is_f32(rw.ty(*v))).collect();
        let mut changed = vec![];
        for &(argument, v) in wanted {
            if self.halved.contains(&v) {
                continue;
            }
            let half = self.half(rw, v, report)?;
            let Argument { param, bindings } = &rw.op(op).args[argument];
            let param = rw.op(op).def.params[*param].name;
            // A value that another parameter keeps in f32 changes here only.
            let elsewhere =
                rw.op(op).uses().filter(|u| *u == v).count() > wanted.iter().filter(|(_, u)| *u == v).count();
            match (elsewhere, bindings.len()) {
                (true, 1) => rw.set_arg(op, param, half)?,
                _ => rw.rebind(op, v, half),
            }
            changed.push((param, elsewhere, v, half));
        }
        if let Err(refusal) = rw.infer(op) {
            for (param, alone, v, half) in changed {
                if alone { rw.set_arg(op, param, v)? } else { rw.rebind(op, half, v) }
            }
            rw.infer(op)?;
            return Ok(Some(refusal.message));
        }
        self.halved.extend(before.into_iter().filter(|v| !is_f32(rw.ty(*v))));
        // The f32 weights of a large model go one by one as they are replaced.
        for (_, _, v, _) in changed {
            if let Some(op) = rw.producer(v).filter(|op| rw.op(*op).def.is_const()) {
                rw.erase(op);
            }
        }
        Ok(None)
    }

    /// A value of f32 in f16.
    fn half(&mut self, rw: &mut Rewriter, v: ValueId, report: &mut Report) -> Result<ValueId, OpError> {
        if let Some(half) = self.half.get(&v) {
            return Ok(*half);
        }
        let name = format!("{}_to_fp16", rw.data(v).name);
        let own = rw.producer(v).is_some_and(|op| rw.op(op).def.is_const());
        let half = match rw.known(v).cloned().filter(|_| own).and_then(|c| to_f16(&c)) {
            Some(Halved { constant, saturated, lifted }) => {
                if saturated > 0 {
                    report.note(format!(
                        "`{}`: {saturated} numbers that stand for infinity became ±65504",
                        rw.data(v).name
                    ));
                }
                if lifted > 0 {
                    report.note(format!(
                        "`{}`: {lifted} numbers were lifted to the least f16 that is not 0",
                        rw.data(v).name
                    ));
                }
                rw.after_value(v).constant(&name, constant)
            }
            None => {
                let x = rw.value(v);
                rw.after_value(v).push(mb::cast(&x, DType::F16).name(name))?
            }
        };
        self.half.insert(v, half.id());
        Ok(half.id())
    }

    /// A halved value in f32.
    fn full(&mut self, rw: &mut Rewriter, v: ValueId) -> Result<ValueId, OpError> {
        if let Some(full) = self.full.get(&v) {
            return Ok(*full);
        }
        let (x, name) = (rw.value(v), format!("{}_to_fp32", rw.data(v).name));
        let full = rw.after_value(v).push(mb::cast(&x, DType::F32).name(name))?.id();
        self.full.insert(v, full);
        Ok(full)
    }
}

fn stays(rw: &Rewriter, op: OpId, reason: &str, report: &mut Report) {
    report.note(format!("op `{}` ({}) stays f32: {reason}", rw.name_of(op), rw.op(op).def.name));
}

/// Why a constant cannot be of f16.
fn misfit(constant: &Constant) -> Option<String> {
    let bytes = constant.bytes().filter(|_| constant.dtype() == DType::F32)?;
    // Floats without their sign are in the order of their bits, and integers compare several at once.
    let infinite = STANDS_FOR_INFINITY.to_bits();
    let finite = |b: &[u8; 4]| Some(magnitude(b)).filter(|m| *m < infinite).unwrap_or(0);
    let greatest = f32::from_bits(bytes.as_chunks::<4>().0.iter().map(finite).fold(0, u32::max));
    (greatest > MAX).then(|| format!("its constant reaches {greatest}, which f16 does not hold"))
}

/// The bits of a float without its sign.
fn magnitude(bytes: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*bytes) & 0x7fff_ffff
}

struct Halved {
    constant: Constant,
    saturated: usize,
    lifted: usize,
}

/// A constant of f32 in f16, rounded to nearest even; `None` if its bytes are not there.
fn to_f16(constant: &Constant) -> Option<Halved> {
    let bytes = constant.bytes().filter(|_| constant.dtype() == DType::F32)?;
    let count = constant.count();
    let (mut saturated, mut lifted) = (0, 0);
    let mut out = vec![0; bytes.len() / 2];
    let (mut wide, mut narrow) = ([0f32; 1024], [f16::ZERO; 1024]);
    for (chunk, out) in bytes.chunks(4 * wide.len()).zip(out.chunks_mut(2 * narrow.len())) {
        let (from, n) = (chunk.as_chunks::<4>().0, chunk.len() / 4);
        for (to, b) in wide.iter_mut().zip(from) {
            *to = f32::from_le_bytes(*b);
        }
        // Rare, so that the rest need not be looked at one by one.
        if from.iter().map(magnitude).fold(0, u32::max) > MAX.to_bits() {
            for v in wide[..n].iter_mut().filter(|v| v.is_finite() && v.abs() > MAX) {
                *v = MAX.copysign(*v);
                saturated += 1;
            }
        }
        narrow[..n].convert_from_f32_slice(&wide[..n]);
        if count < LOOKED_THROUGH {
            for (h, v) in narrow[..n].iter_mut().zip(&wide) {
                if h.to_bits() & 0x7fff == 0 && *v != 0.0 {
                    *h = f16::from_bits(1).copysign(f16::from_f32(v.signum()));
                    lifted += 1;
                }
            }
        }
        for (to, h) in out.as_chunks_mut::<2>().0.iter_mut().zip(&narrow) {
            *to = h.to_le_bytes();
        }
    }
    // Of a mapped file both would be in memory otherwise.
    bytes.release();
    let constant = Constant::from_bytes(DType::F16, constant.shape(), out).ok()?;
    Some(Halved { constant, saturated, lifted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        ir::Program,
        passes::testing::{condition, graph, ops, outputs, run},
        types::{Opset, TensorType},
    };

    fn f32s(shape: &[usize]) -> TensorType {
        TensorType::new(DType::F32, shape)
    }

    fn halved(mut program: Program) -> (Program, Report) {
        let report = run(&AddFp16Cast::default(), &mut program);
        (program, report)
    }

    /// The dtypes of what the ops of a kind give.
    fn dtypes(p: &Program, kind: &str) -> Vec<DType> {
        let f = p.main().unwrap();
        let ops = f.walk().into_iter().map(|op| f.op(op)).filter(|op| op.def.name == kind);
        ops.flat_map(|op| &op.outputs).map(|v| f.value(*v).ty.tensor().unwrap().dtype).collect()
    }

    #[test]
    fn casts_stand_at_the_borders_only() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 4]));
        let a = g.push(mb::linear(&x, Constant::new([3, 4], &[0.5f32; 12]).unwrap())).unwrap();
        let b = g.push(mb::relu(&a)).unwrap();
        let c = g.push(mb::mul(&b, 2.0)).unwrap();
        let (p, report) = halved(g.finish([("y", c)]).unwrap());
        assert_eq!(ops(&p), ["cast", "linear", "relu", "mul", "cast"]);
        assert_eq!((outputs(&p), report.counts["op in f16"]), (vec!["y"], 3));
        assert_eq!(dtypes(&p, "cast"), [DType::F16, DType::F32]);
        assert_eq!(p.main().unwrap().value(p.main().unwrap().outputs()[0]).ty, f32s(&[2, 3]).into());
    }

    #[test]
    fn a_value_is_converted_once() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2]));
        let w = g.constant("w", Constant::vector(&[0.1f32, 0.2]));
        let (a, b) = (g.push(mb::add(&x, &w)).unwrap(), g.push(mb::mul(&x, &w)).unwrap());
        let (p, _) = halved(g.finish([("a", a), ("b", b)]).unwrap());
        assert_eq!(ops(&p), ["cast", "add", "cast", "mul", "cast"]);
        let f = p.main().unwrap();
        let halves = f.walk().into_iter().filter_map(|op| f.op(op).constant()).filter(|c| c.dtype() == DType::F16);
        assert_eq!(halves.count(), 1);
    }

    #[test]
    fn masks_saturate_and_epsilons_stay_above_zero() {
        let mut g = Graph::new("main", Opset::iOS16);
        let x = g.input("x", f32s(&[3]));
        let masked = g.push(mb::add(&x, Constant::vector(&[f32::MIN, 0.0, f32::NEG_INFINITY]))).unwrap();
        let safe = g.push(mb::rsqrt(&masked).epsilon(1e-12f32)).unwrap();
        let (p, report) = halved(g.finish([("y", safe)]).unwrap());
        let f = p.main().unwrap();
        let find = |shape: &[usize]| {
            let all = f.walk().into_iter().filter_map(|op| f.op(op).constant());
            all.filter(|c| c.dtype() == DType::F16).find(|c| c.shape() == shape).unwrap().floats().unwrap()
        };
        assert_eq!(find(&[3]), [-65504.0, 0.0, f64::NEG_INFINITY]);
        assert_eq!(find(&[]), [f64::from(f16::from_bits(1))]);
        assert_eq!(report.notes.len(), 2, "{report}");
    }

    #[test]
    fn what_must_stays_f32() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2]));
        let large = g.push(mb::mul(&x, 1e6).name("large")).unwrap();
        let kept = g.push(mb::softmax(&large).axis(0)).unwrap();
        let y = g.push(mb::relu(&kept)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        let named = |name: &str| BTreeSet::from([name.to_string()]);
        // Nothing is called `relu` here.
        let pass = AddFp16Cast { keep: named("softmax"), keep_named: named("relu") };
        let report = run(&pass, &mut p);
        assert_eq!(ops(&p), ["mul", "softmax", "cast", "relu", "cast"]);
        let expected = ["op `large` (mul) stays f32: its constant reaches 1000000", "(softmax) stays f32: as asked"];
        for (note, expected) in report.notes.iter().zip(expected) {
            assert!(note.contains(expected), "{note}");
        }
        assert_eq!(report.notes.len(), 2);
    }

    #[test]
    fn sizes_are_not_rounded() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", "Tensor<f32, 1, N>".parse::<TensorType>().unwrap());
        let shape = g.push(mb::shape(&x)).unwrap();
        let floats = g.push(mb::cast(&shape, DType::F32)).unwrap();
        let doubled = g.push(mb::mul(&floats, 2.0)).unwrap();
        let sizes = g.push(mb::cast(&doubled, DType::I32)).unwrap();
        let filled = g.push(mb::fill(&sizes).value(0.5f32)).unwrap();
        let (p, report) = halved(g.finish([("y", filled)]).unwrap());
        assert_eq!(dtypes(&p, "mul"), [DType::F32]);
        assert!(report.notes.iter().any(|n| n.contains("it computes sizes")), "{report}");
    }

    #[test]
    fn parameters_that_may_differ_stay() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", f32s(&[2]));
        let y = g.push(mb::elu(&x, 0.1f32)).unwrap();
        let (p, _) = halved(g.finish([("y", y)]).unwrap());
        let f = p.main().unwrap();
        let alpha = f
            .walk()
            .into_iter()
            .filter_map(|op| f.op(op).constant())
            .find(|c| c.shape().is_empty() && c.dtype().is_float());
        assert_eq!((dtypes(&p, "elu"), alpha.unwrap().dtype()), (vec![DType::F16], DType::F32));
    }

    #[test]
    fn blocks_keep_their_types() {
        let mut g = graph();
        let go = condition(&mut g);
        let x = g.input("x", f32s(&[2]));
        let outer = g.push(mb::relu(&x)).unwrap();
        let out = g.cond(&go, |g| Ok(vec![g.push(mb::exp(&outer))?]), |g| Ok(vec![g.push(mb::sin(&x))?])).unwrap();
        let sum = |g: &mut Graph, v: &[crate::graph::Value]| {
            let s = g.push(mb::reduce_sum(&v[0]).axes([0]))?;
            g.push(mb::less(&s, 10.0))
        };
        let looped = g.while_loop(out, sum, |g, v| Ok(vec![g.push(mb::add(&v[0], &outer))?])).unwrap();
        let (p, _) = halved(g.finish([("y", looped[0].clone())]).unwrap());
        for kind in ["relu", "exp", "sin", "add", "reduce_sum"] {
            assert_eq!(dtypes(&p, kind), [DType::F16], "{kind}");
        }
        assert_eq!((dtypes(&p, "cond"), dtypes(&p, "while_loop")), (vec![DType::F32], vec![DType::F32]));
    }
}
