//! Tests of writing.

use std::collections::BTreeMap;

use super::*;
use crate::package::{PackageKind, PackageReader};
use crate::weights::BlobDType;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/coremltools").join(name)
}

fn program() -> spec::Model {
    PackageReader::open(testdata("two_blobs.mlpackage")).unwrap().model().unwrap()
}

/// All files and empty directories below `dir`, with their contents.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn visit(root: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        if entries.is_empty() {
            found.insert(name(dir) + "/", Vec::new());
        }
        for path in entries {
            if path.is_dir() {
                visit(root, &path, found);
            } else {
                found.insert(name(&path), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(dir, dir, &mut found);
    found
}

fn write_package(dest: &Path, blob: &[u8]) -> Result<(), PackageError> {
    let mut package = PackageWriter::create(dest)?;
    package.weights()?.append(BlobDType::UInt8, blob.len() as u64, blob).unwrap();
    package.finish(&program())
}

#[test]
fn a_copy_of_a_package_has_the_same_model_and_blobs() {
    for name in ["no_weights.mlpackage", "two_blobs.mlpackage", "sub_byte.mlpackage"] {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("copy.mlpackage");
        let source = PackageReader::open(testdata(name)).unwrap();
        let mut package = PackageWriter::create(&dest).unwrap();
        if source.weights_dir().is_some() {
            for blob in source.blob_file("@model_path/weights/weight.bin").unwrap().entries() {
                let blob = blob.unwrap();
                package.weights().unwrap().append(blob.dtype, blob.element_count(), &blob.bytes).unwrap();
            }
        }
        package.finish(&source.model().unwrap()).unwrap();
        let copy = PackageReader::open(&dest).unwrap();
        assert_eq!(copy.model().unwrap(), source.model().unwrap());
        let (mut found, mut expected) = (tree(&dest), tree(source.path()));
        if source.weights_dir().is_none() {
            expected.insert(format!("{DATA}/{AUTHOR}/{WEIGHTS_NAME}/"), Vec::new());
        }
        // Maps are sorted and identifiers derived here; both are random in what coremltools writes.
        for tree in [&mut found, &mut expected] {
            tree.insert(MANIFEST.into(), Vec::new());
            tree.insert(format!("{DATA}/{AUTHOR}/{MODEL_NAME}"), Vec::new());
        }
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn equal_packages_have_equal_bytes_and_others_other_identifiers() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a.mlpackage", "b.mlpackage", "c.mlpackage"].map(|name| dir.path().join(name));
    write_package(&a, &[1, 2, 3]).unwrap();
    write_package(&b, &[1, 2, 3]).unwrap();
    write_package(&c, &[1, 2, 4]).unwrap();
    assert_eq!(tree(&a), tree(&b));
    assert_ne!(tree(&a)[MANIFEST], tree(&c)[MANIFEST]);
}

#[test]
fn identifiers_look_random_and_depend_on_every_byte() {
    let uuid = |name: &str, content: &[u8]| {
        let mut hash = ContentHash::new(name);
        hash.update(content).unwrap();
        hash.uuid()
    };
    let mut content = vec![0; (1 << 16) + 13];
    let mut seen = std::collections::BTreeSet::from([uuid("a", &content), uuid("b", &content)]);
    for at in [0, 7, 8, 65_535, 65_536, 65_548] {
        content[at] = 1;
        seen.insert(uuid("a", &content));
    }
    seen.insert(uuid("a", &content[..65_548]));
    seen.insert(uuid("a", &[]));
    assert_eq!(seen.len(), 10);
    for uuid in seen {
        let shape: String = uuid.chars().map(|c| if c == '-' { c } else { 'x' }).collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert!(&uuid[14..15] == "4" && "89ab".contains(&uuid[19..20]), "{uuid}");
    }
}

#[test]
fn an_existing_package_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("x.mlpackage");
    write_package(&dest, &[1]).unwrap();
    fs::write(dest.join("Data/left over"), "").unwrap();
    write_package(&dest, &[2]).unwrap();
    assert!(!dest.join("Data/left over").exists());
    let package = PackageReader::open(&dest).unwrap();
    let blobs = package.blob_file("@model_path/weights/weight.bin").unwrap();
    assert_eq!((package.kind(), &blobs.get(64).unwrap().bytes[..]), (PackageKind::Mlpackage, &[2][..]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_dropped_writer_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("x.mlpackage");
    write_package(&dest, &[1]).unwrap();
    let before = tree(dir.path());
    let mut package = PackageWriter::create(&dest).unwrap();
    package.weights().unwrap().append(BlobDType::UInt8, 1, &[2]).unwrap();
    assert_ne!(tree(dir.path()), before);
    drop(package);
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("x.mlpackage");
    write_package(&dest, &[1]).unwrap();
    let before = tree(dir.path());

    // A blob that fails midway: the file could not be trusted.
    let mut package = PackageWriter::create(&dest).unwrap();
    package.weights().unwrap().append_from(BlobDType::UInt8, 2, &[2][..]).unwrap_err();
    let error = package.finish(&program()).unwrap_err().to_string();
    assert!(error.contains("x.mlpackage`: cannot be written: an earlier blob"), "{error}");
    assert_eq!(tree(dir.path()), before);

    // The directory being written disappears.
    let package = PackageWriter::create(&dest).unwrap();
    fs::remove_dir_all(package.dir.path()).unwrap();
    package.finish(&program()).unwrap_err();
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn what_is_no_package_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let [file, plain, foreign] = ["a.mlpackage", "b.mlpackage", "c.mlpackage"].map(|name| dir.path().join(name));
    fs::write(&file, "mine").unwrap();
    fs::create_dir(&plain).unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join(MANIFEST), r#"{"name": "something else"}"#).unwrap();
    let before = tree(dir.path());
    for dest in [file, plain, foreign] {
        let error = write_package(&dest, &[1]).unwrap_err().to_string();
        assert!(error.contains("exists and is not a Core ML package: move it away"), "{error}");
    }
    assert_eq!(tree(dir.path()), before);

    // It comes there while the package is being written.
    let dest = dir.path().join("d.mlpackage");
    let package = PackageWriter::create(&dest).unwrap();
    fs::write(&dest, "mine").unwrap();
    assert!(package.finish(&program()).unwrap_err().to_string().contains("exists and is not"));
    assert_eq!(fs::read(&dest).unwrap(), b"mine");
}

#[test]
fn names_and_directories_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    for (name, message) in [
        ("x.mlmodel", "expected a name that ends in .mlpackage"),
        ("x", "expected a name that ends in .mlpackage"),
        ("missing/x.mlpackage", "does not exist: create it first"),
    ] {
        let error = PackageWriter::create(dir.path().join(name)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn bare_models_are_written_and_programs_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("x.mlmodel");
    let network = PackageReader::open(testdata("neural_network.mlmodel")).unwrap().model().unwrap();
    write_mlmodel(&dest, &network).unwrap();
    write_mlmodel(&dest, &network).unwrap();
    let before = tree(dir.path());
    assert_eq!(PackageReader::open(&dest).unwrap().model().unwrap(), network);

    let pipeline = spec::Pipeline { models: vec![network.clone(), program()], names: vec![] };
    let nested = spec::PipelineClassifier { pipeline: Some(pipeline) };
    let nested = spec::Model { r#type: Some(model::Type::PipelineClassifier(nested)), ..Default::default() };
    for model in [program(), nested] {
        let error = write_mlmodel(&dest, &model).unwrap_err().to_string();
        assert!(error.contains("write it to a name that ends in .mlpackage"), "{error}");
    }
    assert!(write_mlmodel(dir.path().join("x.bin"), &network).unwrap_err().to_string().contains("ends in .mlmodel"));
    assert_eq!(tree(dir.path()), before);
}
