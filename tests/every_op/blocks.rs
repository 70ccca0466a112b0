//! What no single call pushes: constants, ops with nested blocks.

use mil::{Value, graph::BuildError, mb};

use super::scene::{Row, Scene};

pub(crate) const ROWS: &[Row] = &[
    Row { op: "const", build: constant },
    Row { op: "cond", build: cond },
    Row { op: "while_loop", build: while_loop },
];

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
