//! Matrix products, on the matrix kernel.

use mil_core::{
    ir::ValueId,
    op::{Arg, Op},
    ops::matmul::{Linear, Matmul},
    types::DType,
};

use super::{
    super::{
        build::{Builder, Joined, Producer, Want},
        nodes::Node,
        stage::Stage,
        step::{Machine, Work},
        tensor::{Layout, Tensor},
    },
    epilogue::{Can, Ending},
    matrices::Matrices,
    weight::Weight,
};
use crate::cpu::kernels::{gemm::Gemm, matmul::Products, offsets::Offsets, panels::Source};

/// `x * weight^T + bias`.
pub(super) fn linear(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Linear::bind(&node.args).ok()?;
    let weight = Weight::of(b, &op.weight)?;
    let bias = b.constant(&op.bias)?.to_f32().ok()?.into_owned();
    let [outputs, inputs] = weight.shape()[..] else { return None };
    let source = Source { inner: inputs, tap: 0, row: 1, column: inputs };
    product(b, node, op.x.id?, Weights { weight, axis: 0, source, k: inputs, n: outputs, kind: "linear" }, Some(bias))
}

/// A product; with a constant matrix, packed once.
pub(super) fn matmul(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Matmul::bind(&node.args).ok()?;
    if op.x.rank() < 2 || op.y.rank() < 2 || node.types[0].1.contains(&0) {
        return None;
    }
    let Some(weight) = Weight::of(b, &op.y).filter(|_| !op.transpose_x && !b.is_constant(&op.x)) else {
        return pairs(b, node, &op);
    };
    let rank = weight.shape().len();
    let (batch, [rows, columns]) = weight.shape().split_at(rank - 2) else { return None };
    let (rows, columns) = (*rows, *columns);
    if batch.iter().any(|d| *d != 1) || rank > op.x.rank() {
        return pairs(b, node, &op);
    }
    let (k, n, row, column, kind) = match op.transpose_y {
        true => (columns, rows, 1, columns, "matmul^T"),
        false => (rows, columns, columns, 1, "matmul"),
    };
    let source = Source { inner: k, tap: 0, row, column };
    let axis = if op.transpose_y { rank - 2 } else { rank - 1 };
    product(b, node, op.x.id?, Weights { weight, axis, source, k, n, kind }, None)
}

fn product(b: &mut Builder<'_>, node: &Node, x: ValueId, w: Weights, bias: Option<Vec<f32>>) -> Option<()> {
    if node.types[0].1.contains(&0) || w.k == 0 {
        return None;
    }
    b.pend_new(node, Box::new(ProductProducer { x, w, bias }));
    Some(())
}

/// Emits `x * weight^T + bias` into `to`; the weight is constant.
pub(super) fn project(
    b: &mut Builder<'_>,
    x: ValueId,
    weight: &Arg,
    bias: Vec<f32>,
    to: &Tensor,
    joined: &Joined,
) -> Option<()> {
    let weight = Weight::of(b, weight)?;
    let [n, k] = weight.shape()[..] else { return None };
    if k == 0 {
        return None;
    }
    let source = Source { inner: k, tap: 0, row: 1, column: k };
    let w = Weights { weight, axis: 0, source, k, n, kind: "linear" };
    let rest = Box::new(ProductProducer { x, w, bias: Some(bias) }).emit(b, to, joined)?;
    rest.is_empty().then_some(())
}

/// A constant matrix.
struct Weights {
    weight: Weight,
    /// The dimension that columns run along.
    axis: usize,
    source: Source,
    k: usize,
    n: usize,
    /// Under which name it is packed: one constant may be used in several ways.
    kind: &'static str,
}

impl Weights {
    fn matrices(&self, b: &Builder<'_>) -> Option<Matrices> {
        let Weights { axis, source, k, n, .. } = *self;
        Matrices::of(b, &self.weight, self.kind, move |weight, by| {
            Some(vec![weight.elements(axis)?.panels(by, (k, n), (0, 0), source)])
        })
    }
}

/// Products of matrices that are computed.
fn pairs(b: &mut Builder<'_>, node: &Node, op: &Matmul) -> Option<()> {
    let float = |a: &Arg| matches!(a.dtype(), DType::F16 | DType::F32) && a.id.is_some();
    if !float(&op.x) || !float(&op.y) || op.x.ty.shape.iter().chain(op.y.ty.shape.iter()).any(|d| d.is(0)) {
        return None;
    }
    let (x, y) = (op.x.id?, op.y.id?);
    b.pend_new(node, Box::new(PairsProducer { x, y, transpose_x: op.transpose_x, transpose_y: op.transpose_y }));
    Some(())
}

struct PairsProducer {
    x: ValueId,
    y: ValueId,
    transpose_x: bool,
    transpose_y: bool,
}

struct Pairs {
    products: Products,
    ending: Ending,
}

impl Work for Pairs {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        let epilogue = self.ending.epilogue(0, &inputs[..2]);
        self.products.run(m.isa, m.threads, inputs[0], inputs[1], out, &epilogue);
    }
}

/// The last two dimensions in the other order.
pub(super) fn turned(t: &Tensor) -> Tensor {
    let mut perm: Vec<usize> = (0..t.rank()).collect();
    let last = perm.len() - 1;
    perm.swap(last - 1, last);
    t.transposed(&perm)
}

impl Producer for PairsProducer {
    fn layout(&self, _: &mut Builder<'_>, shape: &[usize]) -> Layout {
        Layout::plain(shape.len())
    }

    fn innermost(&self, shape: &[usize]) -> Option<usize> {
        shape.len().checked_sub(1)
    }

    fn emit(self: Box<Self>, b: &mut Builder<'_>, to: &Tensor, joined: &Joined) -> Option<Vec<Stage>> {
        let x = if self.transpose_x {
            let x = turned(&b.tensor(self.x, &Want::Any)?);
            if x.strides[x.rank() - 1] == 1 || x.shape[x.rank() - 1] == 1 {
                x
            } else {
                let copy = b.new_tensor(&x.shape, &Layout::plain(x.rank()));
                super::copy(b, joined, &x, &copy);
                copy
            }
        } else {
            b.tensor(self.x, &Want::Rows)?
        };
        let mut y = b.tensor(self.y, &Want::Any)?;
        if self.transpose_y {
            y = turned(&y);
        }
        products(b, &x, &y, to, joined)
    }
}

/// Emits the products of all matrices, which the last two dimensions are; others are repeated where they are 1. Gives back the stages that are
/// left. The elements of rows of `x` and `to` are one behind the other.
pub(super) fn products(
    b: &mut Builder<'_>,
    x: &Tensor,
    y: &Tensor,
    to: &Tensor,
    joined: &Joined,
) -> Option<Vec<Stage>> {
    let (rank, batch) = (to.rank(), &to.shape[..to.rank() - 2]);
    let batches = |t: &Tensor| {
        let lead: Vec<usize> = (0..t.rank() - 2).collect();
        let outer = Tensor {
            shape: lead.iter().map(|d| t.shape[*d]).collect(),
            strides: lead.iter().map(|d| t.strides[*d]).collect(),
            margins: vec![(0, 0); lead.len()],
            ..t.clone()
        };
        let strides = outer.broadcast_strides(batch)?;
        let whole = Tensor { shape: batch.to_vec(), strides, margins: vec![(0, 0); batch.len()], ..outer };
        Some(whole.offsets(&[]))
    };
    let pairs = batches(x)?.into_iter().zip(batches(y)?).zip(batches(to)?).map(|((x, y), o)| [x, y, o]).collect();
    let rows = |t: &Tensor| Offsets::new((0..to.shape[rank - 2]).map(|i| i * t.strides[t.rank() - 2]));
    // What is added lies differently for each pair: that is left to a chain.
    let (ending, rest) = Ending::of(b, joined, to, rank - 1, None, Can { groups: 1, add: false, then: true });
    let sizes = [x.shape[x.rank() - 1], to.shape[rank - 1]];
    let y_strides = [y.strides[y.rank() - 2], y.strides[y.rank() - 1]];
    let products = Products::new(sizes, [rows(x)?, rows(to)?], y_strides, pairs);
    b.kernel(joined, "gemm", to, vec![x.buffer, y.buffer], Pairs { products, ending });
    Some(rest)
}

struct ProductProducer {
    x: ValueId,
    w: Weights,
    bias: Option<Vec<f32>>,
}

struct Product {
    rows: Offsets,
    runs: Offsets,
    y_rows: Offsets,
    matrices: Matrices,
    ending: Ending,
}

impl Work for Product {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        let panels = self.matrices.get(m);
        let gemm = Gemm {
            x: inputs[0],
            rows: self.rows.rows(),
            runs: &self.runs,
            len: panels[0].k,
            w: &panels[0],
            y_rows: self.y_rows.rows(),
            epilogue: self.ending.epilogue(0, inputs),
        };
        gemm.run(m.isa, m.threads, out);
    }
}

impl Producer for ProductProducer {
    fn layout(&self, _: &mut Builder<'_>, shape: &[usize]) -> Layout {
        Layout::plain(shape.len())
    }

    fn innermost(&self, shape: &[usize]) -> Option<usize> {
        shape.len().checked_sub(1)
    }

    fn emit(self: Box<Self>, b: &mut Builder<'_>, to: &Tensor, joined: &Joined) -> Option<Vec<Stage>> {
        let x = b.tensor(self.x, &Want::Rows)?;
        let matrices = self.w.matrices(b)?;
        let last = to.rank() - 1;
        let (ending, rest) =
            Ending::of(b, joined, to, last, self.bias.as_deref(), Can { groups: 1, add: true, then: true });
        let mut reads = vec![x.buffer];
        reads.extend(ending.reads());
        let work = Product {
            rows: Offsets::new(x.offsets(&[x.rank() - 1]))?,
            runs: Offsets::new([0])?,
            y_rows: Offsets::new(to.offsets(&[last]))?,
            matrices,
            ending,
        };
        b.kernel(joined, "gemm", to, reads, work);
        Some(rest)
    }
}
