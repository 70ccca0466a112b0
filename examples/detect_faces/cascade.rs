//! The cascade: three nets, each slower and surer than the one before, each seeing only what the one before let pass.
//!
//! MTCNN as facenet-pytorch 2.6.0 runs it; `tests/oracle/mtcnn_reference.py` says every step in words.

use std::error::Error;

use image::RgbImage;
use mil::{AnyTensor, DType, Model, RunError};

use super::{
    boxes::{Rect, Sides},
    nms::{Overlap, nms},
    pyramid::{Crop, Sums, level, normalize, resize, scales},
};

/// The smallest face looked for, in pixels.
const MIN_FACE: f64 = 20.0;
/// How sure each net must be.
const THRESHOLDS: [f32; 3] = [0.6, 0.7, 0.7];
/// The P-Net looks at every second pixel, through a window of 12.
const STRIDE: f32 = 2.0;
const WINDOW: f32 = 12.0;
/// The longest side that the P-Net is declared for.
const MAX_SIDE: usize = 2048;
/// How many boxes the other nets take at once: few enough that what they compute stays in the caches. The last ones are filled up to a
/// multiple of [`STEP`], so that the engine, which plans for each shape it meets, meets few.
const BATCH: usize = 32;
const STEP: usize = 8;

/// A face.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Face {
    pub(crate) rect: Rect,
    /// 0 to 1.
    pub(crate) score: f32,
    /// x and y of left eye, right eye, nose, left and right corner of the mouth, as seen in the picture.
    pub(crate) landmarks: [[f32; 2]; 5],
}

/// How many boxes each step left.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// Per level of the pyramid: sure enough, and left of those by non-maximum suppression.
    pub(crate) pyramid: Vec<[usize; 2]>,
    /// Left of all levels together.
    pub(crate) pnet: usize,
    /// Sure enough, and left of those.
    pub(crate) rnet: [usize; 2],
    /// Sure enough, and left of those: the faces.
    pub(crate) onet: [usize; 2],
}

/// What a net says of a box.
struct Candidate {
    rect: Rect,
    score: f32,
    /// How the four sides move.
    regression: [f32; 4],
    /// The five x, then the five y, in units of the box; only the O-Net says them.
    landmarks: [f32; 10],
}

/// The three nets, ready to run.
#[derive(Debug)]
pub(crate) struct Detector {
    pub(crate) pnet: Model,
    pub(crate) rnet: Model,
    pub(crate) onet: Model,
    /// What the nets compute with.
    pub(crate) dtype: DType,
}

impl Detector {
    /// Finds the faces in a photograph, the surest first.
    ///
    /// # Errors
    /// If the photograph is too large for the P-Net.
    pub(crate) fn detect(&self, photo: &RgbImage) -> Result<(Vec<Face>, Counts), Box<dyn Error>> {
        let mut counts = Counts::default();
        let sums = Sums::of(photo);
        let proposed = self.propose(photo, &sums, &mut counts)?;

        let sure = self.judge(&self.rnet, photo, &sums, &proposed, 24, THRESHOLDS[1])?;
        let kept = suppress(&sure, Overlap::Union, 0.7);
        counts.rnet = [sure.len(), kept.len()];
        let squares: Vec<Rect> = kept.iter().map(|i| sure[*i].regressed(Sides::Inclusive).square()).collect();

        let mut sure = self.judge(&self.onet, photo, &sums, &squares, 48, THRESHOLDS[2])?;
        // The landmarks are in units of the box before its regression; the boxes suppress each other after it.
        let landmarks: Vec<_> = sure.iter().map(Candidate::landmarks_in_photo).collect();
        for c in &mut sure {
            c.rect = c.regressed(Sides::Inclusive);
        }
        let kept = suppress(&sure, Overlap::Smaller, 0.7);
        counts.onet = [sure.len(), kept.len()];
        let face = |i: usize| Face { rect: sure[i].rect, score: sure[i].score, landmarks: landmarks[i] };
        Ok((kept.into_iter().map(face).collect(), counts))
    }

    /// First stage: boxes from every level of the pyramid.
    fn propose(&self, photo: &RgbImage, sums: &Sums, counts: &mut Counts) -> Result<Vec<Rect>, Box<dyn Error>> {
        let mut found = vec![];
        for scale in scales(photo.width(), photo.height(), MIN_FACE) {
            let [rows, columns] = level(photo, scale);
            if rows.max(columns) > MAX_SIDE {
                let (w, h) = photo.dimensions();
                let message =
                    format!("a photograph of {w} x {h} is too large: shrink it to {} a side", MAX_SIDE * 3 / 2);
                return Err(message.into());
            }
            let mut planes = vec![];
            resize(sums, Crop::all(photo), rows, columns, &mut planes);
            normalize(&mut planes);
            let image = AnyTensor::from_f32(self.dtype, [1, 3, rows, columns], planes)?;
            let outputs = self.pnet.predict([("image", image)])?;
            let mut sure = cells(&outputs["probabilities"], &outputs["boxes"], scale as f32)?;
            let kept = suppress(&sure, Overlap::Union, 0.5);
            counts.pyramid.push([sure.len(), kept.len()]);
            let mut sure: Vec<_> = sure.drain(..).map(Some).collect();
            found.extend(kept.into_iter().filter_map(|i| sure[i].take()));
        }
        let kept = suppress(&found, Overlap::Union, 0.7);
        counts.pnet = kept.len();
        Ok(kept.into_iter().map(|i| found[i].regressed(Sides::Exclusive).square()).collect())
    }

    /// Later stages: cuts each box out of the photograph, to `size` pixels a side, and keeps those of which the net is surer
    /// than `threshold`.
    fn judge(
        &self,
        net: &Model,
        photo: &RgbImage,
        sums: &Sums,
        boxes: &[Rect],
        size: usize,
        threshold: f32,
    ) -> Result<Vec<Candidate>, Box<dyn Error>> {
        let crops: Vec<(Rect, Crop)> = boxes.iter().filter_map(|r| Some((*r, Crop::of(photo, r)?))).collect();
        let mut sure = vec![];
        for batch in crops.chunks(BATCH) {
            let mut planes = vec![];
            batch.iter().for_each(|(_, crop)| resize(sums, *crop, size, size, &mut planes));
            normalize(&mut planes);
            let count = batch.len().next_multiple_of(STEP);
            planes.resize(count * 3 * size * size, 0.0);
            let faces = AnyTensor::from_f32(self.dtype, [count, 3, size, size], planes)?;
            let outputs = net.predict([("faces", faces)])?;
            let (probabilities, regressions) = (outputs["probabilities"].to_f32()?, outputs["boxes"].to_f32()?);
            let landmarks = outputs.get("landmarks").map(AnyTensor::to_f32).transpose()?;
            for (i, (rect, _)) in batch.iter().enumerate() {
                let score = probabilities[2 * i + 1];
                if score > threshold {
                    let regression = std::array::from_fn(|k| regressions[4 * i + k]);
                    let landmarks = std::array::from_fn(|k| landmarks.as_ref().map_or(0.0, |l| l[10 * i + k]));
                    sure.push(Candidate { rect: *rect, score, regression, landmarks });
                }
            }
        }
        Ok(sure)
    }
}

impl Candidate {
    fn regressed(&self, sides: Sides) -> Rect {
        self.rect.regress(self.regression, sides)
    }

    /// The net counts pixels from 1.
    fn landmarks_in_photo(&self) -> [[f32; 2]; 5] {
        let (w, h) = (self.rect.width(Sides::Inclusive), self.rect.height(Sides::Inclusive));
        let l = &self.landmarks;
        std::array::from_fn(|k| [w * l[k] + self.rect.x1 - 1.0, h * l[5 + k] + self.rect.y1 - 1.0])
    }
}

/// The cells of the P-Net's map that are sure enough, in row-major order, as boxes in the photograph.
fn cells(probabilities: &AnyTensor, boxes: &AnyTensor, scale: f32) -> Result<Vec<Candidate>, RunError> {
    let columns = probabilities.shape()[3];
    let cells = probabilities.shape()[2] * columns;
    let (probabilities, boxes) = (probabilities.to_f32()?, boxes.to_f32()?);
    let mut sure = vec![];
    for (i, &score) in probabilities[cells..].iter().enumerate() {
        if score >= THRESHOLDS[0] {
            let (column, row) = ((i % columns) as f32 * STRIDE, (i / columns) as f32 * STRIDE);
            let place = |v: f32| (v / scale).floor();
            let rect = [place(column + 1.0), place(row + 1.0), place(column + WINDOW), place(row + WINDOW)];
            let regression = std::array::from_fn(|k| boxes[k * cells + i]);
            sure.push(Candidate { rect: Rect::new(rect), score, regression, landmarks: [0.0; 10] });
        }
    }
    Ok(sure)
}

/// Non-maximum suppression of candidates: the indices of those that stay.
fn suppress(candidates: &[Candidate], overlap: Overlap, threshold: f64) -> Vec<usize> {
    let (boxes, scores): (Vec<Rect>, Vec<f32>) = candidates.iter().map(|c| (c.rect, c.score)).unzip();
    nms(&boxes, &scores, overlap, threshold)
}
