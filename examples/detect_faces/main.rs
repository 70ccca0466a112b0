//! Finds faces in a photograph: the three nets of MTCNN in the DSL, with pretrained weights, and the cascade around them in
//! plain Rust.
//!
//!     cargo run --release --example detect_faces [PHOTO.png]
//!     cargo run --release --example detect_faces -- --frames N [PHOTO.png]
//!
//! Without a photograph of yours it takes `examples/data/astronaut.png`, and checks what it finds. With `--frames` it makes a video of
//! N frames out of the photograph, and says how many it gets through in a second, and how much memory that took.
#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use boxes::Rect;
use cascade::{Counts, Detector, Face};
use image::RgbImage;
use mil::{DType, Model, ir::Program};
use nms::Overlap;

mod boxes;
mod cascade;
#[path = "../common/mod.rs"]
mod common;
mod draw;
mod nets;
mod nms;
mod pyramid;
mod video;

/// The face in the photograph, found by facenet-pytorch; `tests/data/mtcnn_reference.json` has more digits and more steps.
const BOX: [f32; 4] = [181.0514, 62.15613, 267.7473, 172.05017];
const LANDMARKS: [[f32; 2]; 5] = [
    [205.01091, 101.72746],
    [246.76257, 103.71408],
    [224.67136, 128.965],
    [201.71611, 139.24619],
    [245.26549, 141.85703],
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let Some(at) = arguments.iter().position(|a| a == "--frames") else {
        return run(arguments.pop().map(PathBuf::from));
    };
    let given: Vec<_> = arguments.splice(at..(at + 2).min(arguments.len()), []).collect();
    let frames = given.get(1).and_then(|n| n.to_str()?.parse().ok()).filter(|n| *n > 0);
    let frames = frames.ok_or("`--frames` wants the number of frames behind it, 1 at least")?;
    let nets =
        [("pnet", nets::pnet::main().into()), ("rnet", nets::rnet::main().into()), ("onet", nets::onet::main().into())];
    let photo = photo(arguments.first().map(Path::new))?;
    video::run(&detector(&nets, DType::F32)?, &photo, frames)
}

/// Finds the faces in this photograph, else in that of the examples.
pub(crate) fn run(own: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    let nets: [(&str, Program); 3] =
        [("pnet", nets::pnet::main().into()), ("rnet", nets::rnet::main().into()), ("onet", nets::onet::main().into())];
    let fp16: [(&str, Program); 3] = [
        ("pnet_fp16", nets::pnet_fp16::main().into()),
        ("rnet_fp16", nets::rnet_fp16::main().into()),
        ("onet_fp16", nets::onet_fp16::main().into()),
    ];
    let out = common::output_dir()?;
    for (name, program) in nets.iter().chain(&fp16) {
        program.save(out.join(name).with_extension("mlpackage"))?;
    }

    let photo = photo(own.as_deref())?;
    let (faces, counts) = detector(&nets, DType::F32)?.detect(&photo)?;
    show(&faces);
    let marked = out.join("detect_faces.png");
    mark(photo.clone(), &faces).save(&marked)?;
    println!("drawn in {}", marked.display());

    if own.is_none() {
        check(&faces, 0.99, 0.5);
        assert_eq!(counts, expected_counts());
        let (faces, _) = detector(&fp16, DType::F16)?.detect(&photo)?;
        check(&faces, 0.9, 2.0);
    }
    Ok(())
}

fn detector([pnet, rnet, onet]: &[(&str, Program); 3], dtype: DType) -> Result<Detector, Box<dyn Error>> {
    let model = |net: &(&str, Program)| Model::from_program(&net.1);
    Ok(Detector { pnet: model(pnet)?, rnet: model(rnet)?, onet: model(onet)?, dtype })
}

fn photo(path: Option<&Path>) -> Result<RgbImage, Box<dyn Error>> {
    let path = path.unwrap_or(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/astronaut.png")));
    let photo = image::open(path).map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
    Ok(photo.to_rgb8())
}

fn show(faces: &[Face]) {
    println!("{} found", if faces.len() == 1 { "1 face".into() } else { format!("{} faces", faces.len()) });
    for Face { rect, score, landmarks } in faces {
        println!("box {:.1} {:.1} {:.1} {:.1}, score {score:.6}", rect.x1, rect.y1, rect.x2, rect.y2);
        for (name, [x, y]) in ["left eye", "right eye", "nose", "mouth left", "mouth right"].iter().zip(landmarks) {
            println!("  {name:<11} {x:.1} {y:.1}");
        }
    }
}

fn mark(mut photo: RgbImage, faces: &[Face]) -> RgbImage {
    for face in faces {
        draw::frame(&mut photo, &face.rect, 2);
        face.landmarks.iter().for_each(|p| draw::dot(&mut photo, *p, 2));
    }
    photo
}

/// The one face is there: its box overlaps the reference by `overlap`, its landmarks are off by at most `pixels`.
fn check(faces: &[Face], overlap: f32, pixels: f32) {
    let [face] = faces else { panic!("expected one face, found {}", faces.len()) };
    let found = Overlap::Union.of(&face.rect, &Rect::new(BOX));
    assert!(found > overlap, "the box {:?} overlaps the reference by {found}", face.rect);
    for (found, expected) in face.landmarks.iter().zip(LANDMARKS) {
        let off = (found[0] - expected[0]).hypot(found[1] - expected[1]);
        assert!(off <= pixels, "a landmark is at {found:?}, expected {expected:?}");
    }
}

/// How many boxes each step leaves on the photograph, in f32: no probability of the reference lies so near a threshold that
/// rounding could change one.
fn expected_counts() -> Counts {
    let pyramid = vec![[93, 46], [78, 47], [47, 22], [31, 16], [20, 8], [17, 7], [11, 5], [1, 1], [1, 1], [0, 0]];
    Counts { pyramid, pnet: 153, rnet: [11, 9], onet: [8, 1] }
}

#[cfg(test)]
mod tests {
    use mil::AnyTensor;
    use serde_json::Value;

    use super::*;

    pub(super) fn photo() -> RgbImage {
        super::photo(None).unwrap()
    }

    pub(super) fn reference() -> Value {
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mtcnn_reference.json")))
            .unwrap()
    }

    pub(super) fn count(v: &Value) -> usize {
        v.as_u64().unwrap() as usize
    }

    pub(super) fn floats(v: &Value) -> Vec<f32> {
        v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    }

    #[track_caller]
    pub(super) fn close(found: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(found.len(), expected.len());
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            assert!((f - e).abs() <= tolerance, "element {i}: found {f}, expected {e}");
        }
    }

    #[test]
    fn the_checks_are_the_reference() {
        let r = reference();
        assert_eq!(floats(&r["faces"][0]["box"]), BOX);
        assert_eq!(r["faces"][0]["landmarks"].as_array().unwrap().iter().map(floats).collect::<Vec<_>>(), LANDMARKS);
        let pair = |v: &Value, first: &str| [count(&v[first]), count(&v["after_nms"])];
        let pyramid = r["pyramid"].as_array().unwrap().iter().map(|l| pair(l, "candidates")).collect();
        let (rnet, onet) = (pair(&r["rnet"], "chosen"), pair(&r["onet"], "chosen"));
        assert_eq!(expected_counts(), Counts { pyramid, pnet: count(&r["pnet"]["after_nms"]), rnet, onet });
    }

    /// Each net alone, on made-up input.
    #[test]
    fn the_nets_are_the_reference() {
        let r = reference();
        let nets: [(&str, &str, Program); 3] = [
            ("pnet", "image", nets::pnet::main().into()),
            ("rnet", "faces", nets::rnet::main().into()),
            ("onet", "faces", nets::onet::main().into()),
        ];
        for (name, input, program) in nets {
            let expected = &r["nets"][name];
            let shape: Vec<usize> = expected["input"].as_array().unwrap().iter().map(count).collect();
            let numbers = (0..shape.iter().product()).map(|i: usize| ((i * 7919 + 13) % 2003) as f32 - 1001.0);
            let x = AnyTensor::from_f32(DType::F32, shape, numbers.map(|v| v / 1024.0).collect()).unwrap();
            let outputs = Model::from_program(&program).unwrap().predict([(input, x)]).unwrap();
            for (output, expected) in expected["outputs"].as_object().unwrap() {
                let shape: Vec<usize> = expected["shape"].as_array().unwrap().iter().map(count).collect();
                assert_eq!(outputs[&output[..]].shape(), shape);
                close(&outputs[&output[..]].to_f32().unwrap(), &floats(&expected["values"]), 2e-6);
            }
        }
    }
}
