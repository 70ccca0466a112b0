//! The default pipelines on ResNet-50 (53 convolutions with batch_norm, 25.6 million weights), as a library and as a command.
//!
//! `cargo bench -p mil-tools --bench optimize` prints the times of the passes alone, of the whole command (read, optimize, write), and
//! its peak memory against the f32 weights.

use std::{
    fs,
    io::Write as _,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use mil_core::passes::{Context, Pipeline};
use mil_runtime::cpu::reference::Evaluator;

mod common;

use common::{Error, best, peak_memory, resnet50, succeed};

fn passes(name: &str) -> Result<(Duration, usize), Error> {
    let program = resnet50()?;
    let mut best = Duration::MAX;
    let mut ops = 0;
    for _ in 0..5 {
        let mut program = program.clone();
        let start = Instant::now();
        Pipeline::parse(name)?.run(&mut program, &Context { evaluate: Some(&Evaluator) })?;
        best = best.min(start.elapsed());
        let main = program.main().ok_or("no function")?;
        ops = main.walk().into_iter().filter(|op| !main.op(*op).def.is_const()).count();
    }
    Ok((best, ops))
}

fn bench() -> Result<(), Error> {
    let dir = tempfile::tempdir()?;
    let model = dir.path().join("resnet50.mlpackage");
    resnet50()?.save(&model)?;
    let bytes = fs::metadata(model.join("Data/com.apple.CoreML/weights/weight.bin"))?.len();
    let mil = env!("CARGO_BIN_EXE_mil");
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:.1} MB of f32 weights", bytes as f64 / 1e6)?;
    for name in ["fp32", "fp16"] {
        let (alone, ops) = passes(name)?;
        let to = dir.path().join(format!("{name}.mlpackage"));
        let command = best(
            |to| succeed(Command::new(mil).args(["optimize", "--passes", name]).arg(&model).arg("-o").arg(to)),
            &to,
        )?;
        write!(out, "{name}: {ops} ops left; passes {alone:.1?}, command {command:.1?}")?;
        let (from, to) = (model.display().to_string(), to.display().to_string());
        if let Some(peak) = peak_memory(mil, &["optimize", "--passes", name, &from, "-o", &to])? {
            write!(
                out,
                ", peak memory {:.1} MB, {:.2} times the weights",
                peak as f64 / 1e6,
                peak as f64 / bytes as f64
            )?;
        }
        writeln!(out)?;
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
