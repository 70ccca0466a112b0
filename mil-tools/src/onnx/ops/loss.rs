//! Losses.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node, softmax::log_of_softmax};
use crate::import::{Refusal, Size, Tensor, literal};

pub(super) const OPS: &[Entry] = &[
    Entry::new("NegativeLogLikelihoodLoss", negative_log_likelihood),
    Entry::new("SoftmaxCrossEntropyLoss", softmax_cross_entropy),
];

fn negative_log_likelihood(n: &mut Node<'_, '_>) -> Lowered {
    let (x, target) = (n.input(0)?, n.input(1)?);
    let loss = loss(n, &x.value, &target)?;
    n.one(loss, x.dtype)
}

/// Gives the logarithms of the probabilities as well.
fn softmax_cross_entropy(n: &mut Node<'_, '_>) -> Lowered {
    let (x, target) = (n.input(0)?, n.input(1)?);
    x.axis(1)?;
    let logs = log_of_softmax(n, &x.value, 1)?;
    let loss = loss(n, &logs, &target)?;
    Ok(vec![Tensor::new(loss, x.dtype), Tensor::new(logs, x.dtype)])
}

/// `-logs[n, target[n, ..], ..]` times the class's weight, and reduced: `logs` is `[N, C, *D]`, `target` `[N, *D]`. What is of
/// the class `ignore_index` counts nothing.
fn loss(n: &mut Node<'_, '_>, logs: &Value, target: &Tensor) -> Result<Value, Refusal> {
    let dtype = logs.dtype().unwrap_or(DType::F32);
    let zero = literal(dtype, 0.0);
    let weights = n.optional(2)?;
    let (places, kept) = match n.int("ignore_index")? {
        None => (target.value.clone(), None),
        Some(ignored) => {
            let ignored = i32::try_from(ignored).unwrap_or(i32::MIN);
            let kept = n.push(mb::not_equal(&target.value, ignored))?;
            (n.push(mb::select(&kept, &target.value, 0))?, Some(kept))
        }
    };
    // All places of an image are one dimension, so that there are never more than MIL has.
    let rank = target.rank();
    let (mut at, mut from) = (places.clone(), logs.clone());
    if rank > 2 {
        let (batch, classes) = (n.size(logs, 0)?, n.size(logs, 1)?);
        at = n.reshape(&places, &[batch.clone(), Size::Fixed(-1)])?;
        from = n.reshape(logs, &[batch, classes, Size::Fixed(-1)])?;
    }
    let at = n.expand_dims(&at, &[1])?;
    let picked = n.push(mb::gather_along_axis(&from, &at).axis(1))?;
    let picked = n.squeeze(&picked, &[1])?;
    let picked = if rank > 2 {
        let sizes = n.sizes(&places)?;
        n.reshape(&picked, &sizes)?
    } else {
        picked
    };
    let mut loss = n.push(mb::mul(&picked, literal(dtype, -1.0)))?;
    let mut weight = match weights {
        None => None,
        Some(w) => {
            let w = n.push(mb::gather(&w.value, &places).axis(0))?;
            loss = n.push(mb::mul(&loss, &w))?;
            Some(w)
        }
    };
    if let Some(kept) = &kept {
        loss = n.push(mb::select(kept, &loss, zero.clone()))?;
        weight = Some(match weight {
            Some(w) => n.push(mb::select(kept, &w, zero))?,
            None => n.cast(kept, dtype)?,
        });
    }
    match &n.string_or("reduction", "mean")?[..] {
        "none" => Ok(loss),
        "sum" => n.push(mb::reduce_sum(&loss).keep_dims(false)),
        "mean" => match weight {
            None => n.push(mb::reduce_mean(&loss).keep_dims(false)),
            Some(w) => {
                let (loss, all) =
                    (n.push(mb::reduce_sum(&loss).keep_dims(false))?, n.push(mb::reduce_sum(&w).keep_dims(false))?);
                n.push(mb::real_div(&loss, &all))
            }
        },
        other => Err(Refusal::new(format!("its `reduction` is \"{}\"", other.escape_debug()))),
    }
}
