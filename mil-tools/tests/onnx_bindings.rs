//! The checked-in message types of ONNX are exactly what the `.proto` file says.
//!
//! Generated in a test, as those of Core ML are. After an edit of `mil-tools/proto`: `UPDATE=1 cargo test -p mil-tools --test onnx_bindings`.

use std::{fs, path::Path};

use prost_build::{Config, Module};

#[test]
fn bindings_are_those_of_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["onnx.proto"], [root.join("proto")])
        .unwrap_or_else(|error| panic!("the .proto file does not compile: {error:?}"));
    let mut config = Config::new();
    // Weights are slices of the mapped file, not copies.
    config.bytes([".onnx.TensorProto.raw_data"]);
    let requests =
        descriptors.file.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file)).collect();
    let generated = config.generate(requests).expect("prost-build accepts valid descriptors");
    let code = &generated[&Module::from_protobuf_package_name("onnx")];
    let path = root.join("src/onnx/proto.rs");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, code).expect("the source tree is writable when UPDATE is set");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == *code, "{} is stale: run `UPDATE=1 cargo test -p mil-tools --test onnx_bindings`", path.display());
    assert!(code.lines().count() < 600, "{} is too long: split the .proto file", path.display());
}
