//! `quantize`, `dequantize`.

use mil_core::{
    op::Arg,
    ops::quantize::{Dequantize, Quantize},
};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, actual_of, output_shape},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Quantize>(), KernelDef::of::<Dequantize>()];

/// The numbers of `zero_point`; as many zeros as there are scales if there is none.
fn zeros(arg: &Option<Arg>, count: usize, cx: &Cx<'_>) -> Result<Vec<f32>, RunError> {
    match arg {
        Some(arg) => Ok(cx.get(arg)?.to_f32()?.into_owned()),
        None => Ok(vec![0.0; count]),
    }
}

impl Kernel for Quantize {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, scale) = (cx.get(&self.input)?, cx.get(&self.scale)?);
        // Not known: the rule would fold it.
        let input = Arg { known: None, ..actual(&self.input, &x) };
        let op = Quantize {
            input,
            scale: actual(&self.scale, &scale),
            zero_point: actual_of(&self.zero_point, cx)?,
            ..self.clone()
        };
        let shape = output_shape(&op)?;
        let (numbers, scale) = (x.to_f32()?, scale.to_f32()?);
        let zero_point = zeros(&self.zero_point, scale.len(), cx)?;
        let group = op.groups(&shape)?;
        let one = |(i, x): (usize, &f32)| op.number(*x, scale[group(i)], zero_point[group(i)]);
        let values = numbers.iter().enumerate().map(one).collect();
        Ok(vec![AnyTensor::from_i64(self.output_dtype, shape.clone(), values)?])
    }
}

impl Kernel for Dequantize {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, scale) = (cx.get(&self.input)?, cx.get(&self.scale)?);
        let op = Dequantize {
            input: actual(&self.input, &x),
            scale: actual(&self.scale, &scale),
            zero_point: actual_of(&self.zero_point, cx)?,
            ..self.clone()
        };
        let shape = output_shape(&op)?;
        let (numbers, scales) = (x.to_f32()?, scale.to_f32()?);
        let zero_point = zeros(&self.zero_point, scales.len(), cx)?;
        let group = op.groups(&shape)?;
        let one = |(i, x): (usize, &f32)| (x - zero_point[group(i)]) * scales[group(i)];
        let values = numbers.iter().enumerate().map(one).collect();
        floats(scale.dtype(), shape.clone(), values)
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{ir::Constant, mb};

    use crate::{
        cpu::reference::testing::{close, run},
        tensor::AnyTensor,
    };

    #[test]
    fn ties_go_to_even_and_what_does_not_fit_is_clipped() {
        let x = [0.25, 0.75, 1.25, -0.25, -0.75, 1e30, f32::NEG_INFINITY, f32::NAN];
        let out = run(|g| mb::quantize(g.f32(&[8], &x), 0.5, "int8"));
        assert_eq!(out, [AnyTensor::new([8], vec![0i8, 2, 2, 0, -2, 127, -128, 0]).unwrap()]);
        let out = run(|g| mb::quantize(g.f32(&[8], &x), 0.5, "uint8").zero_point(Constant::scalar(10u8)));
        assert_eq!(out, [AnyTensor::new([8], vec![10u8, 12, 12, 10, 8, 255, 0, 0]).unwrap()]);
    }

    #[test]
    fn scales_run_along_an_axis() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let (scale, zero) = (Constant::vector(&[1f32, 0.1]), Constant::vector(&[-1i8, 3]));
        let out = run(|g| mb::quantize(g.f32(&[2, 2, 2], &x), scale.clone(), "int8").axis(1).zero_point(zero.clone()));
        assert_eq!(out, [AnyTensor::new([2, 2, 2], vec![0i8, 1, 33, 43, 4, 5, 73, 83]).unwrap()]);
        let x = AnyTensor::new([2, 2, 2], vec![0i8, 1, 33, 43, 4, 5, 73, 83]).unwrap();
        let out = run(|g| mb::dequantize(g.input(x), scale).axis(-2).zero_point(zero));
        close(&out, &[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 1e-6);
    }

    #[test]
    fn halves() {
        // 1537 / 1025 is just below 1.5, but 1.5 in f16, which goes to 2.
        let x = AnyTensor::new([2], [1537.0 / 1024.0, 100.0].map(f16::from_f32).to_vec()).unwrap();
        let scale = Constant::scalar(f16::from_f32(1025.0 / 1024.0));
        let out = run(|g| mb::quantize(g.input(x), scale, "int8"));
        assert_eq!(out, [AnyTensor::new([2], vec![2i8, 100]).unwrap()]);
        let x = AnyTensor::new([2], vec![255u8, 1]).unwrap();
        let scale = f16::from_f32(0.1);
        let out = run(|g| mb::dequantize(g.input(x), Constant::scalar(scale)));
        let expected = [255.0, 1.0].map(|v| f16::from_f32(v * scale.to_f32())).to_vec();
        assert_eq!(out, [AnyTensor::new([2], expected).unwrap()]);
    }
}
