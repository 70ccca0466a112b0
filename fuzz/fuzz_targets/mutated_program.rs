//! Programs that coremltools wrote, changed in a few places: types, bindings, constants, blocks, names, versions.
//!
//! `MIL_FUZZ_PACKAGES=DIR` adds the packages in DIR and in the folders below it: those of the test `every_op`, say.

#![no_main]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use libfuzzer_sys::fuzz_target;
use mil_core::{
    ir::{Constant, Program},
    package::PackageReader,
    spec::{self, SpecError, WeightSource},
    types::TensorType,
};

#[path = "../../mil-core/tests/hostile/mod.rs"]
mod hostile;

static PACKAGES: LazyLock<Vec<spec::Model>> = LazyLock::new(|| {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../mil-core/testdata/coremltools")];
    folders.extend(std::env::var_os("MIL_FUZZ_PACKAGES").map(PathBuf::from));
    let mut paths = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of packages") {
            let path = entry.expect("an entry").path();
            match path.extension().is_some_and(|e| e == "mlpackage") {
                true => paths.push(path),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
    }
    paths.retain(|p| Program::load(p).is_ok());
    paths.sort();
    paths.iter().map(|p| PackageReader::open(p).and_then(|p| p.model()).expect("it was read just now")).collect()
});

/// Zeros, at every place.
struct Zeros;

impl WeightSource for Zeros {
    fn get(&self, _: &str, _: u64, ty: &TensorType) -> Result<Constant, SpecError> {
        let shape = ty.shape.fixed().ok_or_else(|| SpecError::new("a constant has a fixed shape"))?;
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n < 1 << 16);
        let bytes = count.and_then(|n| ty.dtype.packed_len(n)).ok_or_else(|| SpecError::new("too large"))?;
        Constant::from_bytes(ty.dtype, shape, vec![0; bytes]).map_err(SpecError::new)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut c = hostile::Choices(bytes);
    let mut model = c.pick(&PACKAGES);
    if c.one_in(2) {
        hostile::models::loosen(&mut model);
    }
    hostile::models::mutate(&mut model, &mut c);
    let Ok(program) = spec::decode(&model, &Zeros) else { return };
    program.functions.values().for_each(|f| drop(hostile::run::run_on_zeros(f)));
});
