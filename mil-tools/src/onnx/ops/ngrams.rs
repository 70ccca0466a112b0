//! Counts of sequences of tokens.

use mil_core::{graph::Value, ir::Constant, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size};

pub(super) const OPS: &[Entry] =
    &[Entry::new("TfIdfVectorizer", tf_idf).but("text, and rows whose length is not known")];

/// No more comparisons than this for a row.
const MOST: usize = 1 << 22;

/// The n-grams of one length: their tokens one after the other, and their numbers.
struct Grams {
    length: usize,
    tokens: Vec<i32>,
    numbers: Vec<usize>,
}

fn grams(n: &Node<'_, '_>) -> Result<Vec<Grams>, Refusal> {
    let Some(pool) = n.ints_attr("pool_int64s")? else {
        return Err(Refusal::new("counts text").remedy("MIL has no ops on text: make numbers of it before the model"));
    };
    let starts = n.ints_attr("ngram_counts")?.unwrap_or_default();
    let (least, most) = (n.int_or("min_gram_length", 1)?, n.int_or("max_gram_length", 1)?);
    let wrong = || Refusal::new("its pool and the places in it do not agree");
    let mut all = vec![];
    let mut number = 0;
    for (i, start) in starts.iter().enumerate() {
        let start = usize::try_from(*start).map_err(|_| wrong())?;
        let end = starts.get(i + 1).map_or(Ok(pool.len()), |e| usize::try_from(*e)).map_err(|_| wrong())?;
        let part = pool.get(start..end).ok_or_else(wrong)?;
        let length = i + 1;
        if part.len() % length != 0 {
            return Err(wrong());
        }
        let numbers: Vec<usize> = (number..number + part.len() / length).collect();
        number += numbers.len();
        if (least..=most).contains(&(length as i64)) && !numbers.is_empty() {
            let tokens = part.iter().map(|t| i32::try_from(*t)).collect::<Result<_, _>>();
            let tokens = tokens.map_err(|_| Refusal::new("its pool has tokens of more than 32 bits"))?;
            all.push(Grams { length, tokens, numbers });
        }
    }
    Ok(all)
}

/// For each n-gram, how often the rows have it: `[rows, n-grams]` of floats.
fn counts(n: &mut Node<'_, '_>, rows: &Value, width: usize, grams: &Grams, skips: usize) -> Result<Value, Refusal> {
    let Grams { length, tokens, numbers } = grams;
    let distances = if *length == 1 { 1..2 } else { 1..skips + 2 };
    let mut places: Vec<i64> = vec![];
    for distance in distances {
        let Some(last) = width.checked_sub(1 + (length - 1) * distance) else { break };
        places.extend((0..=last).flat_map(|start| (0..*length).map(move |i| (start + i * distance) as i64)));
        if places.len().saturating_mul(numbers.len()) > MOST {
            return Err(Refusal::new(format!("compares {} n-grams with rows of {width} tokens", numbers.len())));
        }
    }
    let batch = n.size(rows, 0)?;
    let windows = places.len() / length;
    if windows == 0 {
        return n.filled(&[batch, Size::from(numbers.len())], DType::F32, 0.0);
    }
    let places = n.ints(&places)?;
    let found = n.push(mb::gather(rows, &places).axis(1i64))?;
    let shape = [batch, Size::Fixed(1), Size::from(windows), Size::from(*length)];
    let found = n.reshape(&found, &shape)?;
    let wanted = n.constant(Constant::new(vec![1, numbers.len(), 1, *length], tokens)?);
    let same = n.push(mb::equal(&found, &wanted))?;
    let same = n.cast(&same, DType::F32)?;
    let same = n.push(mb::reduce_min(&same).axes([3i64]))?;
    n.push(mb::reduce_sum(&same).axes([2i64]))
}

fn tf_idf(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let all = grams(n)?;
    let indexes = n.ints_attr("ngram_indexes")?.unwrap_or_default();
    let weights = n.floats_attr("weights")?.filter(|w| !w.is_empty());
    let skips = usize::try_from(n.int_or("max_skip_count", 0)?).map_err(|_| Refusal::new("skips less than nothing"))?;
    let (cut, weighted) = match &n.string_or("mode", "TF")?[..] {
        "TF" => (false, false),
        "IDF" => (true, true),
        "TFIDF" => (false, true),
        mode => return Err(Refusal::new(format!("its mode `{mode}` is none that ONNX has"))),
    };
    let width = x.size(x.rank().wrapping_sub(1)).filter(|_| matches!(x.rank(), 1 | 2));
    let Some(width) = width else {
        return Err(Refusal::new(format!("how many tokens {} has is not known", x.value.ty()))
            .remedy("fix the sizes of inputs with `--input NAME=..`"));
    };
    let out = indexes.iter().max().map_or(0, |m| m.saturating_add(1));
    if out < 1 || indexes.iter().any(|i| *i < 0) || out > 1 << 24 {
        return Err(Refusal::new("its n-grams have impossible places in the result"));
    }
    let rows = if x.rank() == 1 { n.expand_dims(&x.value, &[0])? } else { x.value.clone() };
    let mut parts = vec![];
    for grams in &all {
        parts.push(counts(n, &rows, width, grams, skips.min(width))?);
    }
    let numbers: Vec<usize> = all.iter().flat_map(|g| g.numbers.clone()).collect();
    let out = out as usize;
    let y = if numbers.is_empty() {
        let batch = n.size(&rows, 0)?;
        n.filled(&[batch, Size::from(out)], DType::F32, 0.0)?
    } else {
        if numbers.len().saturating_mul(out) > 1 << 26 {
            return Err(Refusal::new(format!("has {} n-grams and {out} results", numbers.len())));
        }
        let mut counts = n.join(&parts, 1)?;
        if cut {
            counts = n.push(mb::minimum(&counts, 1.0))?;
        }
        let mut matrix = vec![0f32; numbers.len() * out];
        for (row, number) in numbers.iter().enumerate() {
            let place = indexes.get(*number).ok_or_else(|| Refusal::new("has fewer places than n-grams"))?;
            let weight = weights.as_ref().filter(|_| weighted).map_or(Some(1.0), |w| w.get(*number).copied());
            let weight = weight.ok_or_else(|| Refusal::new("has fewer weights than n-grams"))?;
            matrix[row * out + *place as usize] = weight;
        }
        let matrix = n.constant(Constant::new(vec![numbers.len(), out], &matrix)?);
        n.push(mb::matmul(&counts, &matrix))?
    };
    let y = if x.rank() == 1 { n.squeeze(&y, &[0])? } else { y };
    n.one(y, DType::F32)
}
