//! Programs through their text: printed, read and printed again they are the same, and damaged text is an error.

use std::path::{Path, PathBuf};

use mil_core::{ir::Program, spec, text::parse, types::Opset};
use proptest::prelude::*;

#[path = "hostile/text.rs"]
mod through;

use through::{full, message, round_trip};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// The packages below a directory.
fn packages(dir: &Path, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        match path.extension() {
            Some(e) if e == "mlpackage" => found.push(path),
            _ if path.is_dir() => packages(&path, found),
            _ => {}
        }
    }
    found.sort();
}

#[test]
fn packages_of_coremltools() {
    let mut all = vec![];
    packages(&testdata("coremltools"), &mut all);
    let mut count = 0;
    for path in &all {
        // Two have constexpr ops, which not every version of the op set here has.
        let Ok(program) = Program::load(path) else { continue };
        count += 1;
        let again = round_trip(&program).unwrap();
        // The sizes that inputs may have are in the text too.
        let inputs = |p: &Program| -> Vec<_> {
            let f = p.main().unwrap();
            f.inputs.iter().map(|v| format!("{:?}", f.value(*v).ty)).collect()
        };
        assert_eq!(inputs(&again), inputs(&program), "{}", path.display());
    }
    assert!(count >= 5, "{count}");
}

/// All packages of a folder: `MIL_PACKAGES=../../shared/conformance cargo test -p mil-core --release --test mil_text -- --ignored --nocapture`.
#[test]
#[ignore = "reads the folder that MIL_PACKAGES names"]
fn packages_of_a_folder() {
    let mut all = vec![];
    packages(Path::new(&std::env::var("MIL_PACKAGES").expect("MIL_PACKAGES")), &mut all);
    let loaded = all.iter().filter_map(|path| Program::load(path).ok());
    let same = loaded.filter(|program| round_trip(program).is_some()).count();
    eprintln!("{} packages, of which {same} are read; all of these are the same through their text", all.len());
    assert!(same > 0);
}

#[test]
fn a_compiled_model() {
    let path = testdata("compiled/test_linear.mlmodelc");
    let program = Program::load(&path).unwrap();
    // As the compiler wrote it, but for the line that ends the file.
    assert_eq!(full(&program), std::fs::read_to_string(path.join("model.mil")).unwrap() + "\n");
    assert_eq!(program.metadata.user_defined["com.github.apple.coremltools.source"], "torch==2.11.0");
    assert_eq!(program.main().unwrap().input_features[0].name, "input");
    mil_core::validate::validate(&program).unwrap();
    round_trip(&program).unwrap();

    // Alone, the text says the same but for the description.
    let alone = Program::load(path.join("model.mil")).unwrap();
    assert_eq!(message(&alone).unwrap(), message(&program).unwrap());
    assert_eq!((alone.opset, alone.metadata.user_defined.len()), (Opset::iOS16, 0));
}

/// A compiled model with weights and sizes, as Core ML's compiler would write it, of a package of coremltools.
#[test]
fn a_compiled_model_with_weights() {
    let package = testdata("coremltools/branches.mlpackage");
    let dir = tempfile::tempdir().unwrap();
    let compiled = dir.path().join("branches.mlmodelc");
    std::fs::create_dir_all(compiled.join("weights")).unwrap();
    let reader = mil_core::package::PackageReader::open(&package).unwrap();
    let weights = reader.blob_path("@model_path/weights/weight.bin").unwrap();
    std::fs::copy(weights, compiled.join("weights/weight.bin")).unwrap();
    let model = reader.model().unwrap();

    // Its constants are in the file, where the package says.
    let program = Program::load(&package).unwrap();
    let (mut text, mut blobs) = (full(&program), 0);
    let Some(spec::model::Type::MlProgram(messages)) = &model.r#type else { panic!("a program") };
    let mut blocks: Vec<_> = messages.functions.values().flat_map(|f| f.block_specializations.values()).collect();
    let mut ops = vec![];
    while let Some(block) = blocks.pop() {
        ops.extend(&block.operations);
        blocks.extend(block.operations.iter().flat_map(|op| &op.blocks));
    }
    for op in ops {
        let Some(spec::mil::value::Value::BlobFileValue(blob)) =
            op.attributes.get("val").and_then(|v| v.value.as_ref())
        else {
            continue;
        };
        let start = text.find(&format!(" {} = const()", op.outputs[0].name)).unwrap();
        let val = start + text[start..].find("val = ").unwrap();
        let open = val + text[val..].find("]>(").unwrap() + 3;
        let end = open + text[open..].find(")];").unwrap();
        let place = format!(
            "BLOBFILE(path = tensor<string, []>({:?}), offset = tensor<uint64, []>({}))",
            blob.file_name, blob.offset
        );
        text.replace_range(open..end, &place);
        blobs += 1;
    }
    assert!(blobs > 0);
    std::fs::write(compiled.join("model.mil"), &text).unwrap();
    let description = spec::Message::encode_to_vec(&model.description.clone().unwrap());
    let mut beside = vec![];
    beside.extend(502u32.to_le_bytes());
    beside.extend([0; 24]);
    beside.extend(7u64.to_le_bytes());
    beside.extend(b"generic");
    beside.extend(model.specification_version.to_le_bytes());
    beside.extend([0; 28]);
    beside.extend((description.len() as u64).to_le_bytes());
    beside.extend(description);
    std::fs::write(compiled.join("coremldata.bin"), beside).unwrap();

    assert_eq!(Program::load(&compiled).unwrap(), program);
    // A weight file that is not there.
    std::fs::remove_file(compiled.join("weights/weight.bin")).unwrap();
    let error = Program::load(&compiled).unwrap_err().to_string();
    assert!(error.contains("model.mil`: line ") && error.contains("weight.bin`: is missing"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Text of programs with characters and words lost, changed, doubled and moved: read or refused, never a panic.
    #[test]
    fn damaged_text(
        which in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..5, "[ -~]{0,3}"), 1..5),
    ) {
        let program = |name| Program::load(testdata("coremltools").join(name)).unwrap();
        let mut text = full(&program(["loops.mlpackage", "branches.mlpackage", "any_size.mlpackage"][which]));
        for (a, b, what, new) in changes {
            let (a, b) = (a.index(text.len()), b.index(text.len()));
            // These texts are ASCII.
            let (start, end) = (a.min(b), a.max(b).min(a.min(b) + 64));
            match what {
                0 => text.replace_range(start..end, ""),
                1 => text.replace_range(start..start, &new),
                2 => text.replace_range(start..start + 1, &new),
                3 => {
                    let copied = text[start..end].to_owned();
                    text.insert_str(b.min(a), &copied);
                }
                _ => text.truncate(a.max(text.len() / 2)),
            }
            if text.is_empty() {
                text.push(' ');
            }
        }
        match parse(&text) {
            Ok(program) => {
                round_trip(&program);
            }
            Err(e) => prop_assert!(!e.to_string().is_empty()),
        }
    }
}
