//! The ops of blocks as linked lists, so that ops are inserted and erased in constant time.

use crate::ir::{Block, BlockId, Function, OpId};

/// Which op stands where. While a function is rewritten its blocks' own lists of ops are empty.
#[derive(Debug)]
pub(super) struct Order {
    links: Vec<Link>,
    /// Per block: its first and last op, and the op it is nested in.
    blocks: Vec<Ends>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// The block that the op stands in; `None` if it was erased.
    block: Option<BlockId>,
    next: Option<OpId>,
    previous: Option<OpId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    first: Option<OpId>,
    last: Option<OpId>,
    owner: Option<OpId>,
}

impl Order {
    /// Takes the lists of ops out of a function.
    pub(super) fn take(f: &mut Function) -> Order {
        let mut order = Order { links: vec![], blocks: vec![Ends::default(); f.blocks.len()] };
        order.links.resize(f.ops.len(), Link::default());
        for (i, block) in f.blocks.iter_mut().enumerate() {
            for op in std::mem::take(&mut block.ops) {
                order.insert(op, BlockId::new(i), None);
            }
        }
        for (i, op) in f.ops.iter().enumerate() {
            for block in &op.blocks {
                order.blocks[block.index()].owner = Some(OpId::new(i));
            }
        }
        order
    }

    /// Puts the lists back.
    pub(super) fn give_back(&self, blocks: &mut [Block]) {
        for (block, ends) in blocks.iter_mut().zip(&self.blocks) {
            block.ops = self.chain(ends.first).collect();
        }
    }

    fn chain(&self, first: Option<OpId>) -> impl Iterator<Item = OpId> + '_ {
        std::iter::successors(first, |op| self.links[op.index()].next)
    }

    /// The ops of a block, in order.
    pub(super) fn ops(&self, block: BlockId) -> impl Iterator<Item = OpId> + '_ {
        self.chain(self.blocks[block.index()].first)
    }

    /// Puts an op before another of the block, or at its end.
    pub(super) fn insert(&mut self, op: OpId, block: BlockId, before: Option<OpId>) {
        if self.links.len() <= op.index() {
            self.links.resize(op.index() + 1, Link::default());
        }
        let previous = match before {
            Some(b) => self.links[b.index()].previous.replace(op),
            None => self.blocks[block.index()].last.replace(op),
        };
        match previous {
            Some(p) => self.links[p.index()].next = Some(op),
            None => self.blocks[block.index()].first = Some(op),
        }
        self.links[op.index()] = Link { block: Some(block), next: before, previous };
    }

    /// Takes an op out.
    pub(super) fn remove(&mut self, op: OpId) {
        let Link { block: Some(block), next, previous } = std::mem::take(&mut self.links[op.index()]) else { return };
        match previous {
            Some(p) => self.links[p.index()].next = next,
            None => self.blocks[block.index()].first = next,
        }
        match next {
            Some(n) => self.links[n.index()].previous = previous,
            None => self.blocks[block.index()].last = previous,
        }
    }

    /// The block that an op stands in; `None` if it was erased.
    pub(super) fn block(&self, op: OpId) -> Option<BlockId> {
        self.links.get(op.index()).and_then(|l| l.block)
    }

    pub(super) fn next(&self, op: OpId) -> Option<OpId> {
        self.links[op.index()].next
    }

    pub(super) fn first(&self, block: BlockId) -> Option<OpId> {
        self.blocks[block.index()].first
    }

    /// The op that a block is nested in.
    pub(super) fn owner(&self, block: BlockId) -> Option<OpId> {
        self.blocks[block.index()].owner
    }

    /// A block and those around it, outermost first.
    pub(super) fn around(&self, block: BlockId) -> Vec<BlockId> {
        let outer = |b: &BlockId| self.owner(*b).and_then(|op| self.block(op));
        let mut all: Vec<BlockId> = std::iter::successors(Some(block), outer).collect();
        all.reverse();
        all
    }

    /// All ops: depth first, in order of execution.
    pub(super) fn walk(&self, f: &Function) -> Vec<OpId> {
        let mut order = vec![];
        let mut stack: Vec<OpId> = self.first(f.body).into_iter().collect();
        while let Some(op) = stack.pop() {
            order.push(op);
            stack.extend(self.next(op));
            stack.extend(f.op(op).blocks.iter().rev().filter_map(|b| self.first(*b)));
        }
        order
    }
}
