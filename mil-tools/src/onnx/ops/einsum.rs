//! Products in Einstein's notation, said with products of matrices.

use mil_core::{graph::Value, mb, types::Dim};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size};

pub(super) const OPS: &[Entry] = &[Entry::new("Einsum", einsum)];

/// A tensor with a letter for each of its dimensions.
#[derive(Clone, Debug)]
struct Term {
    value: Value,
    letters: Vec<char>,
}

/// The letters that stand for the dimensions of `...`, the last ones first.
fn hidden(from_end: usize) -> char {
    char::from_u32(0xE000 + from_end as u32).unwrap_or('\u{E000}')
}

/// The letters of a part of the equation, for a tensor of this rank if it is one of the operands.
fn letters(part: &str, rank: usize) -> Result<Vec<char>, Refusal> {
    let wrong = || Refusal::new(format!("its equation has the part `{}`", part.escape_debug()));
    let plain = |s: &str| s.chars().map(|c| c.is_ascii_alphabetic().then_some(c)).collect::<Option<Vec<char>>>();
    let Some((before, after)) = part.split_once("...") else {
        let all = plain(part).ok_or_else(wrong)?;
        return if all.len() == rank { Ok(all) } else { Err(wrong()) };
    };
    let (mut all, after) = (plain(before).ok_or_else(wrong)?, plain(after).ok_or_else(wrong)?);
    let count = rank.checked_sub(all.len() + after.len()).ok_or_else(wrong)?;
    all.extend((0..count).rev().map(hidden));
    all.extend(after);
    Ok(all)
}

fn einsum(n: &mut Node<'_, '_>) -> Lowered {
    let equation = n.string("equation")?.ok_or_else(|| Refusal::new("its equation is missing"))?.replace(' ', "");
    let inputs = n.all_inputs()?;
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&equation[..], None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != inputs.len() || inputs.is_empty() {
        return Err(Refusal::new(format!(
            "has {} inputs for the equation `{}`",
            inputs.len(),
            equation.escape_debug()
        )));
    }
    let mut terms = vec![];
    for (part, input) in parts.iter().zip(&inputs) {
        let term = Term { value: input.value.clone(), letters: letters(part, input.rank())? };
        terms.push(diagonal(n, term)?);
    }
    let dots = terms.iter().flat_map(|t| &t.letters).filter(|c| !c.is_ascii()).max().copied();
    let dots: Vec<char> = dots.map(|most| ('\u{E000}'..=most).rev().collect()).unwrap_or_default();
    let out = match right {
        Some(right) => {
            let plain = right.replace("...", "");
            let rank = plain.len() + if plain.len() < right.len() { dots.len() } else { 0 };
            letters(right, rank)?
        }
        None => {
            let mut all: Vec<char> = left.chars().filter(char::is_ascii_alphabetic).collect();
            all.sort_unstable();
            let once = |c: &char| all.iter().filter(|d| *d == c).count() == 1;
            let single: Vec<char> = all.iter().copied().filter(once).collect();
            dots.iter().copied().chain(single).collect()
        }
    };
    let known = |c: &char| terms.iter().any(|t| t.letters.contains(c));
    if out.iter().enumerate().any(|(i, c)| out[..i].contains(c) || !known(c)) {
        return Err(Refusal::new(format!("its equation `{}` has an impossible result", equation.escape_debug())));
    }
    let mut rest = terms.into_iter();
    let Some(mut product) = rest.next() else { return Err(Refusal::new("has no inputs")) };
    let rest: Vec<Term> = rest.collect();
    for (i, next) in rest.iter().enumerate() {
        let wanted = |c: &char| out.contains(c) || rest[i + 1..].iter().any(|t| t.letters.contains(c));
        let a = summed(n, product, |c| wanted(c) || next.letters.contains(c))?;
        let b = summed(n, next.clone(), |c| wanted(c) || a.letters.contains(c))?;
        product = contracted(n, a, b, wanted)?;
    }
    let product = summed(n, product, |c| out.contains(c))?;
    let y = ordered(n, &product, &out)?;
    let y = n.wrap(&y, inputs[0].dtype)?;
    n.one(y, inputs[0].dtype)
}

/// Letters that a tensor has twice stand for its diagonal.
fn diagonal(n: &mut Node<'_, '_>, mut term: Term) -> Result<Term, Refusal> {
    loop {
        let twice = |i: &usize| term.letters[..*i].contains(&term.letters[*i]);
        let Some(second) = (0..term.letters.len()).find(twice) else { return Ok(term) };
        let letter = term.letters[second];
        let first = term.letters.iter().position(|c| *c == letter).unwrap_or(0);
        let sizes = n.sizes(&term.value)?;
        let size = match (&sizes[first], &sizes[second]) {
            (Size::Fixed(a), Size::Fixed(b)) if a == b => *a,
            _ => return Err(Refusal::new(format!("takes a diagonal of {}, which is no square", term.value.ty()))),
        };
        let mut perm: Vec<usize> = (0..sizes.len()).filter(|i| *i != first && *i != second).collect();
        let mut letters: Vec<char> = perm.iter().map(|i| term.letters[*i]).collect();
        let mut flat: Vec<Size> = perm.iter().map(|i| sizes[*i].clone()).collect();
        perm.extend([first, second]);
        flat.push(Size::Fixed(size * size));
        let square = n.transpose(&term.value, &perm)?;
        let line = n.reshape(&square, &flat)?;
        let cut = crate::import::Cut { axis: flat.len() - 1, begin: None, end: None, step: size + 1 };
        letters.push(letter);
        term = Term { value: n.cut(&line, &[cut])?, letters };
    }
}

/// The sum over the dimensions that are not wanted.
fn summed(n: &mut Node<'_, '_>, term: Term, wanted: impl Fn(&char) -> bool) -> Result<Term, Refusal> {
    let axes: Vec<i64> = (0..term.letters.len()).filter(|i| !wanted(&term.letters[*i])).map(|i| i as i64).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let value = n.push(mb::reduce_sum(&term.value).axes(axes))?;
    Ok(Term { value, letters: term.letters.into_iter().filter(wanted).collect() })
}

/// The tensor with its dimensions in this order.
fn ordered(n: &mut Node<'_, '_>, term: &Term, order: &[char]) -> Result<Value, Refusal> {
    let perm: Vec<usize> = order.iter().filter_map(|c| term.letters.iter().position(|l| l == c)).collect();
    n.transpose(&term.value, &perm)
}

/// The sizes of dimensions.
fn sizes(n: &mut Node<'_, '_>, term: &Term, of: &[char]) -> Result<Vec<Size>, Refusal> {
    let all = n.sizes(&term.value)?;
    Ok(of.iter().filter_map(|c| term.letters.iter().position(|l| l == c)).map(|i| all[i].clone()).collect())
}

/// The product of two, summed over what they share and nobody wants.
fn contracted(n: &mut Node<'_, '_>, a: Term, b: Term, wanted: impl Fn(&char) -> bool) -> Result<Term, Refusal> {
    let both: Vec<char> = a.letters.iter().copied().filter(|c| b.letters.contains(c)).collect();
    let (batch, inner): (Vec<char>, Vec<char>) = both.into_iter().partition(|c| wanted(c));
    let rows: Vec<char> = a.letters.iter().copied().filter(|c| !b.letters.contains(c)).collect();
    let columns: Vec<char> = b.letters.iter().copied().filter(|c| !a.letters.contains(c)).collect();
    let letters = [&batch[..], &rows[..], &columns[..]].concat();
    if inner.is_empty() {
        let left = ordered(n, &a, &[&batch[..], &rows[..]].concat())?;
        let right = ordered(n, &b, &[&batch[..], &columns[..]].concat())?;
        let (behind, between) = (batch.len() + rows.len(), batch.len());
        let left = n.expand_dims(&left, &(behind..behind + columns.len()).collect::<Vec<_>>())?;
        let right = n.expand_dims(&right, &(between..between + rows.len()).collect::<Vec<_>>())?;
        return Ok(Term { value: n.push(mb::mul(&left, &right))?, letters });
    }
    // Dimensions of size 1 may stand for others in `...`: only what is alike can be made one dimension.
    let (here, there) = (sizes(n, &a, &batch)?, sizes(n, &b, &batch)?);
    let alike = |(a, b): (&Size, &Size)| matches!((a, b), (Size::Fixed(a), Size::Fixed(b)) if a == b);
    let merged = batch.len() > 3 && here.iter().zip(&there).all(alike);
    let mut sides = vec![];
    for (term, outer, last) in [(&a, &rows, true), (&b, &columns, false)] {
        let plain =
            [&batch[..], if last { &outer[..] } else { &inner[..] }, if last { &inner[..] } else { &outer[..] }];
        let turned = [plain[0], plain[2], plain[1]].concat();
        let simple = outer.len() == 1 && inner.len() == 1 && !merged;
        if simple && term.letters == turned && term.letters != plain.concat() {
            sides.push((term.value.clone(), true));
            continue;
        }
        let value = ordered(n, term, &plain.concat())?;
        let mut shape = sizes(n, term, &batch)?;
        if merged {
            shape = vec![n.product(&shape)?];
        }
        for part in &plain[1..] {
            let part = sizes(n, term, part)?;
            shape.push(n.product(&part)?);
        }
        sides.push((if simple { value } else { n.reshape(&value, &shape)? }, false));
    }
    let mut call = mb::matmul(&sides[0].0, &sides[1].0);
    if sides[0].1 {
        call = call.transpose_x(true);
    }
    if sides[1].1 {
        call = call.transpose_y(true);
    }
    let value = n.push(call)?;
    if rows.len() == 1 && columns.len() == 1 && !merged {
        return Ok(Term { value, letters });
    }
    let lead = value.shape().map(|s| s.to_vec()).unwrap_or_default();
    let mut shape = vec![];
    for (i, (a, b)) in here.into_iter().zip(there).enumerate() {
        shape.push(match lead.get(i).filter(|_| !merged).and_then(Dim::fixed) {
            Some(size) => Size::from(size),
            None if matches!(a, Size::Fixed(1)) => b,
            None => a,
        });
    }
    shape.extend(sizes(n, &a, &rows)?);
    shape.extend(sizes(n, &b, &columns)?);
    let value = if shape.is_empty() {
        let axes: Vec<usize> = (0..value.shape().map_or(0, |s| s.rank())).collect();
        n.squeeze(&value, &axes)?
    } else {
        n.reshape(&value, &shape)?
    };
    Ok(Term { value, letters })
}
