//! Inputs, outputs, and names: what the model's description speaks of as well.

use crate::{
    ir::{Feature, OpId, ValueId, feature::FeatureKind},
    types::{DType, Type},
};

use super::{Rewriter, compact};

impl Rewriter {
    /// Renames a value. If the name is taken it gets a number.
    pub fn rename(&mut self, value: ValueId, name: &str) {
        let fresh = self.graph.fresh_name(name);
        self.graph.set_name(value, fresh);
        self.changed = true;
    }

    /// Names an op; its outputs keep their names.
    pub fn rename_op(&mut self, op: OpId, name: String) {
        self.graph.function_mut().ops[op.index()].name = name;
        self.changed = true;
    }

    /// Renames an input or output of the function, and its description.
    pub fn rename_interface(&mut self, value: ValueId, name: &str) {
        let old = self.data(value).name.clone();
        self.rename(value, name);
        let new = self.data(value).name.clone();
        let is_input = self.function().inputs.contains(&value);
        let f = self.graph.function_mut();
        let mut described: Vec<&mut Feature> = match is_input {
            true => f.input_features.iter_mut().chain(&mut f.state_features).collect(),
            false => f.output_features.iter_mut().collect(),
        };
        described.iter_mut().filter(|d| d.name == old).for_each(|d| d.name.clone_from(&new));
        if !is_input {
            for name in [&mut f.predicted_feature, &mut f.predicted_probabilities] {
                if *name == old {
                    name.clone_from(&new);
                }
            }
        }
    }

    /// Gives an input of the function, and its description, another dtype. Its users are inferred again when the rewriter settles.
    pub fn set_input_dtype(&mut self, input: ValueId, dtype: DType) {
        let f = self.graph.function_mut();
        let data = &mut f.values[input.index()];
        if let Type::Tensor(t) | Type::State(t) = &mut data.ty {
            t.dtype = dtype;
        }
        let name = data.name.clone();
        describe(&mut f.input_features, &name, dtype);
        self.make_stale(input);
        self.changed = true;
    }

    /// Gives the description of an output another dtype.
    pub fn describe_output_dtype(&mut self, name: &str, dtype: DType) {
        describe(&mut self.graph.function_mut().output_features, name, dtype);
        self.changed = true;
    }

    /// Renames values that see another of the same name; gives how many. Names of inputs and outputs stay.
    pub fn distinct_names(&mut self) -> usize {
        self.order.give_back(&mut self.graph.function_mut().blocks);
        let renamed = compact::distinct_names(&mut self.graph);
        self.graph.function_mut().blocks.iter_mut().for_each(|b| b.ops.clear());
        self.changed |= renamed > 0;
        renamed
    }
}

fn describe(features: &mut [Feature], name: &str, dtype: DType) {
    for feature in features.iter_mut().filter(|f| f.name == name) {
        if let FeatureKind::Array(array) = &mut feature.kind {
            array.dtype = Some(dtype);
        }
    }
}
