//! Windows that move over a dimension: what convolutions and pooling have in common.

use std::ops::Range;

use mil_core::ops::conv::PadType;

/// A window along one dimension. At place `p`, its element `k` lies on element `p * stride + k * dilation - before`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Axis {
    /// Elements of the dimension.
    pub(crate) size: usize,
    /// Places of the window.
    pub(crate) places: usize,
    /// Elements of the window.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Padding before and after.
    pub(crate) pad: [usize; 2],
}

/// A dimension of 1, for ops of fewer than three spatial dimensions.
const UNIT: Axis = Axis { size: 1, places: 1, kernel: 1, stride: 1, dilation: 1, pad: [0, 0] };

impl Axis {
    /// Three axes, the missing ones in front. `custom` are the amounts in `pad`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn three(
        sizes: &[usize],
        places: &[usize],
        kernels: &[usize],
        strides: &[i64],
        dilations: &[i64],
        pad_type: PadType,
        custom: &[i64],
    ) -> [Axis; 3] {
        let mut axes = [UNIT; 3];
        let first = 3 - sizes.len();
        for (i, axis) in axes[first..].iter_mut().enumerate() {
            let extent = (kernels[i] as i64 - 1) * dilations[i] + 1;
            let pad = pad_type.amounts(sizes[i] as i64, extent, strides[i], [custom[2 * i], custom[2 * i + 1]]);
            *axis = Axis {
                size: sizes[i],
                places: places[i],
                kernel: kernels[i],
                stride: strides[i] as usize,
                dilation: dilations[i] as usize,
                pad: pad.map(|p| p as usize),
            };
        }
        axes
    }

    /// What the windows reach beyond the dimension, before and after.
    pub(crate) fn margins(&self) -> (usize, usize) {
        let end = (self.places.max(1) - 1) * self.stride + (self.kernel.max(1) - 1) * self.dilation + 1;
        (self.pad[0], end.saturating_sub(self.pad[0] + self.size))
    }

    /// The elements of the window that lie on the dimension at some place: the others lie on padding always, and a window can
    /// be far larger than what it moves over.
    pub(super) fn live(&self) -> Range<usize> {
        let last = self.places.saturating_sub(1).saturating_mul(self.stride);
        let start = self.pad[0].saturating_sub(last).div_ceil(self.dilation);
        let end = (self.size + self.pad[0]).div_ceil(self.dilation).min(self.kernel);
        if self.size == 0 || self.places == 0 || start >= end { 0..0 } else { start..end }
    }

    /// The places at which element `k` of the window lies on the dimension and not on padding, and the element on which
    /// it lies at the first of them.
    pub(super) fn taps(&self, k: usize) -> (Range<usize>, usize) {
        let ahead = k * self.dilation;
        let first = self.pad[0].saturating_sub(ahead).div_ceil(self.stride);
        let end = (self.size + self.pad[0]).saturating_sub(ahead).div_ceil(self.stride).min(self.places);
        if first >= end {
            return (0..0, 0);
        }
        (first..end, first * self.stride + ahead - self.pad[0])
    }
}

/// Elements of a tensor `[.., D, H, W]` before those of a row.
pub(super) fn row(sizes: [usize; 3], plane: usize, d: usize, h: usize) -> usize {
    ((plane * sizes[0] + d) * sizes[1] + h) * sizes[2]
}

/// Calls `f` for each pair of rows that an element of the window connects: where the row of places begins, where the row
/// of elements, and the element's number within the window's rows. `k` is the element, its last index left to `f`.
pub(super) fn rows(axes: &[Axis; 3], places: usize, elements: usize, mut f: impl FnMut(usize, usize, usize)) {
    let [depth, height, _] = axes;
    let (all, sizes) = (axes.map(|a| a.places), axes.map(|a| a.size));
    for kd in depth.live() {
        let (d_places, d_first) = depth.taps(kd);
        for kh in height.live() {
            let (h_places, h_first) = height.taps(kh);
            for (i, d) in d_places.clone().enumerate() {
                for (j, h) in h_places.clone().enumerate() {
                    let from = row(sizes, elements, d_first + i * depth.stride, h_first + j * height.stride);
                    f(row(all, places, d, h), from, kd * height.kernel + kh);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_where_the_window_lies_on_elements() {
        for size in 1..7 {
            for (kernel, stride, dilation, before) in [(3, 1, 1, 1), (2, 2, 3, 2), (3, 3, 1, 0), (2, 1, 2, 4)] {
                let axis = Axis { size, places: 6, kernel, stride, dilation, pad: [before, 0] };
                assert!((0..kernel).all(|k| axis.live().contains(&k) || axis.taps(k).0.is_empty()), "{axis:?}");
                for k in 0..kernel {
                    let at = |p: usize| (p * stride + k * dilation).checked_sub(before).filter(|at| *at < size);
                    let expected: Vec<usize> = (0..6).filter(|p| at(*p).is_some()).collect();
                    let (places, first) = axis.taps(k);
                    assert_eq!(places.clone().collect::<Vec<_>>(), expected, "{axis:?}");
                    if let Some(p) = expected.first() {
                        assert_eq!(Some(first), at(*p), "{axis:?}");
                    }
                }
            }
        }
    }
}
