//! Ops on constants, computed as they are pushed: what importers want, since the models they read compute with constants
//! where MIL has parameters.

use crate::{
    op::{Args, Inferred, OpDef},
    passes::{ConstElimination, Evaluate},
    types::Type,
};

use super::{Graph, Value};

/// Who computes ops on constants, nobody by default; and by how many bytes results were larger than what they are made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Folding(Option<&'static dyn Evaluate>, usize);

impl std::fmt::Debug for Folding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Folding").field(&self.0.is_some()).finish()
    }
}

impl Graph {
    /// Computes ops whose arguments are all constants when they are pushed, and puts constants in their place, as far as
    /// [`ConstElimination`] would.
    ///
    /// ```
    /// use mil_core::{graph::Graph, ir::Constant, mb, op::Args, passes::Evaluate, types::Opset};
    ///
    /// struct Seven;
    /// impl Evaluate for Seven {
    ///     fn evaluate(&self, _: &Args) -> Result<Vec<Constant>, String> {
    ///         Ok(vec![Constant::scalar(7f32)])
    ///     }
    /// }
    ///
    /// let mut g = Graph::new("main", Opset::iOS16);
    /// g.fold_constants(&Seven);
    /// let three = g.constant("three", Constant::scalar(3f32));
    /// let sum = g.push(mb::add(&three, 4.0))?;
    /// assert_eq!(sum.known().unwrap().constant(), Some(&Constant::scalar(7f32)));
    /// # Ok::<(), mil_core::graph::BuildError>(())
    /// ```
    pub fn fold_constants(&mut self, with: &'static dyn Evaluate) {
        self.folding = Folding(Some(with), 0);
    }

    /// The constants that stand for an op's outputs, if all of them are known or can be computed.
    pub(super) fn folded(
        &mut self,
        def: &'static OpDef,
        args: &Args,
        inferred: &[Inferred],
        name: &str,
    ) -> Option<Vec<Value>> {
        let with = self.folding.0?;
        let types: Vec<&Type> = inferred.iter().map(|i| &i.ty).collect();
        if !ConstElimination::folds(def) || def.blocks > 0 || def.name == "identity" {
            return None;
        }
        let known: Option<Vec<_>> = inferred.iter().map(|i| i.known.as_ref()?.constant().cloned()).collect();
        let constants = ConstElimination::DEFAULT.computed(args, &types, known, Some(with), &mut self.folding.1)?;
        let many = constants.len() > 1;
        let constants = constants.into_iter().enumerate();
        Some(
            constants
                .map(|(i, c)| if many { self.constant(&format!("{name}_{i}"), c) } else { self.constant(name, c) })
                .collect(),
        )
    }
}
