//! Exact division of dimensions, as `reshape` needs it for the size it works out itself.

use super::{Atom, Dim, Poly, Repr};

impl Dim {
    /// The dimension that times `divisor` is this one for every size of the symbols, if there is one that can be
    /// written: `(4 * H * W) / (2 * W)` is `2 * H`.
    pub fn divide_exact(&self, divisor: &Dim) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.value(), divisor.value()) {
            return (b != 0 && a % b == 0).then(|| Dim::from(a / b));
        }
        if self == divisor || self.is(0) {
            return Some(Dim::from(i64::from(self == divisor)));
        }
        let (factor, atoms) = divisor.monomial()?;
        let part = |of: &[Atom], n: i64| {
            let mut left = of.to_vec();
            for atom in &atoms {
                left.remove(left.iter().position(|a| a == atom)?);
            }
            (factor != 0 && n % factor == 0).then(|| (left, n / factor))
        };
        let poly = self.clone().into_poly();
        let mut quotient = Poly::default();
        let constant = (poly.constant != 0).then_some((vec![], poly.constant));
        for (of, n) in poly.terms.into_iter().chain(constant) {
            match part(&of, n)? {
                (left, n) if left.is_empty() => quotient.constant = n,
                (left, n) => drop(quotient.terms.insert(left, n)),
            }
        }
        Some(Dim::poly(quotient))
    }

    /// The factor and the atoms, if this is one product.
    fn monomial(&self) -> Option<(i64, Vec<Atom>)> {
        match &self.0 {
            Repr::Number(n) => Some((*n, vec![])),
            Repr::Poly(p) if p.constant == 0 && p.terms.len() == 1 => {
                p.terms.iter().next().map(|(atoms, factor)| (*factor, atoms.clone()))
            }
            Repr::Poly(_) => None,
        }
    }
}

/// The product of some dimensions over the product of others, if it can be written exactly. Equal dimensions cancel
/// first, so that `[H + 1, 8]` over `[H + 1, 2]` is 4.
pub(crate) fn quotient(numerator: &[Dim], denominator: &[Dim]) -> Option<Dim> {
    let mut rest = numerator.to_vec();
    let mut divisor = Dim::from(1);
    for d in denominator {
        match rest.iter().position(|n| n == d) {
            Some(i) => drop(rest.swap_remove(i)),
            None => divisor = divisor * d.clone(),
        }
    }
    rest.into_iter().fold(Dim::from(1), |n, d| n * d).divide_exact(&divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Domain, Symbol};

    fn sym(name: &str) -> Dim {
        Dim::symbol(Symbol::new(name, Domain::Range { min: 1, max: None }))
    }

    #[test]
    fn products_divide_by_products() {
        let (h, w) = (sym("H"), sym("W"));
        let area = h.clone() * w.clone() * 4;
        assert_eq!(area.divide_exact(&(w.clone() * 2)), Some(h.clone() * 2));
        assert_eq!((h.clone() * 6 + 3).divide_exact(&Dim::from(3)), Some(h.clone() * 2 + 1));
        assert_eq!((h.clone() * w.clone() + h.clone()).divide_exact(&h), Some(w.clone() + 1));
        assert_eq!(area.divide_exact(&Dim::from(8)), None);
        assert_eq!(h.divide_exact(&w), None);
        assert_eq!(Dim::from(7).divide_exact(&Dim::from(0)), None);
        assert_eq!(h.divide_exact(&Dim::from(0)), None);
    }

    #[test]
    fn equal_factors_cancel() {
        let h = sym("H") + 1;
        assert_eq!(quotient(&[h.clone(), Dim::from(8)], &[Dim::from(2), h.clone()]), Some(Dim::from(4)));
        assert_eq!(quotient(&[Dim::from(8)], &[h]), None);
    }
}
