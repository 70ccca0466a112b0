//! Determinants of small matrices.

use std::collections::BTreeMap;

use mil_core::{graph::Value, mb};

use super::{Entry, Lowered, Node};
use crate::import::Refusal;

/// Twice as many products with every row: beyond this a program would be too long.
const MOST: usize = 6;

pub(super) const OPS: &[Entry] = &[Entry::new("Det", det).but("matrices of more than 6 rows")];

/// Laplace's expansion along the rows from the last to the first, each minor computed once.
fn det(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let rank = x.rank();
    let size = x.size(rank.wrapping_sub(1)).filter(|s| rank >= 2 && x.size(rank - 2) == Some(*s));
    let Some(size) = size.filter(|s| (1..=MOST).contains(s)) else {
        return Err(Refusal::new(format!("takes the determinant of {}", x.value.ty()))
            .remedy(format!("MIL has no determinants; square matrices of up to {MOST} rows are expanded")));
    };
    let mut minors: BTreeMap<u32, Value> = BTreeMap::new();
    for row in (0..size).rev() {
        let line = n.at(&x.value, rank - 2, row as i64)?;
        let elements = (0..size).map(|column| n.at(&line, rank - 2, column as i64)).collect::<Result<Vec<_>, _>>()?;
        let mut next = BTreeMap::new();
        for columns in (0u32..1 << size).filter(|c| c.count_ones() as usize == size - row) {
            let mut sum: Option<Value> = None;
            for (i, column) in (0..size).filter(|c| columns >> c & 1 == 1).enumerate() {
                let product = match minors.get(&(columns & !(1 << column))) {
                    Some(minor) => n.push(mb::mul(&elements[column], minor))?,
                    None => elements[column].clone(),
                };
                sum = Some(match sum {
                    None => product,
                    Some(before) if i % 2 == 1 => n.push(mb::sub(&before, &product))?,
                    Some(before) => n.push(mb::add(&before, &product))?,
                });
            }
            next.extend(sum.map(|sum| (columns, sum)));
        }
        minors = next;
    }
    let y = minors.into_values().next().ok_or_else(|| Refusal::new("has no determinant"))?;
    n.one(y, x.dtype)
}
