//! What decodes and is accepted runs, or fails with an error: it never panics.

#[path = "../../mil-core/tests/hostile/mod.rs"]
mod hostile;

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use hostile::{Choices, run::run_on_zeros};
use mil_core::{
    ir::Program,
    spec::{self, Message},
};
use proptest::prelude::*;

/// Packages that coremltools wrote, of ops that there are, with their models.
static PACKAGES: LazyLock<Vec<(String, spec::Model)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mil-core/testdata/coremltools");
    let mut all = vec![];
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "mlpackage") && Program::load(&path).is_ok() {
            let model = fs::read(path.join("Data/com.apple.CoreML/model.mlmodel")).unwrap();
            all.push((path.to_str().unwrap().to_string(), spec::Model::decode(&model[..]).unwrap()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
});

/// A package like the one at `original`, with another model.
fn load_with(dir: &Path, original: &str, model: &spec::Model) -> Result<Program, String> {
    let package = dir.join("x.mlpackage");
    let original = Path::new(original);
    let weights = "Data/com.apple.CoreML/weights";
    fs::create_dir_all(package.join(weights)).unwrap();
    fs::copy(original.join("Manifest.json"), package.join("Manifest.json")).unwrap();
    if original.join(weights).exists() {
        let file = format!("{weights}/weight.bin");
        fs::copy(original.join(&file), package.join(&file)).unwrap();
    }
    fs::write(package.join("Data/com.apple.CoreML/model.mlmodel"), model.encode_to_vec()).unwrap();
    Program::load(&package).map_err(|e| e.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ops(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
        if let Some(program) = hostile::ops::program(&mut Choices(&bytes)) {
            let _ = run_on_zeros(program.main().unwrap());
            hostile::text::round_trip(&program);
        }
    }

    #[test]
    fn programs(bytes in prop::collection::vec(any::<u8>(), 4..64), which in any::<prop::sample::Index>(), loose: bool) {
        let dir = tempfile::tempdir().unwrap();
        let (path, model) = which.get(&PACKAGES);
        let mut model = model.clone();
        if loose {
            hostile::models::loosen(&mut model);
        }
        hostile::models::mutate(&mut model, &mut Choices(&bytes));
        match load_with(dir.path(), path, &model) {
            Err(e) => prop_assert!(e.contains("x.mlpackage"), "{e}"),
            Ok(program) => {
                for function in program.functions.values() {
                    let _ = run_on_zeros(function);
                }
                hostile::text::round_trip(&program);
                // What was read can be written, or is refused; what was written reads and writes the same.
                let copy = dir.path().join("y.mlpackage");
                match program.save(&copy) {
                    Ok(()) => {
                        let program = Program::load(&copy).map_err(|e| TestCaseError::fail(e.to_string()))?;
                        program.save(&copy).map_err(|e| TestCaseError::fail(e.to_string()))?;
                        prop_assert!(Program::load(&copy).is_ok_and(|again| again == program));
                    }
                    Err(e) => prop_assert!(e.to_string().contains("y.mlpackage") && !copy.exists(), "{}", e),
                }
            }
        }
    }
}

/// The tests above try something: many made-up ops are accepted and run, and unchanged programs do.
#[test]
fn much_of_it_runs() {
    let mut ran = BTreeMap::new();
    let mut state = 1u64;
    for _ in 0..std::env::var("ROUNDS").map_or(2000, |n| n.parse().unwrap()) {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let bytes: Vec<u8> = (0..96).map(|_| next()).collect();
        let Some(program) = hostile::ops::program(&mut Choices(&bytes)) else { continue };
        let main = program.main().unwrap();
        if run_on_zeros(main).is_ok() {
            for op in main.walk() {
                *ran.entry(main.op(op).def.name).or_insert(0) += 1;
            }
        }
    }
    assert!(ran.len() > 60, "{ran:?}");
    for (path, model) in PACKAGES.iter() {
        let dir = tempfile::tempdir().unwrap();
        let program = load_with(dir.path(), path, model).unwrap();
        program.functions.values().for_each(|f| run_on_zeros(f).unwrap_or_else(|e| panic!("{path}: {e}")));
    }
}
