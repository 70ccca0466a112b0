//! Marks in the photograph.

use image::{Rgb, RgbImage};

use super::boxes::Rect;

const BOX: Rgb<u8> = Rgb([40, 230, 80]);
const LANDMARK: Rgb<u8> = Rgb([255, 60, 60]);

/// Draws the frame of a box, `width` pixels wide; what lies outside the photograph is not drawn.
pub(crate) fn frame(photo: &mut RgbImage, rect: &Rect, width: i64) {
    let [x1, y1, x2, y2] = [rect.x1, rect.y1, rect.x2, rect.y2].map(pixel);
    fill(photo, [x1, y1, x2, y1 + width - 1], BOX);
    fill(photo, [x1, y2 - width + 1, x2, y2], BOX);
    fill(photo, [x1, y1, x1 + width - 1, y2], BOX);
    fill(photo, [x2 - width + 1, y1, x2, y2], BOX);
}

/// Draws a dot, `radius` pixels around its centre.
pub(crate) fn dot(photo: &mut RgbImage, [x, y]: [f32; 2], radius: i64) {
    let (x, y) = (pixel(x), pixel(y));
    for dy in -radius..=radius {
        let dx = (radius * radius - dy * dy).isqrt();
        fill(photo, [x - dx, y + dy, x + dx, y + dy], LANDMARK);
    }
}

/// The nearest pixel. No photograph is as large as the bound, so what is cut off there would not be drawn.
fn pixel(v: f32) -> i64 {
    const BOUND: f32 = (1u64 << 40) as f32;
    v.round().clamp(-BOUND, BOUND) as i64
}

/// Fills from the first to the last pixel, both included.
fn fill(photo: &mut RgbImage, [x1, y1, x2, y2]: [i64; 4], colour: Rgb<u8>) {
    for y in y1.max(0)..=y2.min(i64::from(photo.height()) - 1) {
        for x in x1.max(0)..=x2.min(i64::from(photo.width()) - 1) {
            photo.put_pixel(x as u32, y as u32, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(photo: &RgbImage) -> Vec<String> {
        let cell = |p: &Rgb<u8>| match *p {
            BOX => '#',
            LANDMARK => 'o',
            _ => '.',
        };
        photo.rows().map(|row| row.map(cell).collect()).collect()
    }

    #[test]
    fn a_frame_and_a_dot() {
        let mut photo = RgbImage::new(8, 6);
        frame(&mut photo, &Rect::new([1.2, 0.8, 6.0, 5.0]), 1);
        dot(&mut photo, [3.6, 3.0], 1);
        assert_eq!(picture(&photo), ["........", ".######.", ".#..o.#.", ".#.ooo#.", ".#..o.#.", ".######."]);
    }

    #[test]
    fn what_is_outside_is_not_drawn() {
        let mut photo = RgbImage::new(4, 3);
        frame(&mut photo, &Rect::new([-5.0, 1.0, 2.0, 99.0]), 1);
        dot(&mut photo, [f32::INFINITY, 1.0], 2);
        assert_eq!(picture(&photo), ["....", "###.", "..#."]);
    }
}
