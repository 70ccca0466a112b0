//! Dimensions as people write them.

use std::fmt;

use super::{Atom, Dim, Repr};

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(s) if s.is_anonymous() => f.write_str("?"),
            Atom::Symbol(s) => f.write_str(s.name()),
            Atom::FloorDiv(a, d) if a.as_symbol().is_some() => write!(f, "{a} / {d}"),
            Atom::FloorDiv(a, d) => write!(f, "({a}) / {d}"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
        }
    }
}

/// `224`, `H`, `2 * H - 1`, `(H - 3) / 2 + 1`; a size that nobody named is `?`.
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = match &self.0 {
            Repr::Number(n) => return write!(f, "{n}"),
            Repr::Poly(p) => p,
        };
        for (i, (atoms, &factor)) in p.terms.iter().enumerate() {
            match (i, factor < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let mut first = true;
            if factor.unsigned_abs() != 1 {
                write!(f, "{}", factor.unsigned_abs())?;
                first = false;
            }
            let alone = atoms.len() == 1 && first;
            for atom in atoms {
                f.write_str(if first { "" } else { " * " })?;
                first = false;
                match atom {
                    Atom::FloorDiv(..) if !alone => write!(f, "({atom})")?,
                    _ => write!(f, "{atom}")?,
                }
            }
        }
        match p.constant {
            0 => Ok(()),
            n if n < 0 => write!(f, " - {}", n.unsigned_abs()),
            n => write!(f, " + {n}"),
        }
    }
}
