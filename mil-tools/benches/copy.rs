//! `mil copy` of a package the size of ResNet-50 (100 MB of weights), against a plain copy of its files.
//!
//! `cargo bench -p mil-tools --bench copy` prints both times, their ratio, and the peak memory of the command.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, ExitCode},
};

mod common;

use common::{Error, best, peak_memory, resnet50, succeed};

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

fn bench() -> Result<(), Error> {
    let dir = tempfile::tempdir()?;
    let model = dir.path().join("resnet50.mlpackage");
    resnet50()?.save(&model)?;
    let bytes = fs::metadata(model.join("Data/com.apple.CoreML/weights/weight.bin"))?.len();
    let mil = env!("CARGO_BIN_EXE_mil");
    let plain = best(|to| Ok(plain_copy(&model, to)?), &dir.path().join("plain.mlpackage"))?;
    let copied =
        best(|to| succeed(Command::new(mil).arg("copy").arg(&model).arg(to)), &dir.path().join("copy.mlpackage"))?;
    let mut out = std::io::stdout().lock();
    let ratio = copied.as_secs_f64() / plain.as_secs_f64();
    let rate = bytes as f64 / copied.as_secs_f64() / 1e9;
    writeln!(
        out,
        "{:.1} MB of weights: plain copy {plain:.1?}, mil copy {copied:.1?} ({rate:.2} GB/s), ratio {ratio:.2}",
        bytes as f64 / 1e6
    )?;
    let to = dir.path().join("measured.mlpackage");
    let (from, to) = (model.display().to_string(), to.display().to_string());
    if let Some(peak) = peak_memory(mil, &["copy", &from, &to])? {
        writeln!(out, "peak memory {:.1} MB, {:.2} times the weights", peak as f64 / 1e6, peak as f64 / bytes as f64)?;
    }
    Ok(())
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
