//! Truncated, bit-flipped and random files through every reader: an error or a valid value, never a panic.

use std::fs;
use std::path::{Path, PathBuf};

use mil_core::ir::Program;
use mil_core::package::PackageReader;
use mil_core::weights::{BlobFile, Bytes, SafeDType, SafeTensors, SafeTensorsHeader, TensorView, write_safetensors};
use proptest::prelude::*;
use proptest::sample::Index;

const MANIFEST: &str = "Manifest.json";
const MODEL: &str = "Data/com.apple.CoreML/model.mlmodel";
const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/coremltools").join(name)
}

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Truncate(Index),
    /// Bits of these bytes.
    Flip(Vec<(Index, u8)>),
    /// Eight bytes become a number that lengths and offsets are likely to trip over.
    Number(Index, u64),
    Random(Vec<u8>),
}

impl Damage {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Truncate(at) => bytes.truncate(at.index(bytes.len())),
            Self::Flip(flips) => {
                for (at, mask) in flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= mask;
                }
            }
            Self::Number(at, number) => {
                let at = at.index(bytes.len());
                for (byte, new) in bytes[at..].iter_mut().zip(number.to_le_bytes()) {
                    *byte = new;
                }
            }
            Self::Random(random) => bytes = random.clone(),
        }
        bytes
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let large = prop_oneof![
        Just(u64::MAX),
        Just(u64::MAX - 63),
        Just(1 << 63),
        Just(u64::from(u32::MAX)),
        Just(99_999_999),
        0u64..4096,
    ];
    prop_oneof![
        any::<Index>().prop_map(Damage::Truncate),
        prop::collection::vec((any::<Index>(), 1u8..), 1..8).prop_map(Damage::Flip),
        (any::<Index>(), large).prop_map(|(at, number)| Damage::Number(at, number)),
        prop::collection::vec(any::<u8>(), 0..512).prop_map(Damage::Random),
    ]
}

/// Reads all there is; gives the number of bytes of all blobs, or the first error.
fn read_blobs(bytes: Vec<u8>) -> Result<usize, String> {
    let file = BlobFile::from_bytes(bytes.into()).map_err(|error| error.to_string())?;
    let mut total = 0;
    for blob in file.entries() {
        let blob = blob.map_err(|error| error.to_string())?;
        assert_eq!(file.get(blob.offset).unwrap(), blob);
        assert!(blob.element_count() <= blob.bytes.len() as u64 * 8);
        total += blob.bytes.len();
    }
    Ok(total)
}

fn read_tensors(bytes: Vec<u8>) -> Result<usize, String> {
    let tensors = SafeTensors::from_bytes(Bytes::from(bytes), "damaged").map_err(|error| error.to_string())?;
    Ok(tensors.names().map(|name| tensors.get(name).expect("a listed tensor is there").bytes.len()).sum())
}

fn read_package(path: &Path) -> Result<(), String> {
    let package = PackageReader::open(path).map_err(|error| error.to_string())?;
    package.model().map_err(|error| error.to_string())?;
    let blobs = package.blob_file("@model_path/weights/weight.bin").map_err(|error| error.to_string())?;
    blobs.entries().try_for_each(|blob| blob.map(drop).map_err(|error| error.to_string()))
}

fn some_tensors(path: &Path) -> Vec<u8> {
    let view = |name, dtype, shape, bytes| TensorView { name, dtype, shape, bytes };
    let tensors = [
        view("weight", SafeDType::F32, &[2, 3][..], &[1; 24][..]),
        view("bias", SafeDType::F16, &[2], &[2; 4]),
        view("scale", SafeDType::U8, &[], &[3]),
    ];
    write_safetensors(path, tensors).unwrap();
    fs::read(path).unwrap()
}

/// Copies a test package, with one of its files replaced.
fn package_with(dir: &Path, original: &str, changed: &str, content: &[u8]) -> PathBuf {
    let package = dir.join("x.mlpackage");
    for file in [MANIFEST, MODEL, WEIGHTS] {
        let path = package.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let Ok(bytes) = fs::read(testdata(original).join(file)) else { continue };
        fs::write(path, if file == changed { content.to_vec() } else { bytes }).unwrap();
    }
    package
}

/// Programs of every kind that the test data has: loops, branches, weights, unknown and enumerated sizes, a classifier.
const PROGRAMS: [&str; 6] = [
    "loops.mlpackage",
    "branches.mlpackage",
    "any_size.mlpackage",
    "casts.mlpackage",
    "classifier.mlpackage",
    "two_blobs.mlpackage",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blob_files(damage in damage(), offset in any::<u64>()) {
        let bytes = damage.apply(fs::read(testdata("sub_byte.mlpackage").join(WEIGHTS)).unwrap());
        if let Ok(file) = BlobFile::from_bytes(bytes.clone().into()) {
            for offset in [offset, offset % 1024, offset % 16 * 64, offset & !63] {
                if let Ok(blob) = file.get(offset) {
                    prop_assert!(blob.bytes.len() <= bytes.len());
                }
            }
        }
        if let Err(error) = read_blobs(bytes) {
            prop_assert!(error.contains(" at byte ") && error.contains("expected "), "{error}");
        }
    }

    #[test]
    fn safetensors_files(damage in damage()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let bytes = damage.apply(some_tensors(&path));
        fs::write(&path, &bytes).unwrap();
        let total = read_tensors(bytes.clone());
        prop_assert_eq!(total.is_ok(), SafeTensorsHeader::open(&path).is_ok());
        if let Ok(total) = total {
            prop_assert!(total <= bytes.len());
        }
    }

    #[test]
    fn packages(damage in damage(), file in prop::sample::select(vec![MANIFEST, MODEL, WEIGHTS])) {
        let dir = tempfile::tempdir().unwrap();
        let bytes = damage.apply(fs::read(testdata("sub_byte.mlpackage").join(file)).unwrap());
        let package = package_with(dir.path(), "sub_byte.mlpackage", file, &bytes);
        if let Err(error) = read_package(&package) {
            prop_assert!(error.contains("x.mlpackage"), "{error}");
        }
    }

    /// The whole reader. What it accepts can be written, or is refused and leaves nothing.
    #[test]
    fn programs(
        damage in damage(),
        program in prop::sample::select(PROGRAMS.to_vec()),
        file in prop::sample::select(vec![MODEL, MODEL, WEIGHTS]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let Ok(bytes) = fs::read(testdata(program).join(file)) else { return Ok(()) };
        let package = package_with(dir.path(), program, file, &damage.apply(bytes));
        match Program::load(&package) {
            Err(error) => prop_assert!(error.to_string().contains("x.mlpackage"), "{error}"),
            Ok(program) => {
                let copy = dir.path().join("y.mlpackage");
                if let Err(error) = program.save(&copy) {
                    prop_assert!(error.to_string().contains("y.mlpackage"), "{error}");
                    prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
                }
            }
        }
    }

    #[test]
    fn bare_models(damage in damage()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mlmodel");
        fs::write(&path, damage.apply(fs::read(testdata("neural_network.mlmodel")).unwrap())).unwrap();
        if let Err(error) = PackageReader::open(&path).and_then(|package| package.model()) {
            prop_assert!(error.to_string().contains("x.mlmodel"), "{error}");
        }
    }
}

/// The undamaged files pass, so that the tests above do not pass by refusing everything.
#[test]
fn undamaged_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read_blobs(fs::read(testdata("sub_byte.mlpackage").join(WEIGHTS)).unwrap()), Ok(32 + 512 + 18));
    assert_eq!(read_tensors(some_tensors(&dir.path().join("w"))), Ok(29));
    assert_eq!(read_package(&package_with(dir.path(), "sub_byte.mlpackage", "", b"")), Ok(()));
    for program in PROGRAMS.iter().filter(|p| **p != "two_blobs.mlpackage") {
        let package = package_with(dir.path(), program, "", b"");
        Program::load(package).unwrap_or_else(|e| panic!("{program}: {e}"));
    }
}

/// Errors name the file and, as far as there is one, the byte or the function and op.
#[test]
fn errors_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let model = fs::read(testdata("loops.mlpackage").join(MODEL)).unwrap();
    let refusal = |bytes: &[u8]| {
        Program::load(package_with(dir.path(), "loops.mlpackage", MODEL, bytes)).unwrap_err().to_string()
    };
    let cut = refusal(&model[..model.len() - 1]);
    assert!(cut.contains("model.mlmodel`: is not a Core ML model: byte ") && cut.contains("does not fit"), "{cut}");
    let at = model.windows(4).position(|w| w == b"less").unwrap();
    let other = [&model[..at], b"l\xffss", &model[at + 4..]].concat();
    let expected = format!("byte {} (in Block): a text is not UTF-8", at + 1);
    assert!(refusal(&other).contains(&expected), "{}", refusal(&other));
    let at = model.windows(3).position(|w| w == b"mul").unwrap();
    let other = [&model[..at], b"add", &model[at + 3..]].concat();
    assert!(Program::load(package_with(dir.path(), "loops.mlpackage", MODEL, &other)).is_ok());
    let other = [&model[..at], b"sqr", &model[at + 3..]].concat();
    assert!(refusal(&other).contains("not supported yet: sqr (1)"), "{}", refusal(&other));
}

/// No truncation goes unnoticed where the format states its length.
#[test]
fn every_truncation_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = fs::read(testdata("sub_byte.mlpackage").join(WEIGHTS)).unwrap();
    let tensors = some_tensors(&dir.path().join("w"));
    for length in 0..blobs.len() {
        assert!(read_blobs(blobs[..length].to_vec()).is_err(), "{length}");
    }
    for length in 0..tensors.len() {
        assert!(read_tensors(tensors[..length].to_vec()).is_err(), "{length}");
    }
}
