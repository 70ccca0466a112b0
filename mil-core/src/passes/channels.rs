//! Constants along one axis of a tensor, and weights of which each output channel is multiplied.

use half::f16;

use crate::{
    graph::Value,
    ir::{Constant, Element, OpId, ValueId, f16_from_f64},
    mb,
    op::{Arg, OpError, Operand},
    types::DType,
};

use super::Rewriter;

/// The numbers by which a float constant differs along one axis of a tensor of this rank with which it broadcasts, if it is the
/// same along all others; a single number is repeated.
pub(super) fn along(c: &Constant, rank: usize, axis: usize, size: usize) -> Option<Vec<f64>> {
    let missing = rank.checked_sub(c.shape().len())?;
    let fits = |(i, d): (usize, &usize)| *d == 1 || (i + missing == axis && *d == size);
    if !c.shape().iter().enumerate().all(fits) {
        return None;
    }
    let numbers = c.floats()?;
    if numbers.len() == size { Some(numbers) } else { Some(vec![*numbers.first()?; size]) }
}

/// The numbers of a float vector of this many elements.
pub(super) fn vector(c: &Constant, size: usize) -> Option<Vec<f64>> {
    c.floats().filter(|v| c.shape() == [size] && v.len() == size)
}

/// A constant of these numbers, rounded once; `None` if one is not finite then, or the dtype is neither f16 nor f32.
pub(super) fn constant(dtype: DType, shape: &[usize], numbers: impl IntoIterator<Item = f64>) -> Option<Constant> {
    let mut bytes = vec![];
    for v in numbers {
        match dtype {
            DType::F16 => Some(f16_from_f64(v)).filter(|v| v.is_finite())?.put(&mut bytes),
            DType::F32 => Some(v as f32).filter(|v| v.is_finite())?.put(&mut bytes),
            _ => return None,
        }
    }
    Constant::from_bytes(dtype, shape, bytes).ok()
}

/// A float constant whose elements are multiplied, each `run` of them after another by the factor of that run; `None` if an
/// element is not finite then. One pass, one buffer.
pub(super) fn scaled(c: &Constant, run: usize, factor: impl Fn(usize) -> f64) -> Option<Constant> {
    let size = match c.dtype() {
        DType::F16 => 2,
        DType::F32 => 4,
        _ => return None,
    };
    let bytes = c.bytes().filter(|b| run > 0 && b.len() % (run * size) == 0)?;
    let mut out = vec![0; bytes.len()];
    for (i, (from, to)) in bytes.chunks_exact(run * size).zip(out.chunks_exact_mut(run * size)).enumerate() {
        let factor = factor(i);
        let finite = if size == 4 { scale_f32(from, to, factor) } else { scale_f16(from, to, factor) };
        if !finite {
            return None;
        }
    }
    Constant::from_bytes(c.dtype(), c.shape(), out).ok()
}

/// Gives whether all is finite: by the greatest of all bits but the sign, which is found without leaving the loop.
fn scale_f32(from: &[u8], to: &mut [u8], factor: f64) -> bool {
    let mut greatest = 0;
    for (from, to) in from.chunks_exact(4).zip(to.chunks_exact_mut(4)) {
        let v = (f64::from(f32::get(from)) * factor) as f32;
        greatest = greatest.max(v.to_bits() & 0x7fff_ffff);
        to.copy_from_slice(&v.to_le_bytes());
    }
    greatest < f32::INFINITY.to_bits()
}

fn scale_f16(from: &[u8], to: &mut [u8], factor: f64) -> bool {
    let mut greatest = 0;
    for (from, to) in from.chunks_exact(2).zip(to.chunks_exact_mut(2)) {
        let v = f16_from_f64(f16::get(from).to_f64() * factor);
        greatest = greatest.max(v.to_bits() & 0x7fff);
        to.copy_from_slice(&v.to_le_bytes());
    }
    greatest < f16::INFINITY.to_bits()
}

/// A convolution, or a transposed one, that is there for one op alone.
pub(super) struct ConvBefore {
    pub op: OpId,
    weight: Arg,
    transposed: bool,
    groups: usize,
    /// How many output channels there are.
    pub channels: usize,
    /// The bias, if there is one: zeros if not.
    pub bias: Vec<f64>,
}

impl ConvBefore {
    /// The convolution that makes a value for `user` alone, if its bias is a constant.
    pub(super) fn find(rw: &Rewriter, value: ValueId, user: OpId) -> Option<ConvBefore> {
        let op = rw.made_for(value, user)?;
        let (weight, bias, groups, transposed) = match rw.bind::<mb::Conv>(op) {
            Some(conv) => (conv.weight, conv.bias, conv.groups, false),
            None => {
                let conv = rw.bind::<mb::ConvTranspose>(op)?;
                (conv.weight, conv.bias, conv.groups, true)
            }
        };
        let groups = usize::try_from(groups).ok()?;
        let channels = if transposed { weight.dim(1).fixed()?.checked_mul(groups)? } else { weight.dim(0).fixed()? };
        let bias = match &bias {
            Some(bias) => vector(bias.constant()?, channels)?,
            None => vec![0.0; channels],
        };
        Some(ConvBefore { op, weight, transposed, groups, channels, bias })
    }

    /// How many dimensions its output has.
    pub(super) fn rank(&self) -> usize {
        self.weight.rank()
    }

    /// The same convolution at the place of `at`, with each output channel's weights multiplied by a number and another bias;
    /// `None` if the weight must change and is no constant, or what is computed is not finite in its dtype.
    ///
    /// # Errors
    /// If the op cannot be made, which would be a bug.
    pub(super) fn remade(
        &self,
        rw: &mut Rewriter,
        at: OpId,
        scale: impl Fn(usize) -> f64,
        bias: &[f64],
    ) -> Result<Option<Value>, OpError> {
        let Some(bias) = constant(self.weight.dtype(), &[self.channels], bias.iter().copied()) else { return Ok(None) };
        let mut operands = rw.operands(self.op);
        if !(0..self.channels).all(|c| scale(c) == 1.0) {
            let weight = rw.stored(self.weight.id, self.weight.constant());
            let Some(weight) = weight.and_then(|w| self.scaled(&w, scale)) else { return Ok(None) };
            operands.retain(|(param, _)| *param != "weight");
            operands.push(("weight", Operand::Constant(weight)));
        }
        operands.retain(|(param, _)| *param != "bias");
        operands.push(("bias", Operand::Constant(bias)));
        let def = rw.op(self.op).def;
        Ok(Some(rw.before(at).push_op(def, operands, None)?.remove(0)))
    }

    fn scaled(&self, weight: &Constant, scale: impl Fn(usize) -> f64) -> Option<Constant> {
        let [first, second, kernel @ ..] = weight.shape() else { return None };
        let kernel: usize = kernel.iter().product();
        if !self.transposed {
            // [C_out, C_in / groups, *K]
            return scaled(weight, second.checked_mul(kernel)?, scale);
        }
        // [C_in, C_out / groups, *K]: the input channels of a group make the output channels of that group.
        let per_group = (first / self.groups).max(1);
        scaled(weight, kernel, |row| scale((row / second / per_group) * second + row % second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_along_an_axis() {
        let c = |shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            Constant::new(shape, &(0..count).map(|i| i as f32).collect::<Vec<_>>()).unwrap()
        };
        let counted = Some(vec![0.0, 1.0, 2.0]);
        assert_eq!(along(&c(&[3, 1, 1]), 4, 1, 3), counted);
        assert_eq!(along(&c(&[1, 3, 1, 1]), 4, 1, 3), counted);
        assert_eq!(along(&c(&[3]), 4, 3, 3), counted);
        assert_eq!(along(&c(&[]), 4, 1, 2), Some(vec![0.0; 2]));
        assert_eq!(along(&c(&[1, 1]), 4, 1, 2), Some(vec![0.0; 2]));
        for (shape, rank, axis) in [(&[3, 1][..], 4, 1), (&[3], 4, 1), (&[3, 1, 1, 1], 4, 1), (&[1, 3, 1, 1], 3, 0)] {
            assert_eq!(along(&c(shape), rank, axis, 3), None, "{shape:?}");
        }
        assert_eq!(along(&Constant::vector(&[1i32, 2]), 2, 1, 2), None);
    }

    #[test]
    fn runs_are_multiplied_and_what_overflows_is_refused() {
        let c = Constant::new([2, 2], &[1f32, 2.0, 3.0, 4.0]).unwrap();
        let twice = scaled(&c, 2, |i| [2.0, -1.0][i]).unwrap();
        assert_eq!(twice.elements::<f32>().unwrap(), [2.0, 4.0, -3.0, -4.0]);
        assert_eq!(scaled(&c, 2, |_| 1e38), None);
        assert_eq!(scaled(&c, 0, |_| 1.0), None);
        let c = Constant::vector(&[f16::from_f32(2.0), f16::from_f32(-60000.0)]);
        assert_eq!(scaled(&c, 2, |_| 0.5).unwrap().floats().unwrap(), [1.0, -30000.0]);
        assert_eq!(scaled(&c, 2, |_| 2.0), None);
        assert_eq!(constant(DType::F16, &[1], [70000.0]), None);
    }
}
