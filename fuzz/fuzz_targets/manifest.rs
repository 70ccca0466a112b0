//! A package's manifest, beside a model.

#![no_main]

use std::{fs, path::Path};

use libfuzzer_sys::fuzz_target;
use mil_core::package::PackageReader;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory for the package");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mil-core/testdata/coremltools/loops.mlpackage");
    let model = "Data/com.apple.CoreML/model.mlmodel";
    fs::create_dir_all(dir.path().join("Data/com.apple.CoreML")).expect("a directory for the model");
    fs::copy(source.join(model), dir.path().join(model)).expect("a model");
    fs::write(dir.path().join("Manifest.json"), bytes).expect("a manifest");
    if let Ok(package) = PackageReader::open(dir.path()) {
        assert!(
            package
                .model_path()
                .canonicalize()
                .expect("it exists")
                .starts_with(dir.path().canonicalize().expect("so does this"))
        );
        let _ = package.model();
    }
});
