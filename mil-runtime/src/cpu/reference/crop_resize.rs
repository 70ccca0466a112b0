//! `crop_resize`.

use mil_core::ops::{
    crop_resize::{BoxCoordinateMode, BoxIndices, CropResize},
    resize::SamplingMode,
};

use super::{
    Cx, Kernel, KernelDef, floats,
    movement::typed,
    resize::{Sample, point},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<CropResize>()];

/// A box, and the images it is cut from.
struct Region {
    numbers: [f32; 4],
    images: std::ops::Range<usize>,
}

impl Kernel for CropResize {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let with = |roi, boxes, indices| CropResize {
            x: typed(&self.x, &x),
            roi,
            boxes,
            box_indices: BoxIndices(indices),
            ..self.clone()
        };
        let (op, regions) = match (&self.roi, &self.boxes, &self.box_indices.0) {
            (Some(roi), _, _) => {
                let given = cx.get(roi)?;
                (with(Some(typed(roi, &given)), None, None), of_roi(&given, x.shape()[0])?)
            }
            (None, Some(boxes), Some(indices)) => {
                let (given, from) = (cx.get(boxes)?, cx.get(indices)?);
                let op = with(None, Some(typed(boxes, &given)), Some(typed(indices, &from)));
                (op, of_boxes(&given, &from.to_i64()?, x.shape()[0])?)
            }
            _ => return Err(RunError::new("`boxes` and `box_indices` must be given")),
        };
        let shape = output_shape(&op)?;
        let [_, channels, height, width] = x.shape()[..] else { return Err(RunError::new("`x` is no image")) };
        let (new_height, new_width) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let values = x.to_f32()?;
        let mut out = Vec::with_capacity(shape.iter().product());
        for Region { numbers, images } in regions {
            let [down, along] = self.extents(numbers, height, width);
            let rows = self.samples(down, height, new_height);
            let columns = self.samples(along, width, new_width);
            for plane in images.start * channels..images.end * channels {
                let plane = &values[plane * height * width..][..height * width];
                for row in &rows {
                    out.extend(columns.iter().map(|column| match (row, column) {
                        (Some(row), Some(column)) => {
                            let along = |y: usize| {
                                column.between(plane[y * width + column.low], plane[y * width + column.high])
                            };
                            row.between(along(row.low), along(row.high))
                        }
                        _ => self.pad_value,
                    }));
                }
            }
        }
        floats(x.dtype(), shape, out)
    }
}

fn of_roi(roi: &AnyTensor, images: usize) -> Result<Vec<Region>, RunError> {
    let values = roi.to_f32()?;
    match roi.shape().get(2) {
        Some(5) => values.chunks_exact(5).map(|c| region(&c[1..], f64::from(c[0]), images)).collect(),
        _ => values.chunks_exact(4).map(|c| Ok(Region { images: 0..images, ..region(c, 0.0, 1)? })).collect(),
    }
}

fn of_boxes(boxes: &AnyTensor, indices: &[i64], images: usize) -> Result<Vec<Region>, RunError> {
    let values = boxes.to_f32()?;
    values.chunks_exact(4).zip(indices).map(|(c, i)| region(c, *i as f64, images)).collect()
}

fn region(numbers: &[f32], image: f64, images: usize) -> Result<Region, RunError> {
    let numbers = numbers.try_into().map_err(|_| RunError::new("a box is four numbers"))?;
    if !(0.0..images as f64).contains(&image) || image.fract() != 0.0 {
        return Err(RunError::new(format!("a box is cut from image {image}, but `x` has {images} images")));
    }
    Ok(Region { numbers, images: image as usize..image as usize + 1 })
}

/// What the op's parameters say of coordinates.
trait Coordinates {
    /// First and last point of the box, down and along.
    fn extents(&self, numbers: [f32; 4], height: usize, width: usize) -> [(f64, f64); 2];

    /// The points to sample between the first and the last, among `size` elements; `None` for one outside.
    fn samples(&self, extent: (f64, f64), size: usize, new: usize) -> Vec<Option<Sample>>;
}

impl Coordinates for CropResize {
    fn extents(&self, numbers: [f32; 4], height: usize, width: usize) -> [(f64, f64); 2] {
        let [a, b, c, d] = numbers.map(f64::from);
        let around = |center: f64, size: f64| (center - size / 2.0, center + size / 2.0);
        let (down, along) = match self.box_coordinate_mode {
            BoxCoordinateMode::CornersHeightFirst => ((a, c), (b, d)),
            BoxCoordinateMode::CornersWidthFirst => ((b, d), (a, c)),
            BoxCoordinateMode::CenterSizeHeightFirst => (around(a, c), around(b, d)),
            BoxCoordinateMode::CenterSizeWidthFirst => (around(b, d), around(a, c)),
        };
        let scale = |(start, end): (f64, f64), size: usize| {
            let unit = if self.normalized_coordinates { size as f64 - 1.0 } else { 1.0 };
            let scale = unit * f64::from(self.spatial_scale);
            (start * scale, end * scale)
        };
        [scale(down, height), scale(along, width)]
    }

    fn samples(&self, (start, end): (f64, f64), size: usize, new: usize) -> Vec<Option<Sample>> {
        let mode = self.sampling_mode;
        let last = size as f64 - 1.0;
        let (start, end) = match mode {
            SamplingMode::UnalignCorners if end < start => (0.0, last),
            _ => (start, end),
        };
        let sample = |i: usize| {
            let at = start + point(mode, i, end - start + 1.0, new);
            // `max` and `min` would make a number of what is none.
            if at.is_nan() {
                return None;
            }
            let at = at.max(start.min(end)).min(start.max(end));
            (0.0..=last).contains(&at).then(|| Sample::at(at, size))
        };
        (0..new).map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::Opset};

    use crate::{
        cpu::reference::testing::{Test, close, fails, run, run_in},
        tensor::AnyTensor,
    };

    /// 1 to 16, in rows of 4.
    fn image(g: &mut Test, copies: usize) -> mil_core::graph::Value {
        let values: Vec<f32> = (0..copies).flat_map(|c| (1..=16).map(move |v| v as f32 + 100.0 * c as f32)).collect();
        g.f32(&[copies, 1, 4, 4], &values)
    }

    #[test]
    fn one_box_out_of_all_images() {
        let out = run_in(Opset::iOS16, |g| {
            let roi = g.f32(&[1, 1, 4, 1, 1], &[1.0, 1.0, 2.0, 2.0]);
            let call = mb::crop_resize(image(g, 2)).roi(roi).target_height(2).target_width(2);
            call.sampling_mode("ALIGN_CORNERS")
        });
        close(&out, &[1, 2, 1, 2, 2], &[6.0, 7.0, 10.0, 11.0, 106.0, 107.0, 110.0, 111.0], 0.0);
    }

    #[test]
    fn boxes_that_say_their_image() {
        let crop = |image_index: f32| {
            move |g: &mut Test| {
                let roi = g.f32(&[2, 1, 5, 1, 1], &[1.0, 0.0, 0.0, 3.0, 3.0, image_index, 1.0, 2.0, 1.0, 2.0]);
                let call = mb::crop_resize(image(g, 2)).roi(roi).target_width(2);
                call.sampling_mode("ALIGN_CORNERS").pad_value(-1.0)
            }
        };
        // One row is the middle one; a box of one element gives it twice.
        let out = run_in(Opset::iOS16, crop(0.0));
        close(&out, &[2, 1, 1, 1, 2], &[107.0, 110.0, 7.0, 7.0], 0.0);
        let out = run(|g| {
            let (boxes, indices) = (g.f32(&[2, 4], &[0.0, 0.0, 3.0, 3.0, 1.0, 2.0, 1.0, 2.0]), g.i32(&[2], &[1, 0]));
            let call = mb::crop_resize(image(g, 2)).boxes(boxes).box_indices(indices);
            call.target_width(2).sampling_mode("ALIGN_CORNERS")
        });
        close(&out, &[2, 1, 1, 2], &[107.0, 110.0, 7.0, 7.0], 0.0);
        fails(
            |g| {
                let (boxes, indices) = (g.f32(&[1, 4], &[0.0; 4]), g.i32(&[1], &[2]));
                mb::crop_resize(image(g, 2)).boxes(boxes).box_indices(indices)
            },
            "cut from image 2, but `x` has 2",
        );
    }

    fn crop(mode: &'static str, coordinates: &'static str, numbers: [f32; 4], width: i64) -> Vec<AnyTensor> {
        run(move |g| {
            let boxes = g.f32(&[1, 4], &numbers);
            let call = mb::crop_resize(image(g, 1)).boxes(boxes).target_width(width).pad_value(-1.0);
            call.sampling_mode(mode).box_coordinate_mode(coordinates)
        })
    }

    #[test]
    fn conventions_of_boxes() {
        for (coordinates, numbers) in [
            ("CORNERS_HEIGHT_FIRST", [1.0, 0.0, 1.0, 3.0]),
            ("CORNERS_WIDTH_FIRST", [0.0, 1.0, 3.0, 1.0]),
            ("CENTER_SIZE_HEIGHT_FIRST", [1.0, 1.5, 0.0, 3.0]),
            ("CENTER_SIZE_WIDTH_FIRST", [1.5, 1.0, 3.0, 0.0]),
        ] {
            close(&crop("ALIGN_CORNERS", coordinates, numbers, 4), &[1, 1, 1, 4], &[5.0, 6.0, 7.0, 8.0], 1e-6);
        }
    }

    /// The first row, from column 0 to 3 and turned round, at the points of `resize_bilinear`.
    #[test]
    fn sampling_modes() {
        let across = |mode, from: f32, to: f32| crop(mode, "CORNERS_WIDTH_FIRST", [from, 0.0, to, 0.0], 2);
        for (mode, expected) in [
            ("STRICT_ALIGN_CORNERS", [1.0, 4.0]),
            ("ALIGN_CORNERS", [1.0, 4.0]),
            ("DEFAULT", [1.0, 3.0]),
            ("OFFSET_CORNERS", [1.75, 3.25]),
            ("UNALIGN_CORNERS", [1.5, 3.5]),
        ] {
            close(&across(mode, 0.0, 3.0), &[1, 1, 1, 2], &expected, 1e-6);
        }
        close(&across("ALIGN_CORNERS", 3.0, 0.0), &[1, 1, 1, 2], &[4.0, 1.0], 1e-6);
        close(&across("ALIGN_CORNERS", -1.0, 2.0), &[1, 1, 1, 2], &[-1.0, 3.0], 1e-6);
        close(&across("ALIGN_CORNERS", 0.5, f32::NAN), &[1, 1, 1, 2], &[-1.0, -1.0], 1e-6);
        close(&across("UNALIGN_CORNERS", 3.0, 1.0), &[1, 1, 1, 2], &[1.5, 3.5], 1e-6);
    }

    #[test]
    fn scaled_and_normalized() {
        let third = 1.0 / 3.0;
        let out = run(|g| {
            let boxes = g.f32(&[1, 4], &[0.0, 0.0, 2.0 * third, 2.0]);
            let call = mb::crop_resize(image(g, 1)).boxes(boxes).normalized_coordinates(true).spatial_scale(0.5);
            call.target_height(2).target_width(2).sampling_mode("ALIGN_CORNERS")
        });
        close(&out, &[1, 1, 2, 2], &[1.0, 4.0, 5.0, 8.0], 1e-5);
    }

    #[test]
    fn no_boxes_give_nothing() {
        let out = run(|g| {
            let (boxes, indices) = (g.f32(&[0, 4], &[]), g.i32(&[0], &[]));
            mb::crop_resize(image(g, 1)).boxes(boxes).box_indices(indices)
        });
        assert_eq!(out[0].shape(), [0, 1, 1, 1]);
    }
}
