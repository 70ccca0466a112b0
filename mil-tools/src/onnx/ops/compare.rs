//! Comparisons, logic, and choosing by a condition.

use mil_core::{mb, types::DType};

use super::{Entry, Lowered, Node};

pub(super) const OPS: &[Entry] = &[
    Entry::new("And", and),
    Entry::new("Equal", equal).but("not of strings"),
    Entry::new("Greater", greater),
    Entry::new("GreaterOrEqual", greater_equal),
    Entry::new("Less", less),
    Entry::new("LessOrEqual", less_equal),
    Entry::new("Not", not),
    Entry::new("Or", or),
    Entry::new("Where", where_),
    Entry::new("Xor", xor),
];

/// Ops of two values that MIL has.
macro_rules! same {
    ($($name:ident = $op:ident),*) => {$(
        fn $name(n: &mut Node<'_, '_>) -> Lowered {
            let (x, y) = (n.input(0)?, n.input(1)?);
            let z = n.push(mb::$op(&x.value, &y.value))?;
            n.one(z, DType::Bool)
        }
    )*};
}

same! {
    and = logical_and, greater = greater, greater_equal = greater_equal, less = less, less_equal = less_equal,
    or = logical_or, xor = logical_xor
}

fn equal(n: &mut Node<'_, '_>) -> Lowered {
    let (x, y) = (n.input(0)?, n.input(1)?);
    let z = if x.dtype == DType::Bool {
        let differ = n.push(mb::logical_xor(&x.value, &y.value))?;
        n.push(mb::logical_not(&differ))?
    } else {
        n.push(mb::equal(&x.value, &y.value))?
    };
    n.one(z, DType::Bool)
}

fn not(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::logical_not(&x.value))?;
    n.one(y, DType::Bool)
}

fn where_(n: &mut Node<'_, '_>) -> Lowered {
    let (condition, x, y) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let z = n.select(&condition.value, &x.value, &y.value)?;
    n.one(z, x.dtype)
}
