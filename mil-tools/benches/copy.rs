//! `mil copy` of a package the size of ResNet-50 (100 MB of weights), against a plain copy of its files.
//!
//! `cargo bench -p mil-tools --bench copy` prints both times, their ratio, and the peak memory of the command.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use mil_core::{
    graph::Graph,
    ir::Constant,
    mb,
    types::{DType, Opset, TensorType},
};

/// The residual blocks' convolutions, roughly: (channels in, channels out, kernel), 25.6 million weights together.
fn layers() -> Vec<(usize, usize, usize)> {
    let mut layers = vec![(3, 64, 7)];
    let mut channels = 64;
    for (width, blocks) in [(64, 3), (128, 4), (256, 6), (512, 3)] {
        for _ in 0..blocks {
            layers.extend([(channels, width, 1), (width, width, 3), (width, width * 4, 1)]);
            channels = width * 4;
        }
    }
    layers.push((channels, 1000, 1));
    layers
}

fn write_package(path: &Path) -> Result<usize, Box<dyn std::error::Error>> {
    let mut g = Graph::new("main", Opset::iOS17);
    let mut x = g.input("image", TensorType::new(DType::F32, [1, 3, 64, 64]));
    let mut bytes = 0;
    for (i, (inputs, outputs, kernel)) in layers().into_iter().enumerate() {
        let count = outputs * inputs * kernel * kernel;
        let weights: Vec<f32> = (0..count).map(|n| (n + i) as f32 * 1e-6).collect();
        let weight = Constant::new([outputs, inputs, kernel, kernel], &weights)?;
        x = g.push(mb::conv(&x, weight).pad_type("same"))?;
        bytes += count * 4;
    }
    g.finish([("logits", x)])?.save(path)?;
    Ok(bytes)
}

fn plain_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            plain_copy(&entry.path(), &to)?;
        } else {
            // Read and written as a program would; `fs::copy` may share the blocks instead.
            let mut file = fs::File::create(&to)?;
            std::io::copy(&mut std::io::BufReader::with_capacity(1 << 20, fs::File::open(entry.path())?), &mut file)?;
            file.flush()?;
        }
    }
    Ok(())
}

/// Best of five, each into a fresh place.
fn best(
    mut run: impl FnMut(&Path) -> Result<(), Box<dyn std::error::Error>>,
    to: &Path,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        let start = Instant::now();
        run(to)?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn bench() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let model = dir.path().join("resnet50.mlpackage");
    let bytes = write_package(&model)?;
    let mil = env!("CARGO_BIN_EXE_mil");
    let plain = best(|to| Ok(plain_copy(&model, to)?), &dir.path().join("plain.mlpackage"))?;
    let copied = best(
        |to| {
            let status = Command::new(mil).arg("copy").arg(&model).arg(to).status()?;
            status.success().then_some(()).ok_or_else(|| "mil copy failed".into())
        },
        &dir.path().join("copy.mlpackage"),
    )?;
    let mut out = std::io::stdout().lock();
    let ratio = copied.as_secs_f64() / plain.as_secs_f64();
    writeln!(
        out,
        "{:.1} MB of weights: plain copy {plain:.1?}, mil copy {copied:.1?}, ratio {ratio:.2}",
        bytes as f64 / 1e6
    )?;
    if let Some(peak) = peak_memory(mil, &model, &dir.path().join("measured.mlpackage"))? {
        writeln!(out, "peak memory {:.1} MB, {:.2} times the weights", peak as f64 / 1e6, peak as f64 / bytes as f64)?;
    }
    Ok(())
}

/// Bytes of resident memory at most, mapped files included, as GNU time says; `None` where there is no such command.
fn peak_memory(mil: &str, from: &Path, to: &Path) -> Result<Option<u64>, Box<dyn std::error::Error>> {
    let time = Path::new("/usr/bin/time");
    if !cfg!(target_os = "linux") || !time.exists() {
        return Ok(None);
    }
    let output = Command::new(time).args(["-f", "%M"]).arg(mil).arg("copy").arg(from).arg(to).output()?;
    let text = String::from_utf8(output.stderr)?;
    Ok(text.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024))
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "error: {e}");
            ExitCode::FAILURE
        }
    }
}
