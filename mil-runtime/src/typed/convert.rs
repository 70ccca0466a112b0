//! Weights out of a file, in the dtype that the program wants them in.

use half::{bf16, f16};
use mil_core::{
    ir::{Constant, Element, f16_from_f64},
    types::DType,
    weights::TensorEntry,
};

/// The weight as a constant of the dtype; floats are converted, each rounded once, to nearest. Without a conversion the bytes
/// are shared with the file.
///
/// # Errors
/// If it has a dtype that MIL does not have, or one that is not converted to the other.
pub(super) fn constant(entry: &TensorEntry, wanted: DType) -> Result<Constant, String> {
    let found = entry.dtype.dtype().ok_or_else(|| format!("is of {}, which MIL does not have", entry.dtype))?;
    if found == wanted {
        return Constant::from_bytes(found, &entry.shape[..], entry.bytes.clone());
    }
    let all = |v: &[u8]| -> Option<Vec<f64>> {
        Some(match found {
            DType::F16 => v.chunks_exact(2).map(|b| f16::get(b).to_f64()).collect(),
            DType::BF16 => v.chunks_exact(2).map(|b| bf16::from_bits(u16::get(b)).to_f64()).collect(),
            DType::F32 => v.chunks_exact(4).map(|b| f64::from(f32::get(b))).collect(),
            DType::F64 => v.chunks_exact(8).map(f64::get).collect(),
            _ => return None,
        })
    };
    let misfit = || format!("is of {found}, and the program wants {wanted}");
    let values = all(&entry.bytes).ok_or_else(misfit)?;
    match wanted {
        DType::F16 => Constant::new(&entry.shape[..], &values.into_iter().map(f16_from_f64).collect::<Vec<_>>()),
        DType::F32 => Constant::new(&entry.shape[..], &values.into_iter().map(|v| v as f32).collect::<Vec<_>>()),
        _ => Err(misfit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil_core::weights::{Bytes, SafeDType};

    fn entry(dtype: SafeDType, bytes: Vec<u8>) -> TensorEntry {
        let count = bytes.len() * 8 / dtype.bits() as usize;
        TensorEntry { dtype, shape: vec![count], bytes: Bytes::from(bytes) }
    }

    #[test]
    fn floats_are_rounded_once() {
        let e = entry(SafeDType::F32, [0.1f32, 65519.0].iter().flat_map(|v| v.to_le_bytes()).collect());
        let c = constant(&e, DType::F16).unwrap();
        assert_eq!(c.elements::<f16>().unwrap(), [f16::from_f32(0.1), f16::from_f32(65504.0)]);
        let e = entry(SafeDType::Bf16, bf16::from_f32(1.5).to_bits().to_le_bytes().to_vec());
        assert_eq!(constant(&e, DType::F32).unwrap().elements::<f32>(), Some(vec![1.5]));
    }

    #[test]
    fn equal_dtypes_share_their_bytes_and_others_are_refused() {
        let e = entry(SafeDType::I32, vec![1, 0, 0, 0]);
        assert_eq!(constant(&e, DType::I32).unwrap().bytes().unwrap().as_ptr(), e.bytes.as_ptr());
        assert_eq!(constant(&e, DType::F32).unwrap_err(), "is of i32, and the program wants f32");
        assert!(constant(&entry(SafeDType::F8E8M0, vec![1]), DType::F32).unwrap_err().contains("does not have"));
    }
}
