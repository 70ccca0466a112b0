//! Tensors made from nothing.

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Dim},
};

use super::{Entry, Lowered, Node};
use crate::{
    import::{Refusal, Size, Tensor, table},
    torch::val::{Val, result_type},
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::arange", arange),
    Entry::new("aten::bernoulli", bernoulli),
    Entry::new("aten::empty", |n| made(n, Some(0.0), 0)),
    Entry::new("aten::empty_like", |n| like(n, Some(0.0), 0)),
    Entry::new("aten::empty_permuted", |n| made(n, Some(0.0), 1)),
    Entry::new("aten::empty_strided", |n| made(n, Some(0.0), 1)),
    Entry::new("aten::eye", eye).but("of a known size"),
    Entry::new("aten::full", |n| made(n, None, 1)),
    Entry::new("aten::full_like", |n| like(n, None, 1)),
    Entry::new("aten::linspace", linspace).but("of known numbers"),
    Entry::new("aten::new_empty", |n| made_new(n, Some(0.0))),
    Entry::new("aten::new_full", |n| made_new(n, None)),
    Entry::new("aten::new_ones", |n| made_new(n, Some(1.0))),
    Entry::new("aten::new_zeros", |n| made_new(n, Some(0.0))),
    Entry::new("aten::ones", |n| made(n, Some(1.0), 0)),
    Entry::new("aten::ones_like", |n| like(n, Some(1.0), 0)),
    Entry::new("aten::rand", |n| random(n, false)),
    Entry::new("aten::rand_like", |n| random(n, false)),
    Entry::new("aten::randn", |n| random(n, true)),
    Entry::new("aten::randn_like", |n| random(n, true)),
    Entry::new("aten::scalar_tensor", |n| {
        let value = n.val(0, "s")?;
        let dtype = n.dtype(1, "dtype")?.unwrap_or_else(|| result_type(&[&value]));
        let value = n.operand(&value, dtype)?;
        n.one(value, dtype)
    }),
    Entry::new("aten::tril", |n| triangle(n, true)),
    Entry::new("aten::triu", |n| triangle(n, false)),
    Entry::new("aten::zeros", |n| made(n, Some(0.0), 0)),
    Entry::new("aten::zeros_like", |n| like(n, Some(0.0), 0)),
];

/// The dtype among the arguments: it is the only one in TorchScript's positions that may be a number of a dtype.
fn dtype_at(n: &mut Node<'_, '_>, at: usize, default: DType) -> Result<DType, Refusal> {
    Ok(n.dtype(at, "dtype")?.unwrap_or(default))
}

/// `zeros(size, dtype)`, `full(size, value, dtype)`: `skip` arguments stand before the dtype.
fn made(n: &mut Node<'_, '_>, value: Option<f64>, skip: usize) -> Lowered {
    let sizes = n.dims(0, "size")?.unwrap_or_default();
    let (value, natural) = number(n, value, 1)?;
    let dtype = dtype_at(n, 1 + skip, natural)?;
    let y = fill_with(n, &sizes, dtype, &value)?;
    n.one(y, dtype)
}

/// The number, which stands at `at` if it is not said, and its own dtype.
fn number(n: &mut Node<'_, '_>, value: Option<f64>, at: usize) -> Result<(Val, DType), Refusal> {
    Ok(match value {
        Some(x) => (Val::Float(x), DType::F32),
        None => {
            let val = n.val(at, "fill_value")?;
            let dtype = result_type(&[&val]);
            (val, dtype)
        }
    })
}

fn fill_with(n: &mut Node<'_, '_>, sizes: &[Size], dtype: DType, value: &Val) -> Result<Value, Refusal> {
    match value.number() {
        Some(x) => n.filled_with(sizes, dtype, x),
        None => {
            let one = n.operand(value, dtype)?;
            n.broadcast_to(&one, sizes)
        }
    }
}

/// As large as another tensor, and of its dtype if nothing else is said.
fn like(n: &mut Node<'_, '_>, value: Option<f64>, skip: usize) -> Lowered {
    let x = n.tensor(0, "self")?;
    let (value, _) = number(n, value, 1)?;
    let dtype = dtype_at(n, 1 + skip, x.dtype)?;
    let sizes = n.sizes(&x.value)?;
    let y = fill_with(n, &sizes, dtype, &value)?;
    n.one(y, dtype)
}

fn made_new(n: &mut Node<'_, '_>, value: Option<f64>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let sizes = n.dims(1, "size")?.unwrap_or_default();
    let at = if value.is_none() { 3 } else { 2 };
    let (value, _) = number(n, value, 2)?;
    let dtype = dtype_at(n, at, x.dtype)?;
    let y = fill_with(n, &sizes, dtype, &value)?;
    n.one(y, dtype)
}

/// Numbers from a start to before an end. TorchScript tells the overloads apart by how many arguments there are; four of
/// them stand for the dtype and what belongs to it.
fn arange(n: &mut Node<'_, '_>) -> Lowered {
    let numbers = n.count_of(&["start", "end", "step"]).unwrap_or_else(|| n.len().saturating_sub(4)).clamp(1, 3);
    let (start, end, step) = match numbers {
        1 => (Val::Int(Size::Fixed(0)), n.val(0, "end")?, Val::None),
        2 => (n.val(0, "start")?, n.val(1, "end")?, Val::None),
        _ => (n.val(0, "start")?, n.val(1, "end")?, n.val(2, "step")?),
    };
    let start = if matches!(start, Val::None) { Val::Int(Size::Fixed(0)) } else { start };
    let step = if step.is_number() { step } else { Val::Int(Size::Fixed(1)) };
    let natural = if result_type(&[&start, &end, &step]).is_float() { DType::F32 } else { DType::I64 };
    let dtype = dtype_at(n, numbers, natural)?;
    if let (Some(a), Some(b), Some(s)) = (start.number(), end.number(), step.number()) {
        if s == 0.0 {
            return Err(Refusal::new("goes in steps of 0"));
        }
        let count = ((b - a) / s).ceil().max(0.0);
        let count = table(&[count as i64])?;
        let all: Vec<f64> = (0..count).map(|i| a + i as f64 * s).collect();
        return list(n, &all, dtype);
    }
    let (a, b, s) = (n.operand(&start, dtype)?, n.operand(&end, dtype)?, n.operand(&step, dtype)?);
    let y = n.push(mb::range_1d(&b, &a, &s))?;
    n.one(y, dtype)
}

/// A list of numbers in a dtype of the model.
fn list(n: &mut Node<'_, '_>, all: &[f64], dtype: DType) -> Lowered {
    let constant = if dtype.is_float() {
        Constant::vector(&all.iter().map(|x| *x as f32).collect::<Vec<_>>())
    } else {
        Constant::vector(&all.iter().map(|x| *x as i64).collect::<Vec<_>>())
    };
    let t = n.materialize(&constant)?;
    Ok(vec![n.convert(&t, dtype)?.into()])
}

fn linspace(n: &mut Node<'_, '_>) -> Lowered {
    let (start, end) = (n.float_or(0, "start", 0.0)?, n.float_or(1, "end", 0.0)?);
    let steps = n.int(2, "steps")?;
    let dtype = dtype_at(n, 3, DType::F32)?;
    if steps < 1 {
        return Err(Refusal::new("its result is empty"));
    }
    table(&[steps])?;
    let step = if steps > 1 { (end - start) / (steps - 1) as f64 } else { 0.0 };
    // From both ends, as PyTorch counts.
    let at = |i: i64| {
        if i < steps / 2 || steps == 1 { start + step * i as f64 } else { end - step * (steps - 1 - i) as f64 }
    };
    list(n, &(0..steps).map(at).collect::<Vec<_>>(), dtype)
}

fn eye(n: &mut Node<'_, '_>) -> Lowered {
    let rows = n.int(0, "n")?;
    // `eye(n, m, dtype, layout, device, pin_memory)` and the same without `m`.
    let wide = n.named("m") || n.overload() == "m" || n.len() == 6;
    let columns = if wide { n.int(1, "m")? } else { rows };
    let dtype = dtype_at(n, if wide { 2 } else { 1 }, DType::F32)?;
    if rows < 1 || columns < 1 {
        return Err(Refusal::new(format!("has {rows} rows and {columns} columns")));
    }
    table(&[rows, columns])?;
    let all: Vec<f32> = (0..rows * columns).map(|i| if i / columns == i % columns { 1.0 } else { 0.0 }).collect();
    let t = n.materialize(&Constant::new([rows as usize, columns as usize], &all)?)?;
    Ok(vec![n.convert(&t, dtype)?.into()])
}

fn random(n: &mut Node<'_, '_>, normal: bool) -> Lowered {
    let first = n.val(0, "size|self")?;
    let (sizes, natural) = match &first {
        Val::List(_) => (n.dims(0, "size")?.unwrap_or_default(), DType::F32),
        val => {
            let x = n.as_tensor(val)?;
            (n.sizes(&x.value)?, x.dtype)
        }
    };
    let dtype = dtype_at(n, 1, natural)?;
    n.warn("the model draws numbers by chance: they differ from PyTorch's".into());
    let shape = n.shape_of_sizes(&sizes)?;
    let y = if normal { n.push(mb::random_normal(shape))? } else { n.push(mb::random_uniform(shape))? };
    let y = n.convert(&Tensor::new(y, DType::F32), dtype)?;
    Ok(vec![y.into()])
}

/// 1 as often as the number at the place says.
fn bernoulli(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let sizes = n.sizes(&x.value)?;
    let p = match n.val(1, "p")? {
        val if val.is_number() || val.is_tensor() => n.operand(&val, DType::F32)?,
        _ => n.convert(&x, DType::F32)?.value,
    };
    n.warn("the model draws numbers by chance: they differ from PyTorch's".into());
    let shape = n.shape_of_sizes(&sizes)?;
    let drawn = n.push(mb::random_uniform(shape))?;
    let y = n.push(mb::less(&drawn, &p))?;
    let y = n.convert(&Tensor::new(y, DType::Bool), x.dtype)?;
    Ok(vec![y.into()])
}

/// The part below (or above) a diagonal; the rest is 0.
fn triangle(n: &mut Node<'_, '_>, lower: bool) -> Lowered {
    let x = n.tensor(0, "self")?;
    let diagonal = n.int_or(1, "diagonal", 0)?;
    if x.rank() < 2 {
        return Err(Refusal::new("is of matrices"));
    }
    // MIL's bands hold the main diagonal.
    let y = match (lower, diagonal) {
        (true, d) if d >= 0 => Some(n.push(mb::band_part(&x.value).lower(-1).upper(d))?),
        (false, d) if d <= 0 => Some(n.push(mb::band_part(&x.value).lower(-d).upper(-1))?),
        _ => None,
    };
    if let Some(y) = y {
        return n.one(y, x.dtype);
    }
    let (rows, columns) = (x.rank() - 2, x.rank() - 1);
    let size = |axis: usize| x.dims().get(axis).and_then(Dim::fixed);
    let keep = |r: i64, c: i64| if lower { c - r <= diagonal } else { c - r >= diagonal };
    let mask = if let (Some(r), Some(c)) = (size(rows), size(columns)) {
        let all: Vec<bool> = (0..table(&[r as i64, c as i64])?).map(|i| keep((i / c) as i64, (i % c) as i64)).collect();
        n.constant(Constant::new([r, c], &all)?)
    } else {
        // What is kept is what is outside of the band on the other side.
        let sizes = [n.size(&x.value, rows)?, n.size(&x.value, columns)?];
        let ones = n.filled_with(&sizes, DType::Bool, 1.0)?;
        let band = if lower {
            mb::band_part(&ones).lower(-diagonal - 1).upper(-1)
        } else {
            mb::band_part(&ones).lower(-1).upper(diagonal - 1)
        };
        let band = n.push(band)?;
        n.push(mb::logical_not(&band))?
    };
    let zero = n.number_of(x.dtype, 0.0)?;
    let y = n.push(mb::select(&mask, &x.value, &zero))?;
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use mil_core::types::DType;

    use crate::torch::testing::Net;

    #[test]
    fn ranges_that_are_known_are_constants() {
        let net = Net::new().input_of(DType::I64, "x", &[3]).node("r = aten::arange(0, 3, 1)");
        assert_eq!(net.node("y = aten::add(x, r, 1)").form("y"), ["add(x=x, y=[0, 1, 2])"]);
        for (call, message) in [
            ("arange(0, 3, 0)", "goes in steps of 0"),
            ("arange(0, 1000000000, 1)", "a table of sizes [1000000000] worked out beforehand, which is too large"),
            ("linspace(0, 1, 0)", "its result is empty"),
            ("linspace(0, 1, 1000000000)", "too large"),
            ("eye(-1)", "has -1 rows"),
            ("eye(100000)", "too large"),
        ] {
            let e = Net::new().node(&format!("y = aten::{call}")).refusal("y");
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}
