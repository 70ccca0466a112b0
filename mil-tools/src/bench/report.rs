//! What was measured, for people and for machines.

use std::{fmt, time::Duration};

use mil_runtime::Profile;
use serde::Serialize;

use crate::memory::amount;

/// What was measured. Its [`Display`](fmt::Display) is for people, its serialization for machines.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The path of the model.
    pub model: String,
    /// The function that ran.
    pub function: String,
    /// What ran it: `CPU` or `Core ML`.
    pub backend: String,
    /// Why that.
    pub backend_reason: String,
    /// How many threads a prediction might use; `None` if Core ML decides.
    pub threads: Option<usize>,
    /// `fast` or `strict`; `None` if Core ML decides.
    pub numerics: Option<String>,
    /// What it ran on.
    pub inputs: Vec<Input>,
    /// How long it took to load the model.
    pub load_ms: f64,
    /// How long predictions took.
    pub latency_ms: Latency,
    /// How many predictions between the first and the measured ones were not counted.
    pub warmup: u32,
    /// How many were measured.
    pub iterations: usize,
    /// Predictions per second, one after the other.
    pub throughput_per_s: f64,
    /// Bytes of resident memory at most, of the whole process, mapped weights included; `None` where the system does not say.
    pub peak_memory_bytes: Option<u64>,
    /// Where the time goes, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profiled>,
}

/// An input that a model ran on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Dtype and shape: `Tensor<f32, 1, 3, 224, 224>`.
    pub r#type: String,
    /// Whether it was made up.
    pub made_up: bool,
}

/// How long predictions took, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Latency {
    /// The very first one, which may have things to prepare; not counted in the others.
    pub first: f64,
    /// Half of them took less.
    pub median: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// The shortest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
}

/// Where the time goes. Numbers are per prediction, in milliseconds; shares are parts of 1 of all the time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Profiled {
    /// How many predictions were profiled.
    pub predictions: u32,
    /// How long one took, looking at the clock included.
    pub ms: f64,
    /// What of that went into no op: checking inputs, and from op to op.
    pub other_ms: f64,
    /// The ops, the longest first.
    pub ops: Vec<OpShare>,
    /// The same, by MIL type; names and kernels are left out.
    pub by_op: Vec<OpShare>,
}

/// What an op, or all of a type, has of the time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OpShare {
    /// The op's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MIL type; fused ops are joined: `conv + relu`.
    pub op: String,
    /// What ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// How often it ran.
    pub calls: f64,
    /// How long all calls took.
    pub ms: f64,
    /// The part of all the time.
    pub share: f64,
}

impl Latency {
    /// Of the first prediction, and those measured, of which there is at least one.
    pub(super) fn of(first: Duration, times: &[Duration]) -> Latency {
        let mut all: Vec<f64> = times.iter().map(|t| ms(*t)).collect();
        all.sort_by(f64::total_cmp);
        let at = |i: usize| all.get(i).copied().unwrap_or(f64::NAN);
        let n = all.len();
        Latency {
            first: ms(first),
            median: (at(n.saturating_sub(1) / 2) + at(n / 2)) / 2.0,
            // The nearest rank.
            p95: at((n * 95).div_ceil(100).saturating_sub(1)),
            min: at(0),
            mean: all.iter().sum::<f64>() / n as f64,
        }
    }
}

impl Profiled {
    pub(super) fn of(profile: &Profile) -> Profiled {
        let predictions = f64::from(profile.predictions().max(1));
        let total = ms(profile.total());
        let share = |name: Option<&str>, op: &str, kernel: Option<&str>, calls: u64, time| OpShare {
            name: name.map(str::to_string),
            op: op.to_string(),
            kernel: kernel.map(str::to_string),
            calls: calls as f64 / predictions,
            ms: ms(time) / predictions,
            share: if total > 0.0 { ms(time) / total } else { 0.0 },
        };
        let entries = profile.entries();
        let mut ops: Vec<_> =
            entries.iter().map(|e| share(Some(&e.name), &e.op, Some(&e.kernel), e.calls, e.time)).collect();
        ops.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        let by_op = profile.by_op().iter().map(|t| share(None, &t.op, None, t.calls, t.time)).collect();
        let inside: Duration = entries.iter().map(|e| e.time).sum();
        Profiled {
            predictions: profile.predictions(),
            ms: total / predictions,
            other_ms: ms(profile.total().saturating_sub(inside)) / predictions,
            ops,
            by_op,
        }
    }
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` on {} ({})", self.model, self.function, self.backend, self.backend_reason)?;
        if let Some(threads) = self.threads {
            write!(f, ", {threads} {}", if threads == 1 { "thread" } else { "threads" })?;
        }
        if let Some(numerics) = &self.numerics {
            write!(f, ", {numerics} numerics")?;
        }
        writeln!(f)?;
        for input in &self.inputs {
            let made_up = if input.made_up { " (made up)" } else { "" };
            writeln!(f, "  input {}: {}{made_up}", input.name, input.r#type)?;
        }
        let latency = &self.latency_ms;
        let rows = [
            ("load", self.load_ms),
            ("first", latency.first),
            ("median", latency.median),
            ("p95", latency.p95),
            ("min", latency.min),
            ("mean", latency.mean),
        ];
        for (name, ms) in rows {
            writeln!(f, "{name:<12}{ms:>12.3} ms")?;
        }
        let (per_second, n) = (self.throughput_per_s, self.iterations);
        let predictions = if n == 1 { "prediction" } else { "predictions" };
        writeln!(f, "{:<12}{per_second:>12.1} per second, of {n} {predictions}", "throughput")?;
        match self.peak_memory_bytes {
            Some(bytes) => {
                let amount = amount(bytes);
                // The numbers stand below each other.
                let (number, unit) = amount.split_once(' ').unwrap_or((&amount, ""));
                writeln!(f, "{:<12}{number:>12} {unit}", "peak memory")?;
            }
            None => writeln!(f, "{:<12}{:>12}", "peak memory", "not known")?,
        }
        match &self.profile {
            Some(profile) => write!(f, "\n{profile}"),
            None => Ok(()),
        }
    }
}

/// How many ops are printed; JSON has them all.
const TOP: usize = 20;

impl fmt::Display for Profiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.predictions;
        let predictions = if n == 1 { "prediction" } else { "predictions" };
        writeln!(f, "profile: {:.3} ms, the mean of {n} {predictions}", self.ms)?;
        let top = &self.ops[..self.ops.len().min(TOP)];
        let width = |of: &dyn Fn(&OpShare) -> usize, least: usize| top.iter().map(of).max().unwrap_or(0).max(least);
        let op = width(&|o| o.op.len(), "op".len());
        let kernel = width(&|o| o.kernel.as_ref().map_or(0, String::len), "kernel".len());
        writeln!(f, "{HEAD}  {:<op$}  {:<kernel$}  name", "op", "kernel")?;
        for o in top {
            let (kernel_name, name) = (o.kernel.as_deref().unwrap_or(""), o.name.as_deref().unwrap_or(""));
            writeln!(f, "{}  {:<op$}  {kernel_name:<kernel$}  {name}", Numbers(o), o.op)?;
        }
        let rest = &self.ops[top.len()..];
        if !rest.is_empty() {
            let sum = |of: &dyn Fn(&OpShare) -> f64| rest.iter().map(of).sum::<f64>();
            let (ms, share, calls) = (sum(&|o| o.ms), sum(&|o| o.share), sum(&|o| o.calls));
            let rest = OpShare { name: None, op: format!("{} more", rest.len()), kernel: None, calls, ms, share };
            writeln!(f, "{}  {}", Numbers(&rest), rest.op)?;
        }
        writeln!(f, "\n{HEAD}  op")?;
        for o in &self.by_op {
            writeln!(f, "{}  {}", Numbers(o), o.op)?;
        }
        let share = if self.ms > 0.0 { self.other_ms / self.ms * 100.0 } else { 0.0 };
        writeln!(f, "{:>12.3}{share:>7.1}%{:>10}  between ops", self.other_ms, "")
    }
}

const HEAD: &str = "          ms   share     calls";

/// The columns that all tables have.
struct Numbers<'a>(&'a OpShare);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpShare { ms, share, calls, .. } = self.0;
        // A whole number, if every prediction does the same.
        let digits = if calls.fract() == 0.0 { 0 } else { 1 };
        write!(f, "{ms:>12.3}{:>7.1}%{calls:>10.digits$}", share * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(times: &[u64]) -> Latency {
        let times: Vec<_> = times.iter().map(|t| Duration::from_millis(*t)).collect();
        Latency::of(Duration::from_millis(70), &times)
    }

    #[test]
    fn latencies_are_ranked() {
        let expected = Latency { first: 70.0, median: 2.5, p95: 10.0, min: 1.0, mean: 4.0 };
        assert_eq!(latency(&[3, 10, 1, 2]), expected);
        let odd = latency(&[9, 1, 5]);
        assert_eq!((odd.median, odd.p95), (5.0, 9.0));
        let many: Vec<u64> = (1..=100).rev().collect();
        assert_eq!((latency(&many).median, latency(&many).p95), (50.5, 95.0));
        assert_eq!((latency(&[4]).median, latency(&[4]).p95), (4.0, 4.0));
    }

    fn share(name: Option<&str>, op: &str, calls: f64, ms: f64) -> OpShare {
        let kernel = name.map(|_| "reference".to_string());
        OpShare { name: name.map(str::to_string), op: op.into(), kernel, calls, ms, share: ms / 10.0 }
    }

    #[test]
    fn tables_are_aligned() {
        let ops = vec![share(Some("y"), "conv + relu", 1.0, 8.0), share(Some("z"), "add", 2.5, 1.0)];
        let by_op = vec![share(None, "conv + relu", 1.0, 8.0), share(None, "add", 2.5, 1.0)];
        let profile = Profiled { predictions: 2, ms: 10.0, other_ms: 1.0, ops, by_op };
        let report = Report {
            model: "m.mlpackage".into(),
            function: "main".into(),
            backend: "CPU".into(),
            backend_reason: "asked for".into(),
            threads: Some(2),
            numerics: Some("fast".into()),
            inputs: vec![Input { name: "x".into(), r#type: "Tensor<f32, 2>".into(), made_up: true }],
            load_ms: 3.25,
            latency_ms: latency(&[3, 10, 1, 2]),
            warmup: 1,
            iterations: 4,
            throughput_per_s: 250.0,
            peak_memory_bytes: Some(3 << 20),
            profile: Some(profile),
        };
        let expected = "\
m.mlpackage: `main` on CPU (asked for), 2 threads, fast numerics
  input x: Tensor<f32, 2> (made up)
load               3.250 ms
first             70.000 ms
median             2.500 ms
p95               10.000 ms
min                1.000 ms
mean               4.000 ms
throughput         250.0 per second, of 4 predictions
peak memory          3.0 MiB

profile: 10.000 ms, the mean of 2 predictions
          ms   share     calls  op           kernel     name
       8.000   80.0%         1  conv + relu  reference  y
       1.000   10.0%       2.5  add          reference  z

          ms   share     calls  op
       8.000   80.0%         1  conv + relu
       1.000   10.0%       2.5  add
       1.000   10.0%            between ops
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn what_is_not_in_the_table_is_summed() {
        let ops: Vec<_> = (0..23).map(|i| share(Some(&format!("y{i}")), "add", 1.0, 0.25)).collect();
        let profile = Profiled { predictions: 1, ms: 10.0, other_ms: 4.25, ops, by_op: vec![] };
        let text = profile.to_string();
        assert!(
            text.contains("the mean of 1 prediction\n") && text.contains("  y19\n") && !text.contains("y20"),
            "{text}"
        );
        assert!(text.contains("\n       0.750    7.5%         3  3 more\n"), "{text}");
    }
}
