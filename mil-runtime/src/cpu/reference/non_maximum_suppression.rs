//! `non_maximum_suppression`.

use mil_core::{
    op::{self, Infer},
    ops::non_maximum_suppression::NonMaximumSuppression,
    types::{DType, Opset},
};

use super::{Cx, Kernel, KernelDef, movement::typed, topk::order};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<NonMaximumSuppression>()];

/// A box that may be selected.
struct Candidate {
    index: usize,
    /// x and y of the center, width, height.
    area: [f32; 4],
    score: f32,
    class: usize,
}

/// Intersection over union; 0 of two boxes without area.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let side = |i: usize| {
        let end = (a[i] + a[i + 2] / 2.0).min(b[i] + b[i + 2] / 2.0);
        let start = (a[i] - a[i + 2] / 2.0).max(b[i] - b[i + 2] / 2.0);
        (end - start).max(0.0)
    };
    let both = side(0) * side(1);
    let either = a[2] * a[3] + b[2] * b[3] - both;
    if either > 0.0 { both / either } else { 0.0 }
}

/// The boxes selected among those of one batch, in order: the places of `candidates`, at most `op.max_boxes`.
fn select(op: &NonMaximumSuppression, mut candidates: Vec<Candidate>) -> Vec<usize> {
    candidates.sort_by(|a, b| order(f64::from(a.score), f64::from(b.score), false)); // stable: the lower index first
    if let Some(threshold) = op.score_threshold {
        let passing = candidates.iter().take_while(|c| c.score >= threshold).count();
        candidates.truncate(passing.max(1)); // the best one stays, whatever its score
    }
    let mut selected: Vec<&Candidate> = vec![];
    for c in &candidates {
        if selected.len() as i64 >= op.max_boxes {
            break;
        }
        let rivals = selected.iter().filter(|s| !op.per_class_suppression || s.class == c.class);
        if !rivals.into_iter().any(|s| overlap(&s.area, &c.area) > op.iou_threshold) {
            selected.push(c);
        }
    }
    selected.iter().map(|c| c.index).collect()
}

impl Kernel for NonMaximumSuppression {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (boxes, scores) = (cx.get(&self.boxes)?, cx.get(&self.scores)?);
        let op = NonMaximumSuppression {
            boxes: typed(&self.boxes, &boxes),
            scores: typed(&self.scores, &scores),
            ..self.clone()
        };
        let mut shapes = vec![];
        for output in op.infer(&mut op::Cx::new(Opset::iOS18, "", &[]))? {
            let shape = output.ty.tensor().and_then(|t| t.shape.fixed());
            let shape = shape.ok_or_else(|| RunError::new("the sizes of the output are not known"))?;
            checked_count(DType::F32, &shape)?;
            shapes.push(shape);
        }
        let (count_axis, class_axis) = if self.boxes_last() { (2, 1) } else { (1, 2) };
        let (batches, count) = (scores.shape()[0], scores.shape()[count_axis]);
        let (classes, most) = (scores.shape()[class_axis], self.max_boxes as usize);
        // The place of a number of a box, where a batch has `boxes` boxes of `numbers` numbers.
        let place = |batch: usize, of: usize, number: usize, boxes: usize, numbers: usize| {
            let inside = if self.boxes_last() { number * boxes + of } else { of * numbers + number };
            batch * boxes * numbers + inside
        };
        let (b, s) = (boxes.to_f32()?, scores.to_f32()?);
        let (mut out_boxes, mut out_scores) = (vec![0.0; batches * 4 * most], vec![0.0; batches * classes * most]);
        let (mut indices, mut counts) = (vec![-1i32; batches * most], vec![]);
        for batch in 0..batches {
            let candidate = |index: usize| {
                let score = |class: usize| s[place(batch, index, class, count, classes)];
                let best = (0..classes).reduce(|best, c| if score(c) > score(best) { c } else { best });
                let area = [0, 1, 2, 3].map(|i| b[place(batch, index, i, count, 4)]);
                Candidate { index, area, score: best.map_or(f32::NEG_INFINITY, score), class: best.unwrap_or(0) }
            };
            let selected = select(self, (0..count).map(candidate).collect());
            for (n, from) in selected.iter().enumerate() {
                for i in 0..4 {
                    out_boxes[place(batch, n, i, most, 4)] = b[place(batch, *from, i, count, 4)];
                }
                for c in 0..classes {
                    out_scores[place(batch, n, c, most, classes)] = s[place(batch, *from, c, count, classes)];
                }
                indices[batch * most + n] = *from as i32;
            }
            counts.push(selected.len() as i32);
        }
        let mut shapes = shapes.into_iter();
        let mut next = || shapes.next().ok_or_else(|| RunError::new("an output has no shape"));
        let mut outputs = vec![
            AnyTensor::from_f32(boxes.dtype(), next()?, out_boxes)?,
            AnyTensor::from_f32(scores.dtype(), next()?, out_scores)?,
            AnyTensor::new(next()?, indices)?,
        ];
        if !self.boxes_last() {
            outputs.push(AnyTensor::new(next()?, counts)?);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{Test, close, fails, run, run_in},
        tensor::AnyTensor,
    };
    use mil_core::{
        mb,
        op::Call,
        ops::non_maximum_suppression::NonMaximumSuppression,
        types::{DType, Opset},
    };

    /// Four boxes of 2 by 2: the second overlaps the first by a third, the third is the first, the last is far away.
    const BOXES: [[f32; 4]; 4] =
        [[1.0, 1.0, 2.0, 2.0], [2.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0], [9.0, 9.0, 2.0, 2.0]];
    /// Of two classes.
    const SCORES: [[f32; 2]; 4] = [[0.1, 0.8], [0.7, 0.2], [0.9, 0.3], [0.0, 0.4]];

    fn old(iou: f32, score: f32, most: i32) -> impl Fn(&mut Test) -> Call<NonMaximumSuppression> {
        move |g| {
            let (boxes, scores) = (g.f32(&[1, 4, 4], &BOXES.concat()), g.f32(&[1, 4, 2], &SCORES.concat()));
            mb::non_maximum_suppression(boxes, scores, iou, most).score_threshold(score)
        }
    }

    fn indices(out: &[AnyTensor]) -> &[i32] {
        out[2].as_slice().unwrap()
    }

    #[test]
    fn the_best_of_those_that_overlap() {
        let out = run_in(Opset::iOS15, old(0.5, 0.0, 4));
        assert_eq!(indices(&out), [2, 1, 3, -1]);
        let [box1, box2, far] = [BOXES[2], BOXES[1], BOXES[3]];
        close(&out, &[1, 4, 4], &[box1, box2, far, [0.0; 4]].concat(), 0.0);
        close(&out[1..], &[1, 4, 2], &[0.9, 0.3, 0.7, 0.2, 0.0, 0.4, 0.0, 0.0], 0.0);
        assert_eq!(out[3], AnyTensor::new([1], vec![3i32]).unwrap());
        // A third is too much; and not too much where it is the threshold.
        assert_eq!(indices(&run_in(Opset::iOS16, old(0.3, 0.0, 3))), [2, 3, -1]);
        assert_eq!(indices(&run_in(Opset::iOS16, old(1.0 / 3.0, 0.0, 3))), [2, 1, 3]);
        assert_eq!(indices(&run_in(Opset::iOS15, old(0.5, 0.0, 1))), [2]);
    }

    #[test]
    fn scores_below_the_threshold() {
        assert_eq!(indices(&run_in(Opset::iOS15, old(1.0, 0.8, 4))), [2, 0, -1, -1]);
        let out = run_in(Opset::iOS15, old(1.0, 0.95, 2));
        assert_eq!(indices(&out), [2, -1]);
        assert_eq!(out[3], AnyTensor::new([1], vec![1i32]).unwrap());
    }

    #[test]
    fn by_class() {
        // The first box is the third, but of the other class.
        let out = run_in(Opset::iOS15, |g| old(0.3, 0.0, 4)(g).per_class_suppression(true));
        assert_eq!(indices(&out), [2, 0, 3, -1]);
    }

    #[test]
    fn boxes_last() {
        let turned = |rows: &[f32], n: usize| -> Vec<f32> {
            (0..n).flat_map(|i| (0..4).map(move |of| rows[of * n + i])).collect()
        };
        let (b, s) = (turned(&BOXES.concat(), 4), turned(&SCORES.concat(), 2));
        let half = |shape: [usize; 3], v: &[f32]| AnyTensor::from_f32(DType::F16, shape, v.to_vec()).unwrap();
        let out = run(|g| {
            let (boxes, scores) = (g.input(half([1, 4, 4], &b)), g.input(half([1, 2, 4], &s)));
            mb::non_maximum_suppression(boxes, scores, 0.25, 3)
        });
        assert_eq!(out.len(), 3);
        assert_eq!(indices(&out), [2, 3, -1]);
        assert_eq!(out[0], half([1, 4, 3], &[1.0, 9.0, 0.0, 1.0, 9.0, 0.0, 2.0, 2.0, 0.0, 2.0, 2.0, 0.0]));
        assert_eq!(out[1], half([1, 2, 3], &[0.9, 0.0, 0.0, 0.3, 0.4, 0.0]));
    }

    #[test]
    fn odd_input() {
        // Boxes without area overlap nothing, NaN comes last, and there may be no box at all.
        let out = run(|g| {
            let boxes = g.f32(&[1, 4, 2], &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
            mb::non_maximum_suppression(boxes, g.f32(&[1, 1, 2], &[f32::NAN, 0.5]), 0.5, 2)
        });
        assert_eq!(indices(&out), [1, 0]);
        let out = run(|g| mb::non_maximum_suppression(g.f32(&[1, 4, 0], &[]), g.f32(&[1, 2, 0], &[]), 0.5, 1));
        assert_eq!(indices(&out), [-1]);
        fails(
            |g| mb::non_maximum_suppression(g.f32(&[1, 4, 1], &[0.0; 4]), g.f32(&[1, 1, 1], &[0.0]), 0.5, i32::MAX),
            "too large",
        );
    }
}
