//! A video made of one photograph, and how fast its faces are found.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use image::{
    RgbImage,
    imageops::{self, FilterType},
};

use super::cascade::Detector;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// Finds the faces in every frame; prints frames per second, and the most memory that the process had.
///
/// # Errors
/// As [`Detector::detect`].
pub(crate) fn run(detector: &Detector, photo: &RgbImage, frames: u32) -> Result<(), Box<dyn Error>> {
    let photo = fitted(photo);
    let (mut times, mut faces) = (vec![], 0);
    for n in 0..frames {
        let frame = frame(&photo, n);
        let start = Instant::now();
        faces += detector.detect(&frame)?.0.len();
        times.push(start.elapsed());
    }
    // The first frame plans and packs; with more than one, the others say what goes on and on.
    let (first, rest) = (times[0], if times.len() > 1 { &times[1..] } else { &times[..] });
    let mean = rest.iter().sum::<Duration>().as_secs_f64() / rest.len() as f64;
    let best = rest.iter().min().map_or(0.0, Duration::as_secs_f64);
    println!("{frames} frames of {WIDTH} x {HEIGHT}, {:.2} faces each", f64::from(faces as u32) / f64::from(frames));
    println!("first {:.1} ms, then {:.1} ms at best, {:.1} ms on average", ms(first.as_secs_f64()), ms(best), ms(mean));
    println!("{:.1} frames per second", 1.0 / mean);
    if let Some(mebibytes) = peak() {
        println!("peak memory {mebibytes:.1} MiB");
    }
    Ok(())
}

fn ms(seconds: f64) -> f64 {
    1000.0 * seconds
}

/// The photograph, as large as it can be in a frame.
fn fitted(photo: &RgbImage) -> RgbImage {
    let scale = (f64::from(WIDTH) / f64::from(photo.width())).min(f64::from(HEIGHT) / f64::from(photo.height()));
    let size = |n: u32| ((f64::from(n) * scale) as u32).max(1);
    imageops::resize(photo, size(photo.width()), size(photo.height()), FilterType::Triangle)
}

/// Frame number `n`: the photograph wanders to and fro over grey.
fn frame(photo: &RgbImage, n: u32) -> RgbImage {
    let mut frame = RgbImage::from_pixel(WIDTH, HEIGHT, image::Rgb([128; 3]));
    let along = |room: u32, n: u32| if room == 0 { 0 } else { room - (n % (2 * room)).abs_diff(room) };
    let (x, y) = (along(WIDTH - photo.width(), n.wrapping_mul(3)), along(HEIGHT - photo.height(), n));
    imageops::replace(&mut frame, photo, i64::from(x), i64::from(y));
    frame
}

/// Resident memory at most, in MiB: `VmHWM` (man 5 proc_pid_status), where there is such a file.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?.trim();
    Some(kib.parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_photograph_in_them() {
        let photo = fitted(&RgbImage::from_pixel(50, 100, image::Rgb([200, 0, 0])));
        assert_eq!(photo.dimensions(), (240, 480));
        for n in [0, 1, 133, 134, 1000, u32::MAX / 3] {
            let frame = frame(&photo, n);
            assert_eq!(frame.dimensions(), (WIDTH, HEIGHT));
            assert_eq!(frame.pixels().filter(|p| p.0 == [200, 0, 0]).count(), 240 * 480, "frame {n}");
        }
    }
}
