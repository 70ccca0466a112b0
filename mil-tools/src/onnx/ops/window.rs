//! What convolutions and pools have in common: a window that moves over the spatial dimensions.

use super::Node;
use crate::import::{Refusal, Tensor};

/// How the borders are padded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AutoPad {
    /// By `pads`.
    NotSet,
    /// Not at all.
    Valid,
    /// So that there are `ceil(size / stride)` places, an odd element at the end.
    SameUpper,
    /// The same, an odd element at the beginning.
    SameLower,
}

/// A window over the spatial dimensions of `[N, C, *D]`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) kernel: Vec<i64>,
    pub(super) strides: Vec<i64>,
    pub(super) dilations: Vec<i64>,
    /// Before and after, per dimension.
    pub(super) pads: Vec<[i64; 2]>,
    pub(super) auto_pad: AutoPad,
}

impl Window {
    /// Reads the attributes of a window of this size.
    pub(super) fn read(n: &Node<'_, '_>, kernel: Vec<i64>) -> Result<Window, Refusal> {
        let spatial = kernel.len();
        let list = |name: &str, default: i64, length: usize, least: i64| {
            let all = n.ints_attr(name)?.filter(|l| !l.is_empty()).unwrap_or(vec![default; length]);
            if all.len() != length {
                let message = format!("its attribute `{name}` has {} numbers where it takes {length}", all.len());
                return Err(Refusal::new(message));
            }
            match all.iter().find(|v| **v < least || **v > i64::from(i32::MAX)) {
                Some(v) => Err(Refusal::new(format!("its attribute `{name}` has {v}"))),
                None => Ok(all),
            }
        };
        if let Some(k) = kernel.iter().find(|k| !(1..=i64::from(i32::MAX)).contains(*k)) {
            return Err(Refusal::new(format!("its window has the size {k}")));
        }
        let auto_pad = match &n.string_or("auto_pad", "NOTSET")?[..] {
            "NOTSET" | "" => AutoPad::NotSet,
            "VALID" => AutoPad::Valid,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            other => return Err(Refusal::new(format!("its attribute `auto_pad` is `{}`", other.escape_debug()))),
        };
        let pads = match auto_pad {
            AutoPad::NotSet => {
                let pads = list("pads", 0, 2 * spatial, 0)?;
                (0..spatial).map(|i| [pads[i], pads[spatial + i]]).collect()
            }
            _ => vec![[0, 0]; spatial],
        };
        let (strides, dilations) = (list("strides", 1, spatial, 1)?, list("dilations", 1, spatial, 1)?);
        Ok(Window { kernel, strides, dilations, pads, auto_pad })
    }

    /// How many elements the window reaches over along a dimension.
    pub(super) fn reach(&self, i: usize) -> i64 {
        (self.kernel[i] - 1) * self.dilations[i] + 1
    }

    /// Whether `auto_pad` depends on the input's sizes.
    pub(super) fn same(&self) -> bool {
        matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower)
    }

    /// Says `auto_pad` as numbers, for an input whose spatial sizes are known.
    pub(super) fn settle(&mut self, sizes: &[usize]) {
        if self.same() {
            for (i, size) in sizes.iter().enumerate() {
                let (size, stride) = (*size as i64, self.strides[i]);
                let places = (size + stride - 1) / stride;
                let total = ((places - 1) * stride + self.reach(i) - size).max(0);
                self.pads[i] = self.split(total);
            }
            self.auto_pad = AutoPad::NotSet;
        }
    }

    /// Padding before and after out of the sum of both, as `auto_pad` says.
    pub(super) fn split(&self, total: i64) -> [i64; 2] {
        let half = total / 2;
        if self.auto_pad == AutoPad::SameUpper { [half, total - half] } else { [total - half, half] }
    }

    /// MIL's `pad_type`.
    pub(super) fn pad_type(&self) -> &'static str {
        match self.auto_pad {
            AutoPad::SameUpper => "same",
            AutoPad::SameLower => "same_lower",
            _ if self.pads.iter().all(|p| *p == [0, 0]) => "valid",
            _ => "custom",
        }
    }

    /// MIL's `pad`.
    pub(super) fn pad(&self) -> Vec<i64> {
        self.pads.iter().flatten().copied().collect()
    }
}

/// The sizes of the spatial dimensions of `[N, C, *D]`, if all are known.
pub(super) fn spatial_sizes(x: &Tensor) -> Option<Vec<usize>> {
    (2..x.rank()).map(|axis| x.size(axis)).collect()
}

/// How many spatial dimensions there are, of which MIL's windows take 1 to 3.
pub(super) fn spatial(x: &Tensor) -> Result<usize, Refusal> {
    match x.rank() {
        rank @ 3..=5 => Ok(rank - 2),
        rank => {
            Err(Refusal::new(format!("MIL's windows are for 1 to 3 spatial dimensions, its input has rank {rank}")))
        }
    }
}
