//! State dicts of PyTorch, from files that testdata/torch/make.py makes, and from files that somebody changed.

use std::path::PathBuf;

use mil_core::{
    types::DType,
    weights::{Bytes, SafeTensors},
};
use mil_tools::torch::StateDict;
use proptest::prelude::*;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/torch").join(name)
}

fn refused(name: &str) -> String {
    let e = StateDict::open(path(name)).unwrap_err().to_string();
    assert!(e.contains(name) && !e.contains('\n'), "{e}");
    e
}

#[test]
fn tensors_of_all_layouts_and_dtypes_are_read() {
    for name in ["weights.pth", "legacy.pth"] {
        let weights = StateDict::open(path(name)).unwrap();
        let get = |name: &str| weights.get(name).unwrap();
        assert_eq!((weights.len(), weights.others().len()), (14, 0), "{name}");
        let conv: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!((get("conv.weight").shape(), get("conv.weight").elements()), (&[3, 4][..], Some(conv)));
        assert_eq!(get("transposed").shape(), [3, 2]);
        assert_eq!(get("transposed").elements(), Some(vec![0f32, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(get("strided").elements(), Some(vec![4f32, 9.0, 14.0, 19.0]));
        assert_eq!(get("expanded").elements(), Some(vec![1f32, 1.0, 1.0, 2.0, 2.0, 2.0]));
        assert_eq!(get("tied.a"), get("tied.b"));
        assert_eq!(get("half").floats(), Some(vec![0.5, -1.0]));
        assert_eq!((get("bf16").dtype(), &get("bf16").bytes().unwrap()[..]), (DType::BF16, &[0xc0, 0x3f][..]));
        assert_eq!((get("double").shape(), get("double").elements()), (&[][..], Some(vec![2.5f64])));
        assert_eq!(get("long").elements(), Some(vec![-1i64, 1 << 40]));
        assert_eq!(get("bytes").ints(), Some(vec![1, 255]));
        assert_eq!(get("flag").elements(), Some(vec![true, false]));
        assert_eq!(get("empty").shape(), [0, 3]);
        assert_eq!(get("parameter").elements(), Some(vec![1f32]));
    }
}

#[test]
fn what_training_scripts_save_is_looked_into() {
    let weights = StateDict::open(path("nested.pth")).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["module.w"]);
}

#[test]
fn dtypes_without_a_storage_class_are_read() {
    let weights = StateDict::open(path("v3.pth")).unwrap();
    assert_eq!(weights.get("u16").unwrap().elements(), Some(vec![65535u16]));
    assert_eq!(weights.get("f8").unwrap().dtype(), DType::F8E4M3FN);
}

#[test]
fn weights_become_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("w.safetensors");
    let weights = StateDict::open(path("weights.pth")).unwrap();
    weights.write_safetensors(&to).unwrap();
    let written = SafeTensors::open(&to).unwrap();
    assert_eq!(written.len(), weights.len());
    for (name, tensor) in weights.iter() {
        let entry = written.get(name).unwrap();
        assert_eq!((entry.dtype.dtype().unwrap(), &entry.shape[..]), (tensor.dtype(), tensor.shape()), "{name}");
        assert_eq!(&entry.bytes, tensor.bytes().unwrap(), "{name}");
    }
}

#[test]
fn nothing_is_executed() {
    let e = refused("evil.pth");
    assert!(e.contains("wants to call `posix.system`") && e.contains("state_dict()"), "{e}");
    assert!(!PathBuf::from("executed-by-pickle").exists());
    let e = refused("whole_module.pth");
    assert!(e.contains("wants to call `torch.nn.modules.linear.Linear`"), "{e}");
}

#[test]
fn other_files_are_refused_with_the_remedy() {
    assert!(refused("complex.pth").contains("its tensor `w` is of complex64, which MIL does not have"));
    assert!(refused("plain.pkl").contains("a pickle without tensors"));
    assert!(refused("make.py").contains("is no file of PyTorch"));
    assert!(refused("net.pt2").contains("none of weights"));
    assert!(refused("net.traced.pt").contains("`mil convert`"));
}

#[test]
fn no_prefix_of_a_file_is_read_or_panics() {
    for name in ["weights.pth", "legacy.pth"] {
        let whole = Bytes::map_file(path(name)).unwrap();
        for length in (0..whole.len()).step_by(3) {
            assert!(StateDict::from_bytes(whole.slice(..length), "part").is_err(), "{length}");
        }
    }
}

/// A zip file of entries, each stored, or deflated and said to be of another size.
fn zip(entries: &[(&str, &[u8], Option<u32>)]) -> Vec<u8> {
    use std::io::Write as _;
    let (mut out, mut directory) = (vec![], vec![]);
    for (name, data, claimed) in entries {
        let mut packed = data.to_vec();
        if claimed.is_some() {
            let mut encoder = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::best());
            encoder.write_all(data).unwrap();
            packed = encoder.finish().unwrap();
        }
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let mut fields = vec![20u8, 0, 0, 8, if claimed.is_some() { 8 } else { 0 }, 0, 0, 0, 0, 0];
        fields.extend(crc.sum().to_le_bytes());
        fields.extend((packed.len() as u32).to_le_bytes());
        fields.extend(claimed.unwrap_or(data.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        directory.extend([b"PK\x01\x02\x14\0", &fields[..], &[0; 10], &(out.len() as u32).to_le_bytes()].concat());
        directory.extend(name.as_bytes());
        out.extend([b"PK\x03\x04", &fields[..], name.as_bytes(), &packed].concat());
    }
    let (start, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    out.extend(&directory);
    let size = (directory.len() as u32).to_le_bytes();
    out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &start.to_le_bytes(), &[0, 0]].concat());
    out
}

fn read_zip(entries: &[(&str, &[u8], Option<u32>)]) -> Result<usize, String> {
    StateDict::from_bytes(zip(entries).into(), "made").map(|d| d.len()).map_err(|e| e.to_string())
}

/// {'w': a tensor of four floats}, protocol 2, but for its offset, sizes and strides.
fn pickled(layout: &[u8]) -> Vec<u8> {
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\00X\x03\0\0\0cpuK\x04tQ";
    let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n(", &storage[..], layout, b"\x89}tR"].concat();
    [b"\x80\x02}X\x01\0\0\0w", &tensor[..], b"s."].concat()
}

#[test]
fn archives_that_lie_are_refused() {
    let (good, data) = (pickled(b"K\0K\x04\x85K\x01\x85"), [0u8; 16]);
    let pkl = ("a/data.pkl", &good[..], None);
    let storage = ("a/data/0", &data[..], None);
    assert_eq!(read_zip(&[pkl, storage]), Ok(1));
    assert_eq!(read_zip(&[("a/data.pkl", &good, Some(good.len() as u32)), storage]), Ok(1));
    let error = |entries: &[(&str, &[u8], Option<u32>)]| read_zip(entries).unwrap_err();
    assert!(error(&[pkl]).contains("its tensor `w` has no entry `data/0`"));
    assert!(error(&[pkl, pkl, storage]).contains("two entries have one name"));
    assert!(error(&[pkl, ("a/../../x", &data, None)]).contains("an entry is named `a/../../x`"));
    assert!(error(&[pkl, ("/etc/x", &data, None)]).contains("an entry is named `/etc/x`"));
    assert!(error(&[pkl, ("a/data/0", &data[..15], None)]).contains("does not hold"));
    assert!(error(&[("a/data.pkl", &good, Some(3)), storage]).contains("its entry `data.pkl` is damaged"));
    // A bomb: a gigabyte out of nothing, or said to be none.
    let zeros = vec![0; 8 << 20];
    assert!(error(&[("a/data.pkl", &zeros, Some(zeros.len() as u32))]).contains("would be inflated from"));
    assert!(error(&[("a/data.pkl", &zeros, Some(60_000))]).contains("is damaged"));
    let big = ("a/byteorder", &b"big"[..], None);
    assert!(error(&[pkl, storage, big]).contains("big-endian"));
}

#[test]
fn tensors_that_lie_are_refused() {
    let data = [0u8; 16];
    let read = |layout: &[u8]| read_zip(&[("a/data.pkl", &pickled(layout), None), ("a/data/0", &data, None)]);
    assert_eq!(read(b"K\0K\x02K\x02\x86K\x01K\x02\x86"), Ok(1));
    for outside in [
        &b"K\x01K\x04\x85K\x01\x85"[..],
        b"K\0K\x02\x85K\x04\x85",
        b"J\xff\xff\xff\xffK\x01\x85K\x01\x85",
        b"K\0J\xff\xff\xff\xff\x85K\x01\x85",
        b"K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x08\x86K\0K\0\x86",
        b"K\0K\x04\x85)",
    ] {
        let e = read(outside).unwrap_err();
        assert!(e.contains("its tensor `w` has sizes"), "{e}");
    }
    let e = read(b"K\0\x8a\x06\0\0\0\0\0\x01\x85K\0\x85").unwrap_err();
    assert!(e.contains("repeats elements of its storage"), "{e}");
    assert!(read(b"NK\x04\x85K\x01\x85").unwrap_err().contains("without storage"));
    assert!(read(b"K\0NK\x01\x85").unwrap_err().contains("without sizes"));
}

#[test]
fn machines_that_stray_are_refused() {
    let read = |pickle: &[u8]| read_zip(&[("a/data.pkl", pickle, None)]).unwrap_err();
    for (pickle, message) in [
        (&b"\x80\x09."[..], "is of protocol 9"),
        (b"", "ends too early"),
        (b".", "takes a value where there is none"),
        (b"(t(.", "takes a value where there is none"),
        (b"t.", "goes back to a mark"),
        (b"Na.", "takes a value where there is none"),
        (b"NNa.", "appends to what is no list"),
        (b"}Nu.", "goes back to a mark"),
        (b"}(Nu.", "sets an item"),
        (b"h\x05.", "refers to a value"),
        (b"N)R.", "calls what is no function"),
        (b"Nb.", "takes a value where there is none"),
        (b"NNb.", "gives attributes"),
        (b"NQ.", "has a storage that is not said where"),
        (b"X\xff\xff\xff\xff.", "ends too early"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "ends too early"),
        (b"cos\nsystem\n.", "wants to call `os.system`"),
        (b"\x8c\x02os\x8c\x06system\x93.", "wants to call `os.system`"),
        (b"c__torch__\nNet\n.", "wants to call `__torch__.Net`"),
        (b"(S'x'\ni.", "has the instruction 0x53"),
        (b"N.", "has no tensors by name, but no dict"),
        (b"}.", "but an empty dict"),
        (b"}X\x01\0\0\0aNs.", "but a dict of `a`"),
    ] {
        let e = read(pickle);
        assert!(e.contains(message), "{}: {e}", pickle.escape_ascii());
    }
    // A dict that contains itself, under a name that is followed.
    assert!(read(b"}q\0X\x05\0\0\0modelh\0s.").contains("has no tensors by name"));
    // A list as deep as the file, and one of every value twice, as often.
    let deep = [&b"]"[..], &b"\x85".repeat(50_000), b"."].concat();
    assert!(read(&deep).contains("has no tensors by name"));
    let wide = [&b"N"[..], &b"2\x86".repeat(50_000), b"."].concat();
    assert!(read(&wide).contains("has no tensors by name"));
    let many = b"N".repeat((1 << 21) + 1);
    assert!(read(&many).contains("has more than 2097152 values"));
}

/// What random pickles are made of.
const PARTS: &[&[u8]] = &[
    b"(",
    b"0",
    b"1",
    b"2",
    b"N",
    b"K\x01",
    b"K\0",
    b"X\x01\0\0\0w",
    b"}",
    b"]",
    b")",
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"a",
    b"e",
    b"s",
    b"u",
    b"b",
    b"R",
    b"Q",
    b"q\0",
    b"h\0",
    b"q\x01",
    b"h\x01",
    b"\x94",
    b"\x81",
    b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch.jit._pickle\nrestore_type_tag\n",
    b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\00X\x03\0\0\0cpuK\x04tQ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is changed, a file is read or refused.
    #[test]
    fn changed_files_do_no_harm(
        name in prop::sample::select(&["weights.pth", "legacy.pth", "nested.pth", "v3.pth"][..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(path(name)).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let size = bytes.len();
        if let Ok(weights) = StateDict::from_bytes(bytes.into(), "changed") {
            let total: usize = weights.iter().map(|(_, t)| t.bytes().map_or(0, |b| b.len())).sum();
            prop_assert!(total <= size * 16 + (1 << 26));
        }
    }

    /// Random instructions.
    #[test]
    fn random_pickles_do_no_harm(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..40),
    ) {
        let pickle = [&b"\x80\x02"[..], &parts.concat(), b"."].concat();
        let _ = read_zip(&[("a/data.pkl", &pickle, None), ("a/data/0", &[0; 16], None)]);
    }
}
