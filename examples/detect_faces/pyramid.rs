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

/// Sums of a photograph's pixels: any rectangle's sum is four of them. A pyramid reads each pixel once this way, not once per level.
pub(crate) struct Sums {
    /// Per row and column, the red, green and blue of all pixels above and to the left. Modulo 2^32, as differences are too: no
    /// rectangle that is asked for has 2^24 pixels.
    sums: Vec<u32>,
    /// How many numbers a row has.
    stride: usize,
}

impl Sums {
    /// Of all of a photograph.
    pub(crate) fn of(photo: &RgbImage) -> Sums {
        let (pixels, width) = (photo.as_raw(), 3 * photo.width() as usize);
        let stride = width + 3;
        let mut sums = vec![0u32; stride * (photo.height() as usize + 1)];
        for (y, line) in pixels.chunks_exact(width.max(1)).enumerate() {
            let (above, row) = sums[y * stride..(y + 2) * stride].split_at_mut(stride);
            let mut left = [0u32; 3];
            for ((pixel, above), row) in
                line.chunks_exact(3).zip(above.chunks_exact(3).skip(1)).zip(row.chunks_exact_mut(3).skip(1))
            {
                for c in 0..3 {
                    left[c] = left[c].wrapping_add(u32::from(pixel[c]));
                    row[c] = above[c].wrapping_add(left[c]);
                }
            }
        }
        Sums { sums, stride }
    }
}

/// Resizes a part of the photograph by area: an output pixel is the mean over the input pixels that it touches, all with
/// the same weight. Planes of red, green, blue, each row-major, 0 to 255, are appended to `planes`.
///
/// `rows` and `columns` are at least 1.
pub(crate) fn resize(photo: &Sums, crop: Crop, rows: usize, columns: usize, planes: &mut Vec<f32>) {
    let (row_windows, column_windows) = (windows(crop.rows, rows), windows(crop.columns, columns));
    let first = planes.len();
    planes.resize(first + 3 * rows * columns, 0.0);
    let planes = &mut planes[first..];
    let [from, to] = crop.columns.map(|c| 3 * c);
    let line = |y: usize| &photo.sums[y * photo.stride + from..][..to - from + 3];
    let mut band = vec![0u32; to - from + 3];
    for (i, [top, bottom]) in row_windows.into_iter().enumerate() {
        band.iter_mut().zip(line(bottom).iter().zip(line(top))).for_each(|(d, (b, t))| *d = b.wrapping_sub(*t));
        for (j, [left, right]) in column_windows.iter().map(|w| w.map(|x| 3 * x - from)).enumerate() {
            let count = ((bottom - top) * (right - left) / 3) as f32;
            for channel in 0..3 {
                let sum = band[right + channel].wrapping_sub(band[left + channel]);
                planes[(channel * rows + i) * columns + j] = sum as f32 / count;
            }
        }
    }
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
        let sums = Sums::of(&photo);
        let scales = scales(photo.width(), photo.height(), 20.0);
        let levels = reference["pyramid"].as_array().unwrap();
        assert_eq!(scales.len(), levels.len());
        for (scale, expected) in scales.into_iter().zip(levels) {
            assert!((scale - expected["scale"].as_f64().unwrap()).abs() < 1e-15);
            let [rows, columns] = level(&photo, scale);
            assert_eq!((rows, columns), (count(&expected["rows"]), count(&expected["columns"])));
            let mut planes = vec![];
            resize(&sums, Crop::all(&photo), rows, columns, &mut planes);
            for (channel, row) in expected["resized_row_0"].as_array().unwrap().iter().enumerate() {
                close(&planes[channel * rows * columns..][..4], &floats(row), 1e-4);
            }
        }
    }

    #[test]
    fn the_first_face_of_the_second_stage_is_the_reference() {
        let (photo, reference) = (photo(), reference());
        let rect = Rect::new(floats(&reference["pnet"]["first_boxes"][0]).try_into().unwrap());
        let mut planes = vec![];
        resize(&Sums::of(&photo), Crop::of(&photo, &rect).unwrap(), 24, 24, &mut planes);
        normalize(&mut planes);
        for (channel, row) in reference["rnet"]["first_face_row_0"].as_array().unwrap().iter().enumerate() {
            close(&planes[channel * 24 * 24..][..4], &floats(row), 1e-6);
        }
    }

    /// Sums do not overflow, and a resized part is the mean of its pixels.
    #[test]
    fn means_are_exact() {
        let photo = RgbImage::from_fn(37, 29, |x, y| image::Rgb([255, (x * 7 % 256) as u8, (x * y % 256) as u8]));
        let (sums, crop) = (Sums::of(&photo), Crop { rows: [3, 25], columns: [5, 36] });
        let mut planes = vec![9.0];
        resize(&sums, crop, 4, 6, &mut planes);
        assert_eq!(planes.len(), 1 + 3 * 4 * 6);
        for (i, [top, bottom]) in windows(crop.rows, 4).into_iter().enumerate() {
            for (j, [left, right]) in windows(crop.columns, 6).into_iter().enumerate() {
                let places = || (top..bottom).flat_map(|y| (left..right).map(move |x| (x as u32, y as u32)));
                for channel in 0..3 {
                    let sum: u64 = places().map(|(x, y)| u64::from(photo.get_pixel(x, y)[channel])).sum();
                    assert_eq!(planes[1 + (channel * 4 + i) * 6 + j], sum as f32 / places().count() as f32);
                }
            }
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
