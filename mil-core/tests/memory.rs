//! No reader takes more memory than the size of its file justifies, whatever the file says.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use mil_core::{
    ir::Program,
    spec::scan::budget,
    weights::{BlobFile, SafeTensors},
};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to `System` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for, and `alloc` got it from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    for mut number in [u64::from(tag) << 3 | 2, content.len() as u64] {
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes.extend(content);
    bytes
}

fn number(tag: u32, n: u8) -> Vec<u8> {
    vec![(tag << 3) as u8, n]
}

fn all(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    all(&[&field(1, key.as_bytes()), &field(2, value)])
}

/// A model of version 7 with this description and these fields of its function `main`, and of the function's block.
fn model(description: &[u8], function: &[u8], block: &[u8]) -> Vec<u8> {
    let block = field(3, &entry("CoreML6", block));
    let function = all(&[function, &field(2, b"CoreML6"), &block]);
    all(&[&number(1, 7), &field(2, description), &field(502, &field(2, &entry("main", &function)))])
}

/// A tensor type of f32 with these dimensions, each encoded.
fn tensor(dims: &[Vec<u8>]) -> Vec<u8> {
    let rank = dims.len();
    let all_dims: Vec<u8> = dims.iter().flat_map(|d| field(3, d)).collect();
    let rank = vec![2 << 3, (rank & 0x7f) as u8 | 0x80, (rank >> 7 & 0x7f) as u8 | 0x80, (rank >> 14) as u8];
    field(1, &all(&[&number(1, 11), &rank, &all_dims]))
}

fn named(name: &str, ty: &[u8]) -> Vec<u8> {
    all(&[&field(1, name.as_bytes()), &field(2, ty)])
}

/// Hostile models, by what they try.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let unknown = field(2, b"");
    let long = "n".repeat(200_000);
    let identity = |i: usize, ty: &[u8]| {
        let x = field(1, &field(1, if i == 0 { "x".into() } else { format!("v{}", i - 1) }.as_bytes()));
        field(3, &all(&[&field(1, b"identity"), &field(2, &entry("x", &x)), &field(3, &named(&format!("v{i}"), ty))]))
    };
    let feature = |kind: &[u8]| all(&[&field(1, b"x"), &field(3, kind)]);
    let shape_feature = feature(&field(5, &field(21, &field(1, &field(1, &[1, 2])).repeat(100_000))));
    let functions: Vec<u8> = (0..20_000)
        .flat_map(|i| field(2, &entry(&i.to_string(), &all(&[&field(2, b"a"), &field(3, &entry("a", b""))]))))
        .collect();
    let inputs = field(1, &feature(&field(5, &number(2, 1)))).repeat(20_000);
    vec![
        ("empty ops", model(b"", b"", &field(3, b"").repeat(500_000))),
        ("ops with an attribute", model(b"", b"", &field(3, &field(5, b"")).repeat(200_000))),
        ("empty inputs", model(b"", &field(1, b"").repeat(500_000), b"")),
        ("empty features", model(&field(1, b"").repeat(500_000), b"", b"")),
        ("empty models in a pipeline", field(202, &field(1, b"").repeat(500_000))),
        ("a rank of a million", model(b"", &field(1, &named("x", &tensor(&vec![unknown.clone(); 1_000_000]))), b"")),
        (
            "many sizes named after a long name",
            model(
                b"",
                &field(1, &named(&long, &field(3, &field(1, &tensor(std::slice::from_ref(&unknown))).repeat(20_000)))),
                b"",
            ),
        ),
        (
            "many ops over a tensor of many sizes",
            model(b"", &field(1, &named("x", &tensor(&vec![unknown.clone(); 32]))), &{
                let ty = tensor(&vec![unknown.clone(); 32]);
                (0..2000).flat_map(|i| identity(i, &ty)).collect::<Vec<u8>>()
            }),
        ),
        (
            "a hundred thousand enumerated shapes",
            model(&field(1, &shape_feature), &field(1, &named("x", &tensor(&[unknown.clone(), unknown]))), b""),
        ),
        ("many functions, each with many features", all(&[&number(1, 7), &field(2, &inputs), &field(502, &functions)])),
        (
            "nothing but numbers of one byte",
            model(
                b"",
                b"",
                &field(3, &field(5, &entry("val", &field(3, &field(1, &field(5, &field(1, &vec![1; 1_000_000]))))))),
            ),
        ),
    ]
}

/// One test, since the counters are everybody's.
#[test]
fn readers_take_what_their_file_justifies() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mlmodel");
    let measure = |read: &mut dyn FnMut()| {
        let base = NOW.load(Relaxed);
        PEAK.store(base, Relaxed);
        let start = Instant::now();
        read();
        (PEAK.load(Relaxed) - base, start.elapsed())
    };
    for (what, bytes) in hostile() {
        fs::write(&path, &bytes).unwrap();
        let mut error = String::new();
        let (peak, time) = measure(&mut || {
            error = Program::load(&path).map_or_else(|e| e.to_string(), |_| "x.mlmodel is read".into())
        });
        // Messages are within the budget, and what is made of them takes no more again.
        assert!(peak as u64 <= 2 * budget(bytes.len()), "{what}: {peak} bytes for {}", bytes.len());
        // No measure of speed: a bound that only a hang, or work that grows as the square, goes past.
        assert!(time < Duration::from_secs(60), "{what}: {time:?}");
        assert!(error.contains("x.mlmodel"), "{what}: {error}");
    }

    // A header that promises much.
    let mut safetensors = (1u64 << 40).to_le_bytes().to_vec();
    safetensors.extend([b'{'; 100]);
    let list = |n: usize| {
        let items: Vec<String> =
            (0..n).map(|i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)).collect();
        let header = format!("{{{}}}", items.join(","));
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    };
    for bytes in [safetensors, list(50_000), [&1_000_000u64.to_le_bytes()[..], &[b'['; 1_000_000]].concat()] {
        fs::write(&path, &bytes).unwrap();
        let (peak, _) = measure(&mut || drop(SafeTensors::open(&path)));
        assert!(peak <= (1 << 20) + 16 * bytes.len(), "{peak} bytes for {}", bytes.len());
    }
    let mut blobs = vec![0u8; 64];
    blobs[..8].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0]);
    fs::write(&path, &blobs).unwrap();
    let (peak, _) = measure(&mut || drop(BlobFile::open(&path)));
    assert!(peak <= 1 << 16, "{peak}");
}
