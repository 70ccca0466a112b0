//! Dimensions: numbers, symbols, and what arithmetic makes of them.
//!
//! A [`Dim`] is an integer polynomial over *atoms*: symbols such as `H`, and the operations that a polynomial cannot
//! hold (`floor(a / b)`, `max`, `min`). It is kept in one canonical form, so two dimensions that are written
//! differently but always equal (`H + H` and `2 * H`) compare equal. The same type serves as a symbolic integer in
//! shape arithmetic, where it may be negative.

mod display;
pub(crate) mod quotient;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::{Add, Mul, Sub},
    sync::Arc,
};

/// The values a symbol may take.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Domain {
    /// Any size from `min` to `max`, inclusive; no upper bound if `max` is `None`.
    Range {
        /// Smallest size.
        min: i64,
        /// Largest size.
        max: Option<i64>,
    },
    /// One of a list, the first being the default.
    OneOf(Vec<i64>),
}

impl Domain {
    /// Any size at all, as an unknown dimension of a file has it.
    pub const ANY: Domain = Domain::Range { min: 0, max: None };

    /// The least and the greatest size; `None` where there is no bound.
    pub fn bounds(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Domain::Range { min, max } => (Some(*min), *max),
            Domain::OneOf(sizes) => (sizes.iter().min().copied(), sizes.iter().max().copied()),
        }
    }

    /// Whether the domain has this size.
    pub fn contains(&self, size: i64) -> bool {
        match self {
            Domain::Range { min, max } => size >= *min && max.is_none_or(|max| size <= max),
            Domain::OneOf(sizes) => sizes.contains(&size),
        }
    }
}

/// `64..=512`, `1..`, `[224, 384]`.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Range { min, max: Some(max) } => write!(f, "{min}..={max}"),
            Domain::Range { min, max: None } => write!(f, "{min}.."),
            Domain::OneOf(sizes) => write!(f, "{sizes:?}"),
        }
    }
}

/// A named size which is known only when the model runs. Equal name and domain: the same symbol.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<(String, Domain)>);

impl Symbol {
    /// A symbol with its domain.
    pub fn new(name: impl Into<String>, domain: Domain) -> Symbol {
        Symbol(Arc::new((name.into(), domain)))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.0
    }

    /// The sizes it may take.
    pub fn domain(&self) -> &Domain {
        &self.0.1
    }

    /// Whether it stands for a size that nobody named (printed as `?`).
    pub fn is_anonymous(&self) -> bool {
        self.name().starts_with('?')
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(Symbol),
    FloorDiv(Dim, i64),
    Max(Dim, Dim),
    Min(Dim, Dim),
}

/// `constant + sum of coefficient * product of atoms`. No coefficient is 0; atoms of a product are sorted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Poly {
    terms: BTreeMap<Vec<Atom>, i64>,
    constant: i64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Number(i64),
    Poly(Arc<Poly>),
}

/// The size of one dimension: a number, or an expression over symbols.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim(Repr);

/// The name of a value as the beginning of names of unknown sizes: itself, or a hash if it is long, since one long name
/// may have many sizes.
pub(crate) fn scope_id(name: &str) -> std::borrow::Cow<'_, str> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    if name.len() <= 64 {
        return name.into();
    }
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    format!("{:x}", hasher.finish()).into()
}

type Bounds = (Option<i64>, Option<i64>);

/// Expressions of more atoms than this are replaced by one anonymous symbol, named after the expression: deep
/// networks of flexible size must not make types grow without end.
const MAX_ATOMS: usize = 24;

impl Dim {
    /// A dimension which is one symbol.
    pub fn symbol(symbol: Symbol) -> Dim {
        Dim::poly(Poly { terms: BTreeMap::from([(vec![Atom::Symbol(symbol)], 1)]), constant: 0 })
    }

    /// A size of which nothing is known. Two unknown sizes are the same only if their `id` is.
    pub fn unknown(id: impl fmt::Display) -> Dim {
        Dim::symbol(Symbol::new(format!("?{id}"), Domain::ANY))
    }

    /// The number, if it is one (it may be negative in shape arithmetic).
    pub fn value(&self) -> Option<i64> {
        match self.0 {
            Repr::Number(n) => Some(n),
            Repr::Poly(_) => None,
        }
    }

    /// The number as a size, if it is one and not negative.
    pub fn fixed(&self) -> Option<usize> {
        self.value().and_then(|n| usize::try_from(n).ok())
    }

    /// Whether this is exactly the number `n`.
    pub fn is(&self, n: i64) -> bool {
        self.value() == Some(n)
    }

    /// The symbol, if this is nothing but one.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        let Repr::Poly(p) = &self.0 else { return None };
        match (p.constant, p.terms.iter().next()) {
            (0, Some((atoms, 1))) if p.terms.len() == 1 => match &atoms[..] {
                [Atom::Symbol(s)] => Some(s),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether both may be the same number for some sizes of the symbols.
    pub fn may_equal(&self, other: &Dim) -> bool {
        let (min, max) = (self.clone() - other.clone()).bounds();
        min.is_none_or(|m| m <= 0) && max.is_none_or(|m| m >= 0)
    }

    /// The least and the greatest number it can be; `None` where there is no bound.
    pub fn bounds(&self) -> (Option<i64>, Option<i64>) {
        let Repr::Poly(p) = &self.0 else { return (self.value(), self.value()) };
        p.terms.iter().fold((Some(p.constant), Some(p.constant)), |sum, (atoms, &factor)| {
            let one = (Some(1), Some(1));
            let product = atoms.iter().fold(one, |b, a| multiply_bounds(b, a.bounds()));
            let scaled = multiply_bounds(product, (Some(factor), Some(factor)));
            (add_bound(sum.0, scaled.0), add_bound(sum.1, scaled.1))
        })
    }

    /// Whether it is at least `n` for every size of the symbols.
    pub fn at_least(&self, n: i64) -> bool {
        self.bounds().0.is_some_and(|min| min >= n)
    }

    /// The number for given sizes of the symbols; `None` if a symbol has none or a number does not fit.
    pub fn eval(&self, size: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
        let Repr::Poly(p) = &self.0 else { return self.value() };
        p.terms.iter().try_fold(p.constant, |sum, (atoms, &factor)| {
            let product = atoms.iter().try_fold(factor, |n, a| n.checked_mul(a.eval(size)?))?;
            sum.checked_add(product)
        })
    }

    /// The same expression with symbols replaced; `None` from `with` leaves a symbol as it is.
    pub fn substitute(&self, with: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        let Repr::Poly(p) = &self.0 else { return self.clone() };
        p.terms.iter().fold(Dim::from(p.constant), |sum, (atoms, &factor)| {
            sum + atoms.iter().fold(Dim::from(factor), |n, a| n * a.substitute(with))
        })
    }

    /// All symbols in it, sorted.
    pub fn symbols(&self) -> BTreeSet<Symbol> {
        let mut found = BTreeSet::new();
        self.collect(&mut found);
        found
    }

    fn collect(&self, found: &mut BTreeSet<Symbol>) {
        let Repr::Poly(p) = &self.0 else { return };
        for atom in p.terms.keys().flatten() {
            match atom {
                Atom::Symbol(s) => drop(found.insert(s.clone())),
                Atom::FloorDiv(a, _) => a.collect(found),
                Atom::Max(a, b) | Atom::Min(a, b) => [a, b].into_iter().for_each(|d| d.collect(found)),
            }
        }
    }

    /// `floor(self / divisor)`. Parts that the divisor divides leave the division: `(2 * H + 3) / 2` is `H + 1`.
    ///
    /// # Panics
    /// If `divisor` is not positive.
    pub fn floor_div(self, divisor: i64) -> Dim {
        assert!(divisor > 0, "a dimension is divided by a positive number");
        match self.0 {
            Repr::Number(n) => Dim::from(n.div_euclid(divisor)),
            Repr::Poly(p) => {
                let mut whole = Poly { constant: p.constant.div_euclid(divisor), ..Poly::default() };
                let mut rest = Poly { constant: p.constant.rem_euclid(divisor), ..Poly::default() };
                for (atoms, &factor) in &p.terms {
                    let part = if factor % divisor == 0 { &mut whole } else { &mut rest };
                    let factor = if factor % divisor == 0 { factor / divisor } else { factor };
                    part.terms.insert(atoms.clone(), factor);
                }
                if rest.terms.is_empty() {
                    return Dim::poly(whole); // 0 <= rest.constant < divisor
                }
                Dim::poly(whole) + Dim::atom(Atom::FloorDiv(Dim::poly(rest), divisor))
            }
        }
    }

    /// `ceil(self / divisor)`.
    ///
    /// # Panics
    /// If `divisor` is not positive.
    pub fn ceil_div(self, divisor: i64) -> Dim {
        (self + Dim::from(divisor - 1)).floor_div(divisor)
    }

    /// The greater of two.
    pub fn max(self, other: Dim) -> Dim {
        self.pick(other, true)
    }

    /// The smaller of two.
    pub fn min(self, other: Dim) -> Dim {
        self.pick(other, false)
    }

    fn pick(self, other: Dim, greater: bool) -> Dim {
        let (min, max) = (self.clone() - other.clone()).bounds();
        if min.is_some_and(|m| m >= 0) {
            return if greater { self } else { other };
        }
        if max.is_some_and(|m| m <= 0) {
            return if greater { other } else { self };
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        Dim::atom(if greater { Atom::Max(a, b) } else { Atom::Min(a, b) })
    }

    fn atom(atom: Atom) -> Dim {
        Dim::poly(Poly { terms: BTreeMap::from([(vec![atom], 1)]), constant: 0 })
    }

    fn poly(p: Poly) -> Dim {
        if p.terms.is_empty() {
            return Dim(Repr::Number(p.constant));
        }
        let size: usize = p.terms.keys().flatten().map(Atom::size).sum();
        if size > MAX_ATOMS {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            p.hash(&mut hasher);
            return Dim::unknown(format_args!("{:x}", hasher.finish()));
        }
        Dim(Repr::Poly(Arc::new(p)))
    }

    fn into_poly(self) -> Poly {
        match self.0 {
            Repr::Number(constant) => Poly { constant, ..Poly::default() },
            Repr::Poly(p) => Arc::unwrap_or_clone(p),
        }
    }

    fn size(&self) -> usize {
        match &self.0 {
            Repr::Number(_) => 0,
            Repr::Poly(p) => p.terms.keys().flatten().map(Atom::size).sum(),
        }
    }
}

impl Atom {
    fn bounds(&self) -> Bounds {
        match self {
            Atom::Symbol(s) => s.domain().bounds(),
            Atom::FloorDiv(a, d) => {
                let (min, max) = a.bounds();
                (min.map(|m| m.div_euclid(*d)), max.map(|m| m.div_euclid(*d)))
            }
            Atom::Max(a, b) => {
                let ((a0, a1), (b0, b1)) = (a.bounds(), b.bounds());
                (a0.max(b0), a1.zip(b1).map(|(a, b)| a.max(b)))
            }
            Atom::Min(a, b) => {
                let ((a0, a1), (b0, b1)) = (a.bounds(), b.bounds());
                let known = [a1, b1].into_iter().flatten().min();
                (a0.zip(b0).map(|(a, b)| a.min(b)), known)
            }
        }
    }

    fn eval(&self, size: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
        match self {
            Atom::Symbol(s) => size(s),
            Atom::FloorDiv(a, d) => Some(a.eval(size)?.div_euclid(*d)),
            Atom::Max(a, b) => Some(a.eval(size)?.max(b.eval(size)?)),
            Atom::Min(a, b) => Some(a.eval(size)?.min(b.eval(size)?)),
        }
    }

    fn substitute(&self, with: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        match self {
            Atom::Symbol(s) => with(s).unwrap_or_else(|| Dim::symbol(s.clone())),
            Atom::FloorDiv(a, d) => a.substitute(with).floor_div(*d),
            Atom::Max(a, b) => a.substitute(with).max(b.substitute(with)),
            Atom::Min(a, b) => a.substitute(with).min(b.substitute(with)),
        }
    }

    fn size(&self) -> usize {
        match self {
            Atom::Symbol(_) => 1,
            Atom::FloorDiv(a, _) => 1 + a.size(),
            Atom::Max(a, b) | Atom::Min(a, b) => 1 + a.size() + b.size(),
        }
    }
}

fn add_bound(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a?.checked_add(b?)
}

/// Interval product. A missing bound makes a missing bound, unless both factors are known not to be negative: then the
/// lower bound stays known, which is the case for every size.
fn multiply_bounds(a: Bounds, b: Bounds) -> Bounds {
    if let ((Some(a0), Some(a1)), (Some(b0), Some(b1))) = (a, b) {
        let all = [a0.checked_mul(b0), a0.checked_mul(b1), a1.checked_mul(b0), a1.checked_mul(b1)];
        if let [Some(p), Some(q), Some(r), Some(s)] = all {
            return (Some(p.min(q).min(r).min(s)), Some(p.max(q).max(r).max(s)));
        }
        return (None, None);
    }
    let not_negative = |b: Bounds| b.0.is_some_and(|min| min >= 0);
    let not_positive = |b: Bounds| b.1.is_some_and(|max| max <= 0);
    let product = |x: Option<i64>, y: Option<i64>| x.zip(y).and_then(|(x, y)| x.checked_mul(y));
    if not_negative(a) && not_negative(b) {
        (product(a.0, b.0), product(a.1, b.1))
    } else if (not_negative(a) && not_positive(b)) || (not_positive(a) && not_negative(b)) {
        let (pos, neg) = if not_negative(a) { (a, b) } else { (b, a) };
        (product(pos.1, neg.0), product(pos.0, neg.1))
    } else {
        (None, None)
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim(Repr::Number(n))
    }
}

impl From<i32> for Dim {
    fn from(n: i32) -> Dim {
        Dim::from(i64::from(n))
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::from(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<Symbol> for Dim {
    fn from(s: Symbol) -> Dim {
        Dim::symbol(s)
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return Dim::from(a.saturating_add(b));
        }
        let (mut sum, other) = (self.into_poly(), other.into_poly());
        sum.constant = sum.constant.saturating_add(other.constant);
        for (atoms, factor) in other.terms {
            let total = sum.terms.get(&atoms).copied().unwrap_or(0).saturating_add(factor);
            if total == 0 {
                sum.terms.remove(&atoms);
            } else {
                sum.terms.insert(atoms, total);
            }
        }
        Dim::poly(sum)
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + other * Dim::from(-1)
    }
}

impl Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return Dim::from(a.saturating_mul(b));
        }
        let (a, b) = (self.into_poly(), other.into_poly());
        let parts = |p: Poly| {
            let constant = (p.constant != 0).then_some((vec![], p.constant));
            p.terms.into_iter().chain(constant).collect::<Vec<_>>()
        };
        let (a, b) = (parts(a), parts(b));
        let mut product = Poly::default();
        for (x, n) in &a {
            for (y, m) in &b {
                let factor = n.saturating_mul(*m);
                let mut atoms: Vec<Atom> = x.iter().chain(y).cloned().collect();
                atoms.sort();
                if atoms.is_empty() {
                    product.constant = product.constant.saturating_add(factor);
                } else {
                    let total = product.terms.entry(atoms).or_default();
                    *total = total.saturating_add(factor);
                }
            }
        }
        product.terms.retain(|_, factor| *factor != 0);
        Dim::poly(product)
    }
}

macro_rules! with_numbers {
    ($($op:ident $f:ident),*) => {$(
        impl $op<i64> for Dim {
            type Output = Dim;
            fn $f(self, n: i64) -> Dim { $op::$f(self, Dim::from(n)) }
        }
    )*};
}
with_numbers!(Add add, Sub sub, Mul mul);

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sym(name: &str, min: i64, max: i64) -> Dim {
        Dim::symbol(Symbol::new(name, Domain::Range { min, max: Some(max) }))
    }

    #[test]
    fn equal_expressions_have_one_form() {
        let (h, w) = (sym("H", 1, 512), sym("W", 1, 512));
        assert_eq!(h.clone() + h.clone(), h.clone() * 2);
        assert_eq!(h.clone() * w.clone(), w.clone() * h.clone());
        assert_eq!(h.clone() - h.clone(), Dim::from(0));
        assert_eq!((h.clone() * 2 + 3).floor_div(2), h.clone() + 1);
        assert_ne!(h, w);
    }

    #[test]
    fn printing_reads_like_the_source() {
        let h = sym("H", 1, 512);
        assert_eq!((h.clone() * 2 - 1).to_string(), "2 * H - 1");
        assert_eq!((h.clone() - 3).floor_div(2).to_string(), "(H + 1) / 2 - 2");
        assert_eq!(h.clone().floor_div(2).to_string(), "H / 2");
        assert_eq!(h.max(Dim::from(4)).to_string(), "max(4, H)");
        assert_eq!(Dim::unknown(3).to_string(), "?");
    }

    #[test]
    fn evaluation_agrees_with_arithmetic() {
        let (h, w) = (sym("H", 1, 64), sym("W", 1, 64));
        let e = ((h.clone() * 3 - w.clone()).floor_div(4) + h.clone() * w.clone()).max(w.clone() - 70);
        for (a, b) in [(1, 1), (5, 17), (64, 2), (3, 64)] {
            let size = |s: &Symbol| Some(if s.name() == "H" { a } else { b });
            assert_eq!(e.eval(&size), Some(((3 * a - b).div_euclid(4) + a * b).max(b - 70)));
        }
        assert_eq!(e.eval(&|_| None), None);
    }

    #[test]
    fn bounds_decide_what_may_be_equal() {
        let h = sym("H", 64, 512);
        assert_eq!((h.clone() - 2).floor_div(2).bounds(), (Some(31), Some(255)));
        assert!(h.may_equal(&Dim::from(64)));
        assert!(!h.may_equal(&Dim::from(63)));
        assert!(!(h.clone() + 1).may_equal(&h));
        assert!(Dim::unknown(1).may_equal(&h));
        assert!(Dim::unknown(1).at_least(0));
        assert_eq!(h.clone().max(Dim::from(10)), h);
    }

    #[test]
    fn substitution_simplifies() {
        let h = sym("H", 1, 512);
        let e = (h * 2 + 5).floor_div(3);
        assert_eq!(e.substitute(&|_| Some(Dim::from(8))), Dim::from(7));
    }

    #[test]
    fn expressions_do_not_grow_without_end() {
        let mut e = sym("H", 1, 512);
        for i in 0..200 {
            e = (e + i).floor_div(3).max(sym(&format!("S{i}"), 1, 9)) * 2;
            assert!(e.size() <= MAX_ATOMS + 2);
        }
    }
}
