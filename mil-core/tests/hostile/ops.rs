//! One op with made-up arguments.

use mil_core::{
    graph::{Graph, Value},
    ir::{Constant, Program},
    op::{OpDef, Operand, ParamDef, ParamKind},
    ops,
    types::{DType, Dim, Domain, Opset, Symbol, TensorType},
};

use super::{Choices, NUMBERS, SIZES};

const OPSETS: [Opset; 4] = [Opset::iOS18, Opset::iOS17, Opset::iOS16, Opset::iOS15];

/// A program of one op, if the op takes what was made up. Inference must never panic.
pub fn program(c: &mut Choices<'_>) -> Option<Program> {
    let defs: Vec<&'static OpDef> = ops::all().filter(|d| d.blocks == 0 && !d.is_const()).collect();
    let def = c.pick(&defs);
    let opset = c.pick(&OPSETS);
    let mut g = Graph::new("main", opset);
    // What most arguments are like, so that they fit each other now and then.
    let dtype = c.pick(&[DType::F32, DType::I32, DType::F16, DType::Bool, DType::I8, DType::U16]);
    let shape = shape(c);
    let mut operands = vec![];
    for param in def.params {
        if !param.exists(opset) || (!param.is_required(opset) && c.below(3) != 0) {
            continue;
        }
        let operand = match param.kind {
            ParamKind::Tensors | ParamKind::Anys => {
                let count = 1 + c.below(4);
                Operand::List((0..count).map(|_| tensor(c, &mut g, param, dtype, &shape)).collect())
            }
            ParamKind::Tensor | ParamKind::Any => tensor(c, &mut g, param, dtype, &shape),
            kind => constant(c, param, kind, shape.len(), opset)?.into(),
        };
        operands.push((param.name, operand));
    }
    let outputs = g.push_op(def, operands, None, None).ok()?;
    let outputs: Vec<Value> = outputs.into_iter().filter(|v| v.tensor_type().is_some()).take(8).collect();
    g.finish(outputs).ok()
}

fn shape(c: &mut Choices<'_>) -> Vec<Dim> {
    let rank = c.pick(&[2, 3, 4, 1, 0, 5, 6]);
    (0..rank).map(|i| dim(c, i)).collect()
}

fn dim(c: &mut Choices<'_>, i: usize) -> Dim {
    match c.below(16) {
        0..=10 => Dim::from(c.pick(&[2i64, 1, 3, 4, 6])),
        11 | 12 => Dim::symbol(Symbol::new(["A", "B", "C"][i % 3], Domain::Range { min: 1, max: Some(8) })),
        13 => Dim::symbol(Symbol::new("D", Domain::OneOf(vec![4, 2]))),
        14 => Dim::unknown(i),
        _ => Dim::from(c.pick(&SIZES)),
    }
}

fn tensor(c: &mut Choices<'_>, g: &mut Graph, param: &ParamDef, dtype: DType, like: &[Dim]) -> Operand {
    let allowed = param.allowed(g.opset()).map_or(&[][..], |a| a.dtypes);
    let dtype = match c.one_in(16) {
        true => c.pick(&[DType::I32, DType::Bool, DType::F16, DType::I8, DType::U8, DType::String]),
        false if allowed.is_empty() || allowed.contains(&dtype) => dtype,
        false => c.pick(allowed),
    };
    let mut shape = like.to_vec();
    match c.below(8) {
        0 if !shape.is_empty() => {
            let at = c.below(shape.len());
            shape[at] = dim(c, at);
        }
        1 => drop(shape.pop()),
        2 => shape.push(dim(c, 0)),
        3 => shape = self::shape(c),
        4 => shape = vec![Dim::from(c.below(6))],
        _ => {}
    }
    let fixed: Option<Vec<usize>> = shape.iter().map(Dim::fixed).collect();
    let count = fixed.as_ref().and_then(|s| s.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
    let needs_constant = param.is_constant(g.opset());
    if let (Some(shape), Some(count @ ..=256)) = (fixed, count)
        && (needs_constant || c.one_in(3))
        && let Some(constant) = filled(c, dtype, shape, count)
    {
        return constant.into();
    }
    g.input("x", TensorType::new(dtype, shape)).into()
}

fn filled(c: &mut Choices<'_>, dtype: DType, shape: Vec<usize>, count: usize) -> Option<Constant> {
    let numbers: Vec<i64> = (0..count).map(|_| number(c)).collect();
    match dtype {
        DType::Bool => Constant::new(shape, &numbers.iter().map(|n| *n != 0).collect::<Vec<_>>()).ok(),
        DType::String => Constant::strings(shape, vec!["valid".into(); count]).ok(),
        DType::F32 => Constant::new(shape, &numbers.iter().map(|n| *n as f32).collect::<Vec<_>>()).ok(),
        DType::F16 => {
            Constant::new(shape, &numbers.iter().map(|n| half::f16::from_f64(*n as f64)).collect::<Vec<_>>()).ok()
        }
        d if d.is_sub_byte() => {
            let (min, max) = d.int_range()?;
            let fit = |n: &i64| (min + i128::from(*n).rem_euclid(max - min + 1)) as i64;
            Constant::integers(d, shape, &numbers.iter().map(fit).collect::<Vec<_>>()).ok()
        }
        d if d.is_int() => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes().into_iter().take(d.bits() / 8)).collect();
            Constant::from_bytes(d, shape, bytes).ok()
        }
        _ => None,
    }
}

fn number(c: &mut Choices<'_>) -> i64 {
    if c.one_in(8) { c.pick(&NUMBERS) } else { c.pick(&[1, 0, 2, -1, 3]) }
}

fn constant(c: &mut Choices<'_>, param: &ParamDef, kind: ParamKind, rank: usize, opset: Opset) -> Option<Constant> {
    let allowed = param.allowed(opset).map_or(&[][..], |a| a.dtypes);
    let dtype = |c: &mut Choices<'_>, otherwise| if allowed.is_empty() { otherwise } else { c.pick(allowed) };
    let count = match c.below(8) {
        0..=3 => rank,
        4 => rank.saturating_sub(2),
        5 => 2 * rank.saturating_sub(2),
        6 => 2 * rank,
        _ => c.below(5),
    };
    match kind {
        ParamKind::Int | ParamKind::Ints => {
            let (dtype, list) = (dtype(c, DType::I32), kind == ParamKind::Ints);
            filled(c, dtype, if list { vec![count] } else { vec![] }, if list { count } else { 1 })
        }
        ParamKind::Bool => Some(Constant::scalar(c.one_in(2))),
        ParamKind::Bools => {
            let bools: Vec<bool> = (0..count).map(|_| c.one_in(2)).collect();
            Some(Constant::vector(&bools))
        }
        ParamKind::Float => {
            let value = c.pick(&[1.0f32, 0.0, 0.5, 2.0, -1.0, 1e30, -1e30, f32::NAN, f32::INFINITY, 1e-30, 3.7]);
            match dtype(c, DType::F32) {
                DType::F16 => Some(Constant::scalar(half::f16::from_f32(value))),
                DType::F32 => Some(Constant::scalar(value)),
                d => filled(c, d, vec![], 1),
            }
        }
        ParamKind::Str => {
            const WORDS: [&str; 24] = [
                "valid",
                "custom",
                "same",
                "same_lower",
                "constant",
                "reflect",
                "replicate",
                "EXACT",
                "TANH_APPROXIMATION",
                "SIGMOID_APPROXIMATION",
                "fp16",
                "fp32",
                "int32",
                "bool",
                "int8",
                "uint16",
                "DEFAULT",
                "ALIGN_CORNERS",
                "STRICT_ALIGN_CORNERS",
                "UNALIGN_CORNERS",
                "OFFSET_CORNERS",
                "nchw,nwhu->nchu",
                "chw,whr->chr",
                "",
            ];
            // The words that a parameter takes stand in its documentation.
            let known: Vec<&str> = WORDS.iter().copied().filter(|w| param.doc.contains(w)).collect();
            let words = if known.is_empty() || c.one_in(4) { &WORDS[..] } else { &known };
            Some(Constant::string(c.pick(words)))
        }
        ParamKind::List if c.one_in(2) => Constant::strings([count], vec!["a".into(); count]).ok(),
        ParamKind::List => Some(Constant::vector(&vec![7i64; count])),
        ParamKind::Tensor | ParamKind::Tensors | ParamKind::Any | ParamKind::Anys => None,
    }
}
