//! Core ML's protobuf messages.
//!
//! The structs are generated from the `.proto` files in `mil-core/proto` and checked in, so that
//! building this crate needs neither `protoc` nor a build script; a test keeps the two the same.
//! Maps are `BTreeMap`s: encoding the same message gives the same bytes.
//!
//! - This module: the model and its interface ([`Model`], [`ModelDescription`], [`FeatureType`], ...).
//! - [`mil`]: programs ([`mil::Program`], [`mil::Operation`], [`mil::Value`], ...).
//!
//! Kinds of model that are not interpreted are opaque bytes in [`model::Type`] and survive a copy bit
//! for bit. Fields that a later version of the format adds are dropped by decoding.
//!
//! ```
//! use mil_core::spec::{self, Message};
//!
//! let model = spec::Model { specification_version: 6, ..Default::default() };
//! let bytes = model.encode_to_vec();
//! assert_eq!(spec::Model::decode(&bytes[..]).unwrap(), model);
//! ```

/// The messages, nested as protobuf packages are.
///
/// The `.proto` files document most of it; fields that say all by their name have no comment.
#[allow(missing_docs, clippy::large_enum_variant)]
mod generated {
    include!("generated/model.rs");

    pub mod mil_spec {
        include!("generated/mil.rs");
    }
}

pub mod decode;
pub mod embed;
pub mod encode;
mod error;
pub(crate) mod features;
pub mod scan;
pub(crate) mod types;
pub mod values;
pub mod wire;

pub use decode::{NoWeights, decode};
pub use encode::encode;
pub use error::SpecError;
pub use features::by_type as feature_of_type;
pub use features::read as read_feature;
pub use values::{WeightSink, WeightSource};

/// Programs: package `CoreML.Specification.MILSpec`.
pub use generated::mil_spec as mil;
pub use generated::*;
/// Encoding and decoding of every message here.
pub use prost::Message;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every model file that coremltools wrote: decoding what we encode gives the same message.
    #[test]
    fn models_survive_a_round_trip() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/coremltools/");
        for file in [
            "no_weights.mlpackage/Data/com.apple.CoreML/model.mlmodel",
            "two_blobs.mlpackage/Data/com.apple.CoreML/model.mlmodel",
            "sub_byte.mlpackage/Data/com.apple.CoreML/model.mlmodel",
            "neural_network.mlmodel",
        ] {
            let bytes = std::fs::read(format!("{root}{file}")).unwrap();
            let model = Model::decode(&bytes[..]).unwrap();
            let again = model.encode_to_vec();
            // The same length shows that nothing was dropped; the order of maps may differ.
            assert_eq!(again.len(), bytes.len(), "{file}");
            assert_eq!(Model::decode(&again[..]).unwrap(), model, "{file}");
        }
    }

    #[test]
    fn programs_are_read_field_by_field() {
        let file = "testdata/coremltools/two_blobs.mlpackage/Data/com.apple.CoreML/model.mlmodel";
        let bytes = std::fs::read(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let model = Model::decode(&bytes[..]).unwrap();
        let Some(model::Type::MlProgram(program)) = model.r#type else { panic!("not an ML Program") };
        let main = &program.functions["main"];
        assert_eq!((program.version, main.opset.as_str()), (1, "CoreML6"));
        let names: Vec<_> = program.functions.values().flat_map(|f| &f.inputs).map(|i| &i.name).collect();
        let described: Vec<_> = model.description.iter().flat_map(|d| &d.input).map(|i| &i.name).collect();
        assert_eq!(names, described);
        let last = main.block_specializations["CoreML6"].operations.last().unwrap();
        assert!(last.attributes.contains_key("name"));
    }

    #[test]
    fn kinds_that_are_not_interpreted_keep_their_bytes() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/coremltools/neural_network.mlmodel");
        let bytes = std::fs::read(root).unwrap();
        let model = Model::decode(&bytes[..]).unwrap();
        let Some(model::Type::NeuralNetwork(network)) = &model.r#type else { panic!("not a NeuralNetwork") };
        let inside = |haystack: &[u8]| haystack.windows(network.len()).any(|window| window == network);
        assert!(!network.is_empty() && inside(&bytes) && inside(&model.encode_to_vec()));
    }

    /// Nested deeper than any program: refused by the decoder's recursion limit, not by the stack.
    #[test]
    fn endless_nesting_is_refused() {
        // Pipeline { models: [Model { pipeline: Pipeline { .. } }] }, written from the inside out.
        let mut bytes = Vec::new();
        for _ in 0..2000 {
            for key in [202 << 3 | 2u64, 1 << 3 | 2] {
                let mut outer = Vec::new();
                prost::encoding::encode_varint(key, &mut outer);
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.extend_from_slice(&bytes);
                bytes = outer;
            }
        }
        bytes
            .drain(..prost::encoding::encoded_len_varint(10) + prost::encoding::encoded_len_varint(bytes.len() as u64));
        let error = Model::decode(&bytes[..]).unwrap_err();
        assert!(error.to_string().contains("recursion limit"), "{error}");
    }
}
