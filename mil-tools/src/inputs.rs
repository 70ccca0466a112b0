//! What a model is run on: tensors of a file, or made up.

use std::path::Path;

use mil_core::{ir::feature::ColorSpace, weights::SafeTensors};
use mil_runtime::{AnyTensor, InputInfo, tensor::checked_count};

use crate::ToolError;

/// The tensors of a `.safetensors` file.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, AnyTensor)>, ToolError> {
    let file = SafeTensors::open(path)?;
    let mut given = Vec::with_capacity(file.len());
    for name in file.names() {
        let about = |what: String| ToolError::new(format!("`{}`: tensor `{name}` {what}", path.display()));
        let Some(entry) = file.get(name) else { continue };
        let dtype = entry.dtype.dtype();
        let dtype = dtype.ok_or_else(|| about(format!("is of {}, which cannot be computed with", entry.dtype)))?;
        let tensor = AnyTensor::from_bytes(dtype, entry.shape, entry.bytes);
        given.push((name.to_string(), tensor.map_err(|e| about(format!("cannot be used: {e}")))?));
    }
    Ok(given)
}

/// A tensor of this shape for an input: normally distributed numbers, the same for the same seed; pixels for an image; zeros for
/// integers, which may be indices.
pub(crate) fn made_up(info: &InputInfo, shape: &[usize], seed: u64) -> Result<AnyTensor, ToolError> {
    let fail = |e: &dyn std::fmt::Display| ToolError::new(format!("input `{}` cannot be made up: {e}", info.name));
    let dtype = info.ty.dtype;
    let count = checked_count(dtype, shape).map_err(|e| fail(&e))?;
    if !dtype.is_float() {
        return AnyTensor::from_i64(dtype, shape, vec![0; count]).map_err(|e| fail(&e));
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let mut number = || match info.image.as_ref().map(|i| i.color) {
        Some(ColorSpace::GrayscaleF16) => random.f32(),
        Some(_) => f32::from(random.u8(..)),
        None => normal(&mut random),
    };
    let numbers: Vec<f32> = (0..count).map(|_| number()).collect();
    AnyTensor::from_f32(dtype, shape, numbers).map_err(|e| fail(&e))
}

/// By Box and Muller (Annals of Mathematical Statistics 29, 1958).
fn normal(random: &mut fastrand::Rng) -> f32 {
    // From 0, excluded, to 1: the logarithm is finite.
    let u = 1.0 - random.f64();
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()) as f32
}

#[cfg(test)]
mod tests {
    use mil_core::{
        graph::Graph,
        ir::{
            Feature,
            feature::{FeatureKind, ImageFeature, ImageFlexibility},
        },
        mb,
        types::{DType, Opset, TensorType},
    };
    use mil_runtime::{Backend, Model};

    use super::*;

    fn info(dtype: DType, color: Option<ColorSpace>) -> InputInfo {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", TensorType::new(dtype, [1, 1, 40, 50]));
        let y = g.push(mb::identity(&x)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        let image = |color| {
            let image = ImageFeature { width: 50, height: 40, color, flexibility: ImageFlexibility::Fixed };
            let kind = FeatureKind::Image(image);
            Feature { name: "x".into(), description: String::new(), optional: false, kind }
        };
        p.functions.values_mut().for_each(|f| f.input_features = color.map(image).into_iter().collect());
        Model::options().backend(Backend::Cpu).from_program(&p).unwrap().inputs()[0].clone()
    }

    fn numbers(dtype: DType, color: Option<ColorSpace>) -> Vec<f32> {
        made_up(&info(dtype, color), &[1, 1, 40, 50], 7).unwrap().to_f32().unwrap().to_vec()
    }

    #[test]
    fn floats_are_normal() {
        for dtype in [DType::F32, DType::F16] {
            let x = numbers(dtype, None);
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
            assert!(x.len() == 2000 && mean.abs() < 0.1 && (variance - 1.0).abs() < 0.15, "{mean}, {variance}");
            assert_eq!(x, numbers(dtype, None));
        }
        let other = made_up(&info(DType::F32, None), &[1, 1, 40, 50], 8).unwrap();
        assert_ne!(other.to_f32().unwrap()[..], numbers(DType::F32, None));
    }

    #[test]
    fn others_are_in_range() {
        let pixels = numbers(DType::F32, Some(ColorSpace::Grayscale));
        assert!(
            pixels.iter().all(|p| (0.0..=255.0).contains(p) && p.fract() == 0.0) && pixels.iter().any(|p| *p > 200.0)
        );
        let gray = numbers(DType::F16, Some(ColorSpace::GrayscaleF16));
        assert!(gray.iter().all(|p| (0.0..=1.0).contains(p)) && gray.iter().any(|p| *p > 0.9));
        assert!(numbers(DType::I32, None).iter().all(|n| *n == 0.0));
        let e = made_up(&info(DType::F32, None), &[1 << 40, 1 << 10], 1).unwrap_err().to_string();
        assert!(e.starts_with("input `x` cannot be made up: a tensor of f32 of shape "), "{e}");
    }
}
