//! Boxes in the photograph, and how a net's output moves them.

/// A box; x runs with columns, y with rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Rect {
    pub(crate) x1: f32,
    pub(crate) y1: f32,
    pub(crate) x2: f32,
    pub(crate) y2: f32,
}

/// How long a side from pixel `a` to pixel `b` is. MTCNN was published with both; which one holds is part of each step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sides {
    /// `b - a`.
    Exclusive,
    /// `b - a + 1`: the last pixel counts.
    Inclusive,
}

impl Sides {
    fn extra(self) -> f32 {
        match self {
            Sides::Exclusive => 0.0,
            Sides::Inclusive => 1.0,
        }
    }
}

impl Rect {
    pub(crate) fn new([x1, y1, x2, y2]: [f32; 4]) -> Rect {
        Rect { x1, y1, x2, y2 }
    }

    pub(crate) fn width(&self, sides: Sides) -> f32 {
        self.x2 - self.x1 + sides.extra()
    }

    pub(crate) fn height(&self, sides: Sides) -> f32 {
        self.y2 - self.y1 + sides.extra()
    }

    pub(crate) fn area(&self, sides: Sides) -> f32 {
        self.width(sides) * self.height(sides)
    }

    /// The area that both cover.
    pub(crate) fn intersection(&self, other: &Rect, sides: Sides) -> f32 {
        let common = Rect {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        };
        common.width(sides).max(0.0) * common.height(sides).max(0.0)
    }

    /// Moves every side by the net's regression, which is in units of the box.
    pub(crate) fn regress(&self, r: [f32; 4], sides: Sides) -> Rect {
        let (w, h) = (self.width(sides), self.height(sides));
        Rect::new([self.x1 + r[0] * w, self.y1 + r[1] * h, self.x2 + r[2] * w, self.y2 + r[3] * h])
    }

    /// The square around the same centre, as long as the longer side.
    pub(crate) fn square(&self) -> Rect {
        let (w, h) = (self.width(Sides::Exclusive), self.height(Sides::Exclusive));
        let longer = w.max(h);
        let (x1, y1) = (self.x1 + w * 0.5 - longer * 0.5, self.y1 + h * 0.5 - longer * 0.5);
        Rect { x1, y1, x2: x1 + longer, y2: y1 + longer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_is_in_units_of_the_box() {
        let b = Rect::new([10.0, 20.0, 30.0, 60.0]);
        let r = [0.1, -0.1, 0.5, 0.25];
        assert_eq!(b.regress(r, Sides::Exclusive), Rect::new([12.0, 16.0, 40.0, 70.0]));
        assert_eq!(b.regress([1.0, 0.0, 0.0, 1.0], Sides::Inclusive), Rect::new([31.0, 20.0, 30.0, 101.0]));
    }

    #[test]
    fn a_square_keeps_the_centre() {
        assert_eq!(Rect::new([0.0, 10.0, 4.0, 20.0]).square(), Rect::new([-3.0, 10.0, 7.0, 20.0]));
        assert_eq!(Rect::new([0.0, 0.0, 8.0, 2.0]).square(), Rect::new([0.0, -3.0, 8.0, 5.0]));
    }

    #[test]
    fn boxes_apart_have_nothing_in_common() {
        let (a, b) = (Rect::new([0.0, 0.0, 2.0, 2.0]), Rect::new([3.0, 3.0, 5.0, 5.0]));
        assert_eq!(a.intersection(&b, Sides::Exclusive), 0.0);
        assert_eq!(a.intersection(&b, Sides::Inclusive), 0.0);
        assert_eq!(a.intersection(&Rect::new([1.0, 1.0, 5.0, 5.0]), Sides::Inclusive), 4.0);
    }
}
