//! The photograph in many sizes: the P-Net finds faces of one size, so the photograph is shrunk until each has had it.

use image::RgbImage;

use super::boxes::Rect;

/// The P-Net's window.
const WINDOW: f64 = 12.0;
/// Each level is smaller than the one before by this.
const FACTOR: f64 = 0.709;

/// The scales of the pyramid for faces of at least `min_face` pixels: the largest first.
pub(crate) fn scales(width: u32, height: u32, min_face: f64) -> Vec<f64> {
    let mut scale = WINDOW / min_face;
    let mut shorter = f64::from(width.min(height)) * scale;
    let mut scales = vec![];
    while shorter >= WINDOW {
        scales.push(scale);
        scale *= FACTOR;
        shorter *= FACTOR;
    }
    scales
}

/// Rows and columns of the photograph at a scale.
pub(crate) fn level(photo: &RgbImage, scale: f64) -> [usize; 2] {
    let size = |n: u32| (f64::from(n) * scale + 1.0).floor() as usize;
    [size(photo.height()), size(photo.width())]
}

/// A part of the photograph, in pixels: rows and columns from..to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Crop {
    rows: [usize; 2],
    columns: [usize; 2],
}

impl Crop {
    /// All of it.
    pub(crate) fn all(photo: &RgbImage) -> Crop {
        Crop { rows: [0, photo.height() as usize], columns: [0, photo.width() as usize] }
    }

    /// What lies in a box whose coordinates count pixels from 1; what lies outside the photograph is cut off. `None` if
    /// nothing is left.
    pub(crate) fn of(photo: &RgbImage, rect: &Rect) -> Option<Crop> {
        // `as` truncates toward zero, and takes what is not finite to a bound.
        let span = |low: f32, high: f32, size: u32| {
            let (low, high) = ((low as i64).max(1), (high as i64).min(i64::from(size)));
            (high >= low).then(|| [low as usize - 1, high as usize])
        };
        Some(Crop { rows: span(rect.y1, rect.y2, photo.height())?, columns: span(rect.x1, rect.x2, photo.width())? })
    }
}

/// Resizes a part of the photograph by area: an output pixel is the mean over the input pixels that it touches, all with
/// the same weight. Planes of red, green, blue, each row-major, 0 to 255.
///
/// `rows` and `columns` are at least 1.
pub(crate) fn resize(photo: &RgbImage, crop: Crop, rows: usize, columns: usize) -> Vec<f32> {
    let (row_windows, column_windows) = (windows(crop.rows, rows), windows(crop.columns, columns));
    let mut planes = vec![0.0; 3 * rows * columns];
    let (pixels, stride) = (photo.as_raw(), photo.width() as usize);
    for (i, [top, bottom]) in row_windows.into_iter().enumerate() {
        for (j, &[left, right]) in column_windows.iter().enumerate() {
            let mut sums = [0u64; 3];
            for row in top..bottom {
                let line = &pixels[3 * (row * stride + left)..3 * (row * stride + right)];
                for pixel in line.chunks_exact(3) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += u64::from(*v));
                }
            }
            let count = ((bottom - top) * (right - left)) as f32;
            for (channel, sum) in sums.into_iter().enumerate() {
                planes[(channel * rows + i) * columns + j] = sum as f32 / count;
            }
        }
    }
    planes
}

/// The input pixels that each of `count` output pixels touches.
fn windows([from, to]: [usize; 2], count: usize) -> Vec<[usize; 2]> {
    let size = to - from;
    (0..count).map(|i| [from + i * size / count, from + ((i + 1) * size).div_ceil(count)]).collect()
}

/// From 0..=255 to what the nets were trained on, about -1 to 1.
pub(crate) fn normalize(planes: &mut [f32]) {
    planes.iter_mut().for_each(|v| *v = (*v - 127.5) * 0.0078125);
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn the_pyramid_is_the_reference() {
        let (photo, reference) = (photo(), reference());
        let scales = scales(photo.width(), photo.height(), 20.0);
        let levels = reference["pyramid"].as_array().unwrap();
        assert_eq!(scales.len(), levels.len());
        for (scale, expected) in scales.into_iter().zip(levels) {
            assert!((scale - expected["scale"].as_f64().unwrap()).abs() < 1e-15);
            let [rows, columns] = level(&photo, scale);
            assert_eq!((rows, columns), (count(&expected["rows"]), count(&expected["columns"])));
            let planes = resize(&photo, Crop::all(&photo), rows, columns);
            for (channel, row) in expected["resized_row_0"].as_array().unwrap().iter().enumerate() {
                close(&planes[channel * rows * columns..][..4], &floats(row), 1e-4);
            }
        }
    }

    #[test]
    fn the_first_face_of_the_second_stage_is_the_reference() {
        let (photo, reference) = (photo(), reference());
        let rect = Rect::new(floats(&reference["pnet"]["first_boxes"][0]).try_into().unwrap());
        let mut planes = resize(&photo, Crop::of(&photo, &rect).unwrap(), 24, 24);
        normalize(&mut planes);
        for (channel, row) in reference["rnet"]["first_face_row_0"].as_array().unwrap().iter().enumerate() {
            close(&planes[channel * 24 * 24..][..4], &floats(row), 1e-6);
        }
    }

    #[test]
    fn windows_cover_everything_and_may_overlap() {
        assert_eq!(windows([0, 5], 2), [[0, 3], [2, 5]]);
        assert_eq!(windows([3, 5], 4), [[3, 4], [3, 4], [4, 5], [4, 5]], "enlarging repeats pixels");
    }

    #[test]
    fn crops_stay_in_the_photograph() {
        let photo = RgbImage::new(20, 10);
        let crop = |b| Crop::of(&photo, &Rect::new(b));
        assert_eq!(crop([-3.5, 2.9, 5.9, 40.0]), Some(Crop { rows: [1, 10], columns: [0, 5] }));
        assert_eq!(crop([21.0, 1.0, 30.0, 5.0]), None);
        assert_eq!(crop([f32::NAN, 1.0, f32::NAN, 5.0]), None);
    }

    #[test]
    fn a_small_photograph_has_no_pyramid() {
        assert!(scales(19, 500, 20.0).is_empty());
        assert_eq!(scales(20, 500, 20.0), [0.6]);
    }
}
