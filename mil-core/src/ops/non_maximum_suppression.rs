//! `non_maximum_suppression`.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, TensorType},
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[NonMaximumSuppression::DEF];

/// Selects boxes with high scores that do not overlap much.
///
/// Boxes are taken in the order of their scores, the highest first; the score of a box is the greatest of those that it
/// has for the classes. A box whose intersection over union with one that was selected is greater than `iou_threshold` is
/// left out. Before opset iOS17, boxes with scores below `score_threshold` are too; if that is all of a batch, the box with
/// the highest score is selected nevertheless.
///
/// Gives the boxes selected, their scores, and their indices as i32 of shape `[n, max_boxes]`; before opset iOS17 also
/// how many there are, as i32 of shape `[n]`. Where there are fewer than `max_boxes`, zeros follow, and -1 for indices.
///
/// From opset iOS17 on, the dimension of the boxes is the last, of inputs and outputs; before, that of the coordinates or
/// classes is.
///
/// # Constraints
/// - C1 `boxes` and `scores` have rank 3: batches, boxes, and coordinates or classes (from opset iOS17: batches,
///   coordinates or classes, and boxes).
/// - C2 a box has 4 coordinates.
/// - C3 there are as many batches and boxes in `scores` as in `boxes`.
/// - C4 `max_boxes` is 1 or more.
#[derive(Op, Clone, Debug)]
#[op(name = "non_maximum_suppression", since = iOS15, outputs = variadic)]
#[domain(T = F16 | F32)]
pub struct NonMaximumSuppression {
    /// The boxes: x and y of the center, width, height.
    #[dtype(T)]
    pub boxes: Arg,
    /// For each box, a score per class.
    #[dtype(T)]
    pub scores: Arg,
    /// The intersection over union above which boxes overlap too much.
    #[dtype(T)]
    pub iou_threshold: f32,
    /// Boxes with scores below are not selected. Required before opset iOS17, and gone from there on.
    #[dtype(T)]
    #[until(iOS17)]
    #[needed]
    pub score_threshold: Option<f32>,
    /// How many boxes to select at most.
    #[dtype(I32)]
    pub max_boxes: i64,
    /// Whether only boxes of the same class suppress each other: the class for which a box has its score. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub per_class_suppression: bool,
}

impl NonMaximumSuppression {
    /// Whether the dimension of the boxes is the last, as it is from opset iOS17 on, which has no `score_threshold`.
    pub fn boxes_last(&self) -> bool {
        self.score_threshold.is_none()
    }
}

impl Infer for NonMaximumSuppression {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (boxes, scores) = (&self.boxes, &self.scores);
        rules::rank_in(boxes, 3..=3, "boxes")?; // C1
        rules::rank_in(scores, 3..=3, "scores")?;
        let (count, item) = if self.boxes_last() { (2, 1) } else { (1, 2) };
        let four = Dim::from(4);
        if !boxes.dim(item).may_equal(&four) {
            let message = format!("a box has 4 coordinates, found {} in dimension {item}", boxes.dim(item)); // C2
            let note = format!("boxes: {}\nthe dimension of the boxes is {count}", boxes.ty);
            return Err(OpError::at("boxes", message).note(note));
        }
        for i in [0, count] {
            if !boxes.dim(i).may_equal(scores.dim(i)) {
                let message =
                    format!("dimension {i} of `scores` is {}, but {} in `boxes`", scores.dim(i), boxes.dim(i));
                return Err(OpError::at("scores", message).note(format!("boxes: {}\nscores: {}", boxes.ty, scores.ty))); // C3
            }
        }
        if self.max_boxes < 1 {
            return Err(OpError::at("max_boxes", format!("`max_boxes` must be 1 or more, found {}", self.max_boxes))); // C4
        }
        let (n, most) = (scores.dim(0).clone(), Dim::from(self.max_boxes));
        let each = |of: Dim| match self.boxes_last() {
            true => [n.clone(), of, most.clone()],
            false => [n.clone(), most.clone(), of],
        };
        let mut outputs: Vec<Inferred> = vec![
            boxes.ty.with_shape(each(four)).into(),
            scores.ty.with_shape(each(scores.dim(item).clone())).into(),
            TensorType::new(DType::I32, [n.clone(), most.clone()]).into(),
        ];
        if !self.boxes_last() {
            outputs.push(TensorType::new(DType::I32, [n.clone()]).into());
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        op::Call,
        ops::{
            non_maximum_suppression::NonMaximumSuppression,
            testing::{Test, fails, fails_in, infer_in, infers},
        },
        types::Opset,
    };

    fn nms(boxes: &str, scores: &str) -> impl Fn(&mut Test) -> Call<NonMaximumSuppression> {
        move |g| mb::non_maximum_suppression(g.t(boxes), g.t(scores), 0.5, 7)
    }

    #[test]
    fn outputs() {
        infers(
            nms("Tensor<f16, N, 4, 100>", "Tensor<f16, N, 3, 100>"),
            "Tensor<f16, N, 4, 7>; Tensor<f16, N, 3, 7>; Tensor<i32, N, 7>",
        );
        let old = nms("Tensor<f32, 2, B, 4>", "Tensor<f32, 2, B, 3>");
        let outputs = infer_in(Opset::iOS16, |g| old(g).score_threshold(0.1)).unwrap();
        let types: Vec<_> = outputs.iter().map(|v| v.ty().to_string()).collect();
        let expected = ["Tensor<f32, 2, 7, 4>", "Tensor<f32, 2, 7, 3>", "Tensor<i32, 2, 7>", "Tensor<i32, 2>"];
        assert_eq!(types, expected);
    }

    #[test]
    fn constraints() {
        let scores = "Tensor<f32, 1, 3, 9>";
        fails(nms("Tensor<f32, 4, 9>", scores), "boxes", "rank 3"); // C1
        fails(nms("Tensor<f32, 1, 4, 9>", "Tensor<f32, 3, 9>"), "scores", "rank 3");
        fails(nms("Tensor<f32, 1, 9, 4>", scores), "boxes", "found 9 in dimension 1"); // C2
        fails(nms("Tensor<f32, 1, 4, 8>", scores), "scores", "dimension 2 of `scores` is 9, but 8"); // C3
        fails(nms("Tensor<f32, 2, 4, 9>", scores), "scores", "dimension 0 of `scores` is 1, but 2");
        let none = |g: &mut Test| mb::non_maximum_suppression(g.t("Tensor<f32, 1, 4, 9>"), g.t(scores), 0.5, 0);
        fails(none, "max_boxes", "1 or more, found 0"); // C4
    }

    #[test]
    fn the_score_threshold_belongs_to_the_older_opsets() {
        let boxes = ("Tensor<f32, 1, 9, 4>", "Tensor<f32, 1, 9, 3>");
        fails_in(Opset::iOS15, nms(boxes.0, boxes.1), "score_threshold", "needs `score_threshold`");
        let new = nms("Tensor<f32, 1, 4, 9>", "Tensor<f32, 1, 3, 9>");
        fails_in(Opset::iOS17, |g| new(g).score_threshold(0.5), "score_threshold", "gone from opset iOS17 on");
    }
}
