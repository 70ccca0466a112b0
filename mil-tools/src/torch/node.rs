//! What a lowering sees of a node: its arguments and the builder.

use std::ops::{Deref, DerefMut};

use mil_core::{graph::Value, mb, types::DType};

use super::{
    graph::{Arg, Node as GraphNode, Output},
    importer::Importer,
    val::{self, Val},
};
use crate::import::{Lowering, Refusal, Size, Tensor, carrier};

/// What a lowering gives: the node's outputs, as many as it can; of those beyond, the ones that are used are refused.
pub(super) type Lowered = Result<Vec<Val>, Refusal>;

/// A node that is being lowered. It is also the builder.
///
/// Arguments are found by the name that the op's schema gives them, or by their place in it: TorchScript has no names.
/// `self|input` is for ops whose schemas differ in nothing else.
pub(super) struct Node<'n, 'g> {
    pub(super) importer: &'n mut Importer<'g>,
    pub(super) node: &'g GraphNode,
}

impl Deref for Node<'_, '_> {
    type Target = Lowering;
    fn deref(&self) -> &Lowering {
        &self.importer.l
    }
}

impl DerefMut for Node<'_, '_> {
    fn deref_mut(&mut self) -> &mut Lowering {
        &mut self.importer.l
    }
}

impl<'g> Node<'_, 'g> {
    /// The op's name without namespace and without the `_` of those that write to their first argument.
    pub(super) fn op(&self) -> &'g str {
        let name = self.node.op.rsplit("::").next().unwrap_or("");
        if super::aliases::in_place(&self.node.op) { name.trim_end_matches('_') } else { name }
    }

    /// The overload, if the file says it.
    pub(super) fn overload(&self) -> &'g str {
        &self.node.overload
    }

    /// How many arguments stand here.
    pub(super) fn len(&self) -> usize {
        self.node.args.len()
    }

    fn find(&self, i: usize, names: &str) -> Option<&'g Arg> {
        let named = |(name, _): &&(Option<String>, Arg)| {
            name.as_ref().is_some_and(|given| names.split('|').any(|n| n == given))
        };
        let node = self.node;
        let found = node.args.iter().find(named).or_else(|| node.args.get(i).filter(|(name, _)| name.is_none()));
        found.map(|(_, arg)| arg).filter(|arg| !matches!(arg, Arg::None))
    }

    /// Whether the argument is there, and not `None`.
    pub(super) fn has(&self, i: usize, name: &str) -> bool {
        self.find(i, name).is_some()
    }

    /// Whether an argument stands under this name.
    pub(super) fn named(&self, name: &str) -> bool {
        self.node.args.iter().any(|(n, _)| n.as_deref() == Some(name))
    }

    /// How many arguments stand by position or under these names; `None` where the last four of many may be
    /// those that belong to a dtype, since the file names none.
    pub(super) fn count_of(&self, names: &[&str]) -> Option<usize> {
        let counts = |name: &Option<String>| name.as_ref().is_none_or(|n| names.contains(&&n[..]));
        let bare = self.node.overload.is_empty() && self.node.args.iter().all(|(name, _)| name.is_none());
        (!bare || self.node.args.len() <= 4).then(|| self.node.args.iter().filter(|(name, _)| counts(name)).count())
    }

    /// Whether the output is read.
    pub(super) fn uses(&self, i: usize) -> bool {
        match self.node.outputs.get(i) {
            Some(Output::One(name)) => self.importer.is_used(name),
            Some(Output::List(names)) => names.iter().any(|n| self.importer.is_used(n)),
            None => false,
        }
    }

    /// An argument, [`Val::None`] if it is left out.
    pub(super) fn val(&mut self, i: usize, name: &str) -> Result<Val, Refusal> {
        let Some(arg) = self.find(i, name) else { return Ok(Val::None) };
        let val = self.importer.arg(arg)?;
        self.rename();
        Ok(val)
    }

    /// What is pushed is named after the node's output again.
    fn rename(&mut self) {
        let name = super::aliases::outputs(self.node).first().copied().unwrap_or("");
        self.importer.l.set_name(name);
    }

    fn wrong(&self, name: &str, val: &Val, wanted: &str) -> Refusal {
        let first = name.split('|').next().unwrap_or(name);
        match val {
            Val::None => Refusal::new(format!("its argument `{first}` is missing")),
            val => Refusal::new(format!("its argument `{first}` is {}, not {wanted}", val.kind())),
        }
    }

    /// A tensor; numbers become tensors of rank 0.
    pub(super) fn tensor(&mut self, i: usize, name: &str) -> Result<Tensor, Refusal> {
        match self.val(i, name)? {
            val @ (Val::None | Val::Str(_) | Val::DType(_)) => Err(self.wrong(name, &val, "a tensor")),
            val => self.as_tensor(&val),
        }
    }

    /// A tensor that may be left out.
    pub(super) fn optional(&mut self, i: usize, name: &str) -> Result<Option<Tensor>, Refusal> {
        if self.has(i, name) { self.tensor(i, name).map(Some) } else { Ok(None) }
    }

    /// A list of tensors.
    pub(super) fn tensors(&mut self, i: usize, name: &str) -> Result<Vec<Tensor>, Refusal> {
        match self.val(i, name)? {
            Val::List(items) => items.iter().map(|v| self.as_tensor(v)).collect(),
            val if val.is_tensor() => Ok(vec![self.as_tensor(&val)?]),
            val => Err(self.wrong(name, &val, "a list of tensors")),
        }
    }

    /// A tensor, or a number as a tensor of rank 0.
    pub(super) fn as_tensor(&mut self, val: &Val) -> Result<Tensor, Refusal> {
        self.importer.as_tensor(val)
    }

    /// A size: an integer that may be computed.
    pub(super) fn size_of(&mut self, val: &Val) -> Result<Option<Size>, Refusal> {
        Ok(match val {
            Val::Int(size) => Some(size.clone()),
            Val::Bool(b) => Some(Size::Fixed(i64::from(*b))),
            Val::Float(x) if x.fract() == 0.0 => Some(Size::Fixed(*x as i64)),
            Val::Tensor(t) if t.value.shape().is_some_and(|s| s.fixed().is_some_and(|s| s.iter().all(|n| *n == 1))) => {
                match t.ints().as_deref() {
                    Some([one]) => Some(Size::Fixed(*one)),
                    _ => {
                        let v = self.cast(&t.value, DType::I32)?;
                        Some(Size::Value(self.reshape(&v, &[Size::Fixed(1)])?))
                    }
                }
            }
            _ => None,
        })
    }

    /// An integer that may be computed.
    pub(super) fn dim(&mut self, i: usize, name: &str) -> Result<Size, Refusal> {
        let val = self.val(i, name)?;
        self.size_of(&val)?.ok_or_else(|| self.wrong(name, &val, "an integer"))
    }

    /// Integers that may be computed; one integer is a list of one. `None` if they are left out.
    pub(super) fn dims(&mut self, i: usize, name: &str) -> Result<Option<Vec<Size>>, Refusal> {
        let val = self.val(i, name)?;
        match &val {
            Val::None => Ok(None),
            Val::List(items) => {
                let mut sizes = vec![];
                for item in items {
                    sizes.push(self.size_of(item)?.ok_or_else(|| self.wrong(name, item, "an integer"))?);
                }
                Ok(Some(sizes))
            }
            Val::Tensor(t) if t.rank() == 1 => {
                let ints = t.ints().ok_or_else(|| self.unknown(name))?;
                Ok(Some(ints.into_iter().map(Size::Fixed).collect()))
            }
            _ => Ok(Some(vec![self.size_of(&val)?.ok_or_else(|| self.wrong(name, &val, "a list of integers"))?])),
        }
    }

    /// Refuses what is computed but must be known.
    pub(super) fn unknown(&self, name: &str) -> Refusal {
        let first = name.split('|').next().unwrap_or(name);
        Refusal::new(format!(
            "MIL wants to know its argument `{first}` beforehand, but it is computed when the model runs"
        ))
        .remedy("convert with fixed shapes (`--input NAME=1,3,224,224`), or make it a constant in the module")
    }

    /// A number that MIL's integers can be, so that sums and products of two of them are ones of 64 bits.
    fn within(&self, size: Size, name: &str) -> Result<i64, Refusal> {
        let first = name.split('|').next().unwrap_or(name);
        match size {
            Size::Fixed(n) if i32::try_from(n).is_ok() => Ok(n),
            Size::Fixed(n) => {
                Err(Refusal::new(format!("its argument `{first}` is {n}, and MIL's integers have 32 bits")))
            }
            Size::Value(_) => Err(self.unknown(name)),
        }
    }

    /// An integer that is known.
    pub(super) fn int(&mut self, i: usize, name: &str) -> Result<i64, Refusal> {
        let size = self.dim(i, name)?;
        self.within(size, name)
    }

    /// An integer that is known, or what stands for it if it is left out.
    pub(super) fn int_or(&mut self, i: usize, name: &str, default: i64) -> Result<i64, Refusal> {
        if self.has(i, name) { self.int(i, name) } else { Ok(default) }
    }

    /// Integers that are known; one integer is a list of one.
    pub(super) fn ints(&mut self, i: usize, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        let Some(sizes) = self.dims(i, name)? else { return Ok(None) };
        sizes.into_iter().map(|s| self.within(s, name)).collect::<Result<_, _>>().map(Some)
    }

    /// As many integers as there are spatial dimensions, none of them negative; one stands for all.
    pub(super) fn spatial(&mut self, i: usize, name: &str, count: usize, default: i64) -> Result<Vec<i64>, Refusal> {
        let list = self.ints(i, name)?;
        if let Some(n) = list.iter().flatten().find(|n| **n < 0) {
            return Err(Refusal::new(format!("its argument `{name}` is {n}")));
        }
        match list {
            None => Ok(vec![default; count]),
            Some(list) if list.is_empty() => Ok(vec![default; count]),
            Some(list) if list.len() == 1 => Ok(vec![list[0]; count]),
            Some(list) if list.len() == count => Ok(list),
            Some(list) => Err(Refusal::new(format!("its argument `{name}` has {} numbers, not {count}", list.len()))),
        }
    }

    /// A number that is known; `None` if it is left out.
    pub(super) fn float(&mut self, i: usize, name: &str) -> Result<Option<f64>, Refusal> {
        match self.val(i, name)? {
            Val::None => Ok(None),
            val => match val.number() {
                Some(x) => Ok(Some(x)),
                None if matches!(val, Val::Int(_) | Val::Tensor(_)) => Err(self.unknown(name)),
                None => Err(self.wrong(name, &val, "a number")),
            },
        }
    }

    /// A number that is known, or what stands for it if it is left out.
    pub(super) fn float_or(&mut self, i: usize, name: &str, default: f64) -> Result<f64, Refusal> {
        Ok(self.float(i, name)?.unwrap_or(default))
    }

    /// A truth value, or what stands for it if it is left out.
    pub(super) fn bool_or(&mut self, i: usize, name: &str, default: bool) -> Result<bool, Refusal> {
        Ok(self.float(i, name)?.map_or(default, |x| x != 0.0))
    }

    /// Text; `None` if it is left out.
    pub(super) fn text(&mut self, i: usize, name: &str) -> Result<Option<String>, Refusal> {
        match self.val(i, name)? {
            Val::None => Ok(None),
            Val::Str(s) => Ok(Some(s)),
            val => Err(self.wrong(name, &val, "text")),
        }
    }

    /// A dtype, or TorchScript's number of one; `None` if it is left out.
    pub(super) fn dtype(&mut self, i: usize, name: &str) -> Result<Option<DType>, Refusal> {
        match self.val(i, name)? {
            Val::None => Ok(None),
            Val::DType(d) => Ok(Some(d)),
            Val::Int(Size::Fixed(n)) => {
                let message = || Refusal::new(format!("its dtype is PyTorch's number {n}, which MIL does not have"));
                val::scalar_type(n).map(Some).ok_or_else(message)
            }
            val => Err(self.wrong(name, &val, "a dtype")),
        }
    }

    /// The tensor in a dtype of floats: integers and bools become `f32`.
    pub(super) fn floats(&mut self, x: &Tensor) -> Result<Tensor, Refusal> {
        if x.dtype.is_float() { Ok(x.clone()) } else { self.convert(x, DType::F32) }
    }

    /// A tensor of floats; integers and bools become `f32`.
    pub(super) fn float_tensor(&mut self, i: usize, name: &str) -> Result<Tensor, Refusal> {
        let x = self.tensor(i, name)?;
        self.floats(&x)
    }

    /// A list of `i32`.
    pub(super) fn list(&mut self, values: &[i64]) -> Result<Value, Refusal> {
        self.importer.l.ints(values)
    }

    /// The number as a constant of rank 0 in the dtype that carries this one.
    pub(super) fn number_of(&mut self, dtype: DType, number: f64) -> Result<Value, Refusal> {
        let (carried, number) = in_range(dtype, number)?;
        self.number(carried, number)
    }

    /// A tensor of one number everywhere.
    pub(super) fn filled_with(&mut self, sizes: &[Size], dtype: DType, number: f64) -> Result<Value, Refusal> {
        let (carried, number) = in_range(dtype, number)?;
        self.filled(sizes, carried, number)
    }

    /// An operand in this dtype: a number becomes a constant of it at once.
    pub(super) fn operand(&mut self, val: &Val, dtype: DType) -> Result<Value, Refusal> {
        if val.is_number()
            && let Some(number) = val.number()
        {
            let whole = if dtype.is_int() { number.trunc() } else { number };
            return self.number_of(dtype, whole);
        }
        let t = self.as_tensor(val)?;
        Ok(self.convert(&t, dtype)?.value)
    }

    /// Whether elements are not 0.
    pub(super) fn truth(&mut self, x: &Tensor) -> Result<Value, Refusal> {
        if x.dtype == DType::Bool {
            return Ok(x.value.clone());
        }
        let zero = self.number_of(x.dtype, 0.0)?;
        self.push(mb::not_equal(&x.value, &zero))
    }

    /// One output, of this dtype in the model.
    pub(super) fn one(&self, value: Value, dtype: DType) -> Lowered {
        Ok(vec![Val::Tensor(Tensor::new(value, dtype))])
    }
}

/// The dtype that carries this one, and the number of it that is nearest.
fn in_range(dtype: DType, number: f64) -> Result<(DType, f64), Refusal> {
    let carried = carrier(dtype).ok_or_else(|| Refusal::new(format!("MIL has no values of {dtype}")))?;
    let number = match carried {
        DType::I32 => number.clamp(f64::from(i32::MIN), f64::from(i32::MAX)),
        DType::F16 if number.is_finite() => number.clamp(-65504.0, 65504.0),
        DType::F32 if number.is_finite() => number.clamp(f64::from(f32::MIN), f64::from(f32::MAX)),
        _ => number,
    };
    Ok((carried, number))
}
