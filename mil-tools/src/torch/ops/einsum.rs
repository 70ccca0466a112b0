//! Sums of products, as an equation says them.

use mil_core::{graph::Value, mb};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::einsum", einsum).but("no letter twice in one operand"),
    Entry::new("aten::tensordot", tensordot),
];

/// A tensor whose dimensions have letters.
#[derive(Clone)]
struct Labeled {
    value: Value,
    letters: Vec<char>,
}

fn einsum(n: &mut Node<'_, '_>) -> Lowered {
    let equation = n.text(0, "equation")?.ok_or_else(|| Refusal::new("has no equation"))?;
    let mut tensors = n.tensors(1, "tensors")?;
    let dtype = tensors.first().ok_or_else(|| Refusal::new("has no operands"))?.dtype;
    for t in &mut tensors {
        *t = n.convert(t, dtype)?;
    }
    let (labels, out) = parse(&equation, &tensors)?;
    let operands = tensors.into_iter().zip(labels).map(|(t, letters)| Labeled { value: t.value, letters });
    let y = contract(n, operands.collect(), &out)?;
    n.one(y, dtype)
}

/// Letters of each operand, and those of the result. The dimensions of `...` get letters that cannot be typed.
fn parse(equation: &str, tensors: &[Tensor]) -> Result<(Vec<Vec<char>>, Vec<char>), Refusal> {
    let wrong = |what: &str| Refusal::new(format!("its equation `{}` {what}", equation.escape_debug()));
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&text[..], None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != tensors.len() {
        return Err(wrong(&format!("is of {} operands, there are {}", parts.len(), tensors.len())));
    }
    let dot = |i: usize| char::from_u32(0xe000 + i as u32).unwrap_or('\u{e000}');
    let mut widest = 0;
    let mut labels = vec![];
    for (part, t) in parts.iter().zip(tensors) {
        let named = part.chars().filter(char::is_ascii_alphabetic).count();
        let (has_dots, rank) = (part.contains("..."), t.rank());
        if named > rank || !has_dots && named != rank {
            return Err(wrong(&format!("has {named} letters for an operand of rank {rank}")));
        }
        let dots = if has_dots { rank - named } else { 0 };
        widest = widest.max(dots);
        // The dimensions of `...` are aligned at the end.
        let letters = letters(part, &(0..dots).map(|i| dot(dots - 1 - i)).collect::<Vec<_>>())
            .ok_or_else(|| wrong("cannot be read"))?;
        let mut sorted = letters.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|w| w[0] == w[1]) {
            return Err(
                wrong("has a letter twice in one operand, which is not supported").remedy("take the `diagonal` first")
            );
        }
        labels.push(letters);
    }
    let dots: Vec<char> = (0..widest).map(|i| dot(widest - 1 - i)).collect();
    let out = match right {
        Some(right) => letters(right, &dots).ok_or_else(|| wrong("cannot be read"))?,
        None => {
            let mut once: Vec<char> = labels.iter().flatten().copied().filter(|c| c.is_ascii_alphabetic()).collect();
            once.sort_unstable();
            let all = once.clone();
            once.dedup();
            once.retain(|c| all.iter().filter(|d| *d == c).count() == 1);
            dots.into_iter().chain(once).collect()
        }
    };
    if let Some(unknown) = out.iter().find(|c| !labels.iter().any(|l| l.contains(c))) {
        return Err(wrong(&format!("gives `{unknown}`, which no operand has")));
    }
    Ok((labels, out))
}

fn letters(part: &str, dots: &[char]) -> Option<Vec<char>> {
    let (before, after) = part.split_once("...").unwrap_or((part, ""));
    let middle = if part.contains("...") { dots } else { &[] };
    let all: Vec<char> = before.chars().chain(middle.iter().copied()).chain(after.chars()).collect();
    all.iter().all(|c| c.is_ascii_alphabetic() || dots.contains(c)).then_some(all)
}

/// From left to right, two at a time.
fn contract(n: &mut Node<'_, '_>, operands: Vec<Labeled>, out: &[char]) -> Result<Value, Refusal> {
    let mut open: Vec<Labeled> = operands;
    open.reverse();
    let Some(mut acc) = open.pop() else { return Err(Refusal::new("has no operands")) };
    while let Some(next) = open.pop() {
        let needed = |c: &char| out.contains(c) || open.iter().any(|o| o.letters.contains(c));
        acc = pair(n, &acc, &next, &needed)?;
    }
    let acc = summed(n, &acc, &|c| out.contains(c))?;
    let perm: Vec<usize> = out.iter().filter_map(|c| acc.letters.iter().position(|l| l == c)).collect();
    n.transpose(&acc.value, &perm)
}

/// Without the dimensions that nobody needs.
fn summed(n: &mut Node<'_, '_>, x: &Labeled, needed: &dyn Fn(&char) -> bool) -> Result<Labeled, Refusal> {
    let axes: Vec<i64> = (0..x.letters.len()).filter(|i| !needed(&x.letters[*i])).map(|i| i as i64).collect();
    if axes.is_empty() {
        return Ok(x.clone());
    }
    let value = n.push(mb::reduce_sum(&x.value).axes(axes))?;
    Ok(Labeled { value, letters: x.letters.iter().copied().filter(|c| needed(c)).collect() })
}

/// The sum of products of two: batch dimensions, those of the left, those of the right.
fn pair(n: &mut Node<'_, '_>, x: &Labeled, y: &Labeled, needed: &dyn Fn(&char) -> bool) -> Result<Labeled, Refusal> {
    let x = summed(n, x, &|c| needed(c) || y.letters.contains(c))?;
    let y = summed(n, y, &|c| needed(c) || x.letters.contains(c))?;
    let both: Vec<char> = x.letters.iter().copied().filter(|c| y.letters.contains(c)).collect();
    let (batch, sum): (Vec<char>, Vec<char>) = both.iter().partition(|c| needed(c));
    let only = |a: &Labeled| -> Vec<char> { a.letters.iter().copied().filter(|c| !both.contains(c)).collect() };
    let (left, right) = (only(&x), only(&y));
    if sum.is_empty() {
        // Nothing is summed: an elementwise product.
        let letters: Vec<char> = batch.iter().chain(&left).chain(&right).copied().collect();
        let (a, b) = (spread(n, &x, &letters)?, spread(n, &y, &letters)?);
        return Ok(Labeled { value: n.push(mb::mul(&a, &b))?, letters });
    }
    let a = grouped(n, &x, &[&batch, &left, &sum])?;
    let b = grouped(n, &y, &[&batch, &sum, &right])?;
    let mut sizes = vec![];
    for c in &batch {
        sizes.push(size_of(n, &x, &y, *c)?);
    }
    for (t, own) in [(&x, &left), (&y, &right)] {
        for c in own {
            sizes.push(size_of(n, t, t, *c)?);
        }
    }
    let z = n.push(mb::matmul(&a, &b))?;
    let value = n.reshape(&z, &sizes)?;
    Ok(Labeled { value, letters: batch.into_iter().chain(left).chain(right).collect() })
}

/// The size of a letter's dimension; one of 1 stands for the other operand's.
fn size_of(n: &mut Node<'_, '_>, x: &Labeled, y: &Labeled, c: char) -> Result<Size, Refusal> {
    let mut found = Size::Fixed(1);
    for t in [x, y] {
        if let (Size::Fixed(1), Some(axis)) = (&found, t.letters.iter().position(|l| *l == c)) {
            found = n.size(&t.value, axis)?;
        }
    }
    Ok(found)
}

/// Transposed to groups of letters, each merged to one dimension; the batch stays as it is if it is one letter.
fn grouped(n: &mut Node<'_, '_>, x: &Labeled, groups: &[&Vec<char>; 3]) -> Result<Value, Refusal> {
    let order = groups.iter().flat_map(|g| g.iter());
    let perm: Vec<usize> = order.filter_map(|c| x.letters.iter().position(|l| l == c)).collect();
    let turned = n.transpose(&x.value, &perm)?;
    let mut sizes = vec![];
    let mut at = 0;
    for (i, group) in groups.iter().enumerate() {
        let mut own = vec![];
        for axis in at..at + group.len() {
            own.push(n.size(&turned, axis)?);
        }
        at += group.len();
        // Batch dimensions stay apart, so that those of 1 broadcast.
        if i == 0 {
            sizes.extend(own);
        } else {
            sizes.push(n.product(&own)?);
        }
    }
    n.reshape(&turned, &sizes)
}

/// With the dimensions of these letters, in this order; those that it has not are of size 1.
fn spread(n: &mut Node<'_, '_>, x: &Labeled, letters: &[char]) -> Result<Value, Refusal> {
    let perm: Vec<usize> = letters.iter().filter_map(|c| x.letters.iter().position(|l| l == c)).collect();
    let turned = n.transpose(&x.value, &perm)?;
    let missing: Vec<usize> = (0..letters.len()).filter(|i| !x.letters.contains(&letters[*i])).collect();
    n.expand_dims(&turned, &missing)
}

fn tensordot(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.tensor(0, "self")?, n.tensor(1, "other")?);
    let (of_a, of_b) = (n.ints(2, "dims_self")?.unwrap_or_default(), n.ints(3, "dims_other")?.unwrap_or_default());
    if of_a.len() != of_b.len() {
        return Err(Refusal::new("sums over other dimensions of one operand than of the other"));
    }
    let letter = |i: usize| char::from_u32(0xe000 + i as u32).unwrap_or('\u{e000}');
    let left: Vec<char> = (0..a.rank()).map(letter).collect();
    let mut right: Vec<char> = (a.rank()..a.rank() + b.rank()).map(letter).collect();
    for (i, j) in of_a.iter().zip(&of_b) {
        right[b.axis(*j)?] = left[a.axis(*i)?];
    }
    let out: Vec<char> =
        left.iter().filter(|c| !right.contains(c)).chain(right.iter().filter(|c| !left.contains(c))).copied().collect();
    let operands = vec![Labeled { value: a.value, letters: left }, Labeled { value: b.value, letters: right }];
    let y = contract(n, operands, &out)?;
    n.one(y, a.dtype)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn a_product_of_matrices_is_a_matmul() {
        let net = |equation: &str| {
            let net = Net::new().input("a", &[2, 3, 4]).input("b", &[2, 4, 5]);
            net.node(&format!("y = aten::einsum('{equation}', [a, b])"))
        };
        assert_eq!(net("bij,bjk->bik").ops("y"), ["matmul"]);
        assert!(net("bij->bik").refusal("y").contains("its equation `bij->bik` "));
        let net = Net::new().input("a", &[2, 3]).node("y = aten::tensordot(a, a, [0, 1], [0])");
        assert!(net.refusal("y").contains("sums over other dimensions of one operand than of the other"));
    }
}
