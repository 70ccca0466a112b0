//! Non-maximum suppression: of boxes that mean the same face, the surest stays.

use super::boxes::{Rect, Sides};

/// What part of two boxes is common, 0 to 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Overlap {
    /// Of what either covers, with exclusive sides.
    Union,
    /// Of the smaller box, with inclusive sides.
    Smaller,
}

impl Overlap {
    /// The overlap of two boxes.
    pub(crate) fn of(self, a: &Rect, b: &Rect) -> f32 {
        match self {
            Overlap::Union => {
                let common = a.intersection(b, Sides::Exclusive);
                common / (a.area(Sides::Exclusive) + b.area(Sides::Exclusive) - common)
            }
            Overlap::Smaller => {
                let smaller = a.area(Sides::Inclusive).min(b.area(Sides::Inclusive));
                a.intersection(b, Sides::Inclusive) / smaller
            }
        }
    }
}

/// The indices of the boxes that stay, by descending score (of equal scores the earlier first): each one that overlaps
/// none before it by more than `threshold`.
pub(crate) fn nms(boxes: &[Rect], scores: &[f32], overlap: Overlap, threshold: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut kept: Vec<usize> = vec![];
    for i in order {
        if kept.iter().all(|k| f64::from(overlap.of(&boxes[*k], &boxes[i])) <= threshold) {
            kept.push(i);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: [[f32; 4]; 4] =
        [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [5.0, 0.0, 15.0, 10.0], [2.0, 2.0, 4.0, 4.0]];

    fn kept(scores: [f32; 4], overlap: Overlap, threshold: f64) -> Vec<usize> {
        nms(&BOXES.map(Rect::new), &scores, overlap, threshold)
    }

    #[test]
    fn what_overlaps_a_better_one_goes() {
        assert_eq!(kept([0.9, 0.8, 0.7, 0.6], Overlap::Union, 0.5), [0, 2, 3]);
        assert_eq!(kept([0.7, 0.8, 0.9, 0.6], Overlap::Union, 0.5), [2, 1, 3]);
        assert_eq!(kept([0.9, 0.8, 0.7, 0.6], Overlap::Union, 0.4), [0, 2, 3], "a box that went suppresses none");
        assert_eq!(kept([0.9, 0.8, 0.7, 0.6], Overlap::Smaller, 0.7), [0, 2], "one inside another goes");
    }

    #[test]
    fn the_threshold_itself_does_not_suppress() {
        let inside = [Rect::new([0.0, 0.0, 10.0, 10.0]), Rect::new([0.0, 0.0, 10.0, 5.0])];
        assert_eq!(nms(&inside, &[0.9, 0.8], Overlap::Union, 0.5), [0, 1]);
        assert_eq!(nms(&inside, &[0.9, 0.8], Overlap::Union, 0.49), [0]);
    }

    #[test]
    fn of_equal_scores_the_earlier_stays() {
        assert_eq!(kept([0.5; 4], Overlap::Union, 0.5), [0, 2, 3]);
    }
}
