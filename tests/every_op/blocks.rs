//! What no single call pushes: constants, ops with nested blocks, lists, states, labels.

use mil::{DType, TensorType, Value, graph::BuildError, mb};

use super::scene::{Row, Scene};

pub(crate) const ROWS: &[Row] = &[
    Row { op: "const", build: constant },
    Row { op: "cond", build: cond },
    Row { op: "while_loop", build: while_loop },
    Row { op: "make_list", build: list_read },
    Row { op: "list_read", build: list_read },
    Row { op: "list_write", build: list_read },
    Row { op: "list_gather", build: list_gather },
    Row { op: "list_scatter", build: list_gather },
    Row { op: "list_length", build: list_length },
    Row { op: "read_state", build: state },
    Row { op: "write_state", build: state },
    Row { op: "classify", build: classify },
];

/// A list of two tensors `[3]`, the first of which is written.
fn list(s: &mut Scene) -> Result<Value, BuildError> {
    let x = s.x([3]);
    let dtype = s.float.mil_name();
    let list = s.graph.push(mb::make_list([3]).init_length(2).dtype(dtype))?;
    s.graph.push(mb::list_write(list, 0, x))
}

fn list_read(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let list = list(s)?;
    s.push(mb::list_read(list, 0))
}

fn list_gather(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let list = list(s)?;
    let x = s.x([2, 3]);
    let list = s.graph.push(mb::list_scatter(list, [0, 1], x))?;
    s.push(mb::list_gather(list, [1, 0]))
}

fn list_length(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let list = list(s)?;
    s.push(mb::list_length(list))
}

fn state(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let state = s.graph.input("s", mil::types::Type::State(TensorType::new(DType::F16, [3])));
    let x = s.x([3]);
    let x = s.graph.push(mb::cast(x, DType::F16))?;
    let old = s.graph.push(mb::read_state(&state))?;
    let sum = s.graph.push(mb::add(old, x))?;
    Ok(vec![s.graph.coreml_update_state(&state, sum)?])
}

fn classify(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let x = s.x([1, 3]);
    let probabilities = s.graph.push(mb::softmax(x).axis(-1))?;
    let probabilities = s.graph.push(mb::cast(probabilities, DType::F32))?;
    s.push(mb::classify(probabilities, ["cat", "dog", "bird"]))
}

fn constant(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let (x, c) = (s.x([2, 3]), s.c([2, 3]));
    let c = s.graph.constant("c", c);
    s.push(mb::add(x, c))
}

fn cond(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let (x, go) = (s.x([2]), s.i([1]));
    let go = s.graph.push(mb::greater(go, 0))?;
    let go = s.graph.push(mb::squeeze(go))?;
    s.graph.cond(&go, |g| Ok(vec![g.push(mb::add(&x, 1.0))?]), |g| Ok(vec![g.push(mb::mul(&x, 2.0))?]))
}

fn while_loop(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let x = s.x([2]);
    let go = |g: &mut mil::Graph, v: &[Value]| {
        let sum = g.push(mb::reduce_sum(&v[0]).axes([0]))?;
        g.push(mb::less(sum, 10.0))
    };
    s.graph.while_loop(vec![x], go, |g, v| Ok(vec![g.push(mb::add(&v[0], 1.0))?]))
}
