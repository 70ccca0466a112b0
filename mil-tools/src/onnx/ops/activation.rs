//! Activations.

use mil_core::mb;

use super::{Entry, Lowered, Node};

pub(super) const OPS: &[Entry] = &[Entry::new("Relu", relu), Entry::new("LeakyRelu", leaky_relu)];

fn relu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::relu(&x.value))?;
    n.one(y, x.dtype)
}

fn leaky_relu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let alpha = n.float_or("alpha", 0.01)?;
    let y = n.push(mb::leaky_relu(&x.value, f64::from(alpha)))?;
    n.one(y, x.dtype)
}
