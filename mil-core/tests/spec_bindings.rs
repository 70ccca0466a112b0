//! The checked-in message types are exactly what the `.proto` files say.
//!
//! Generating in a test instead of in a build script keeps `protoc`, protox and prost-build out of
//! every user's build. After an edit of `mil-core/proto`: `UPDATE=1 cargo test -p mil-core --test spec_bindings`.

use std::fs;
use std::path::Path;

use prost_build::{Config, Module};

/// Protobuf package and the file that holds its messages.
const PACKAGES: [(&str, &str); 2] = [("CoreML.Specification", "model.rs"), ("CoreML.Specification.MILSpec", "mil.rs")];

#[test]
fn bindings_are_those_of_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["Model.proto"], [root.join("proto")])
        .unwrap_or_else(|error| panic!("the .proto files do not compile: {error:?}"));
    let mut config = Config::new();
    // Sorted maps make the encoded bytes reproducible.
    config.btree_map(["."]);
    let requests =
        descriptors.file.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file)).collect();
    let generated = config.generate(requests).expect("prost-build accepts valid descriptors");

    for (package, name) in PACKAGES {
        let code = &generated[&Module::from_protobuf_package_name(package)];
        let path = root.join("src/spec/generated").join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, code).expect("the source tree is writable when UPDATE is set");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == *code,
            "{} is stale: run `UPDATE=1 cargo test -p mil-core --test spec_bindings`",
            path.display()
        );
        assert!(code.lines().count() < 600, "{} is too long: split the .proto file", path.display());
    }
    assert_eq!(generated.len(), PACKAGES.len(), "a package without a file");
}
