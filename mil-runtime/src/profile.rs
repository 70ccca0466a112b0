//! Where the time of a prediction goes.

use std::{collections::BTreeMap, time::Duration};

use mil_core::ir::OpId;

/// How long the ops of a prediction took: [`Model::predict_profiled`](crate::Model::predict_profiled).
///
/// Of one function only; profiles of several predictions are added up with [`Profile::merge`].
#[derive(Clone, Debug, Default)]
pub struct Profile {
    entries: Vec<ProfileEntry>,
    /// The entries of an op, one for each kernel that ran it.
    of: BTreeMap<OpId, Vec<usize>>,
    total: Duration,
    predictions: u32,
}

/// An op, or several that ran as one, and how long it took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileEntry {
    /// The op's name; of fused ops, that of the last.
    pub name: String,
    /// Its MIL type; fused ops are joined: `conv + relu`.
    pub op: String,
    /// What ran it: `reference` for a plain loop, else what the fast kernel is called (`conv 3x3 winograd`).
    pub kernel: String,
    /// How often it ran: more than once per prediction in a loop.
    pub calls: u64,
    /// The time of all calls, that of freeing the values included which nobody uses afterwards.
    pub time: Duration,
    id: OpId,
}

/// All ops of one type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpTotal {
    /// The MIL type, as in [`ProfileEntry::op`].
    pub op: String,
    /// How often they ran.
    pub calls: u64,
    /// The time of all calls.
    pub time: Duration,
}

impl Profile {
    /// The ops in the order in which they first ran. `cond` and `while_loop` are not there, what runs in them is; neither are
    /// constants.
    pub fn entries(&self) -> &[ProfileEntry] {
        &self.entries
    }

    /// The time of the predictions as a whole. What the entries leave of it went into checking inputs, and from op to op.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// How many predictions this is of.
    pub fn predictions(&self) -> u32 {
        self.predictions
    }

    /// What each type of op took, the longest first.
    pub fn by_op(&self) -> Vec<OpTotal> {
        let mut totals: BTreeMap<&str, (u64, Duration)> = BTreeMap::new();
        for entry in &self.entries {
            let (calls, time) = totals.entry(&entry.op).or_default();
            *calls += entry.calls;
            *time += entry.time;
        }
        let total = |(op, (calls, time)): (&str, _)| OpTotal { op: op.into(), calls, time };
        let mut totals: Vec<_> = totals.into_iter().map(total).collect();
        totals.sort_by_key(|t| std::cmp::Reverse(t.time));
        totals
    }

    /// Adds another prediction of the same function.
    pub fn merge(&mut self, other: &Profile) {
        for entry in &other.entries {
            let what = || (entry.name.clone(), entry.op.clone());
            self.add(entry.id, &entry.kernel, entry.calls, entry.time, what);
        }
        self.total += other.total;
        self.predictions += other.predictions;
    }

    /// Notes that a kernel ran once. The op is the one that the entry is named after; what to call it, and its type, is asked
    /// the first time only.
    pub(crate) fn record(&mut self, op: OpId, kernel: &str, time: Duration, what: impl FnOnce() -> (String, String)) {
        self.add(op, kernel, 1, time, what);
    }

    /// Notes that a prediction has ended.
    pub(crate) fn end(&mut self, time: Duration) {
        self.total += time;
        self.predictions += 1;
    }

    fn add(&mut self, id: OpId, kernel: &str, calls: u64, time: Duration, what: impl FnOnce() -> (String, String)) {
        let all = self.of.entry(id).or_default();
        if let Some(&at) = all.iter().find(|at| self.entries[**at].kernel == kernel) {
            self.entries[at].calls += calls;
            self.entries[at].time += time;
            return;
        }
        all.push(self.entries.len());
        let (name, op) = what();
        self.entries.push(ProfileEntry { name, op, kernel: kernel.into(), calls, time, id });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mil_core::{
        graph::{Graph, Value},
        ir::{Constant, Program},
        mb,
        types::{DType, Opset, TensorType},
    };

    use super::*;
    use crate::{AnyTensor, Backend, Model, cpu::Executor};

    /// Counts from 0 to `n`, adding `x` each time.
    fn counter() -> Program {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let n = g.input("n", TensorType::scalar(DType::I32));
        let zero = g.constant("zero", Constant::scalar(0i32));
        let double = g.push(mb::mul(&x, 2.0)).unwrap();
        let condition = |g: &mut Graph, v: &[Value]| g.push(mb::less(&v[0], &n));
        let body = |g: &mut Graph, v: &[Value]| Ok(vec![g.push(mb::add(&v[0], 1))?, g.push(mb::add(&v[1], &x))?]);
        let out = g.while_loop(vec![zero, double], condition, body).unwrap();
        g.finish([("y", out[1].clone())]).unwrap()
    }

    fn inputs(n: i32) -> [(&'static str, AnyTensor); 2] {
        [("x", AnyTensor::new([2], vec![1f32, 2.0]).unwrap()), ("n", AnyTensor::scalar(n))]
    }

    #[test]
    fn loops_are_counted() {
        let program = counter();
        let model = Model::options().backend(Backend::Cpu).from_program(&program).unwrap();
        let (outputs, profile) = model.predict_profiled(inputs(3)).unwrap();
        assert_eq!(outputs, model.predict(inputs(3)).unwrap());
        let calls = |p: &Profile| p.by_op().into_iter().map(|t| (t.op, t.calls)).collect::<BTreeMap<_, _>>();
        let expected = |runs: u64, rounds: u64| {
            let ops = [("mul", runs), ("less", rounds + runs), ("add", 2 * rounds)];
            BTreeMap::from(ops.map(|(op, n)| (op.to_string(), n)))
        };
        assert_eq!(calls(&profile), expected(1, 3));
        assert_eq!(profile.entries()[0].op, "mul");
        assert_eq!(profile.entries().iter().filter(|e| e.op == "add" && e.calls == 3).count(), 2);
        let names: Vec<_> = profile.entries().iter().map(|e| &e.name).collect();
        let walked = program.main().unwrap();
        assert!(names.iter().all(|n| walked.walk().iter().any(|id| walked.op(*id).name == **n)), "{names:?}");
        let sum: Duration = profile.entries().iter().map(|e| e.time).sum();
        assert!(sum > Duration::ZERO && sum <= profile.total(), "{profile:?}");

        let mut both = profile.clone();
        both.merge(&model.predict_profiled(inputs(5)).unwrap().1);
        assert_eq!((calls(&both), both.predictions()), (expected(2, 8), 2));
        assert_eq!(both.entries().len(), profile.entries().len());
        assert!(both.total() > profile.total());
    }

    #[test]
    fn an_op_that_two_kernels_ran_has_two_entries() {
        let program = counter();
        let id = program.main().unwrap().walk()[0];
        let what = || ("y".to_string(), "conv + relu".to_string());
        let mut profile = Profile::default();
        for (kernel, ms) in [("fast", 1), ("reference", 5), ("fast", 2)] {
            profile.record(id, kernel, Duration::from_millis(ms), what);
        }
        let found: Vec<_> = profile.entries().iter().map(|e| (&e.kernel[..], e.calls, e.time.as_millis())).collect();
        assert_eq!(found, [("fast", 2, 3), ("reference", 1, 5)]);
        let total = OpTotal { op: "conv + relu".into(), calls: 3, time: Duration::from_millis(8) };
        assert_eq!(profile.by_op(), [total]);
    }

    #[test]
    fn states_are_kept_or_refused() {
        let mut g = Graph::new("main", Opset::iOS18);
        let sum = g.input("sum", mil_core::types::Type::State(TensorType::new(DType::F16, [1])));
        let x = g.input("x", TensorType::new(DType::F16, [1]));
        let old = g.push(mb::read_state(&sum)).unwrap();
        let new = g.push(mb::add(&old, &x)).unwrap();
        let y = g.coreml_update_state(&sum, &new).unwrap();
        let program = g.finish([("y", y)]).unwrap();
        let model = Model::options().backend(Backend::Cpu).from_program(&program).unwrap();
        let x = || [("x", AnyTensor::new([1], vec![half::f16::ONE]).unwrap())];
        let e = model.predict_profiled(x()).unwrap_err().to_string();
        assert!(e.contains("has states (`sum`)"), "{e}");
        let mut state = model.new_state().unwrap();
        for expected in [1.0, 2.0] {
            let (y, profile) = model.predict_profiled_with_state(x(), &mut state).unwrap();
            assert_eq!(y.single().unwrap().to_f32().unwrap()[0], expected);
            let ops: Vec<_> = profile.entries().iter().map(|e| &e.op[..]).collect();
            // Written back, and read again for the output.
            assert_eq!(ops, ["read_state", "add", "write_state", "read_state"]);
        }
    }

    #[test]
    fn errors_are_those_of_a_plain_run() {
        let e = Executor::new(counter().main().unwrap().clone()).unwrap();
        let missing = e.run_profiled(BTreeMap::new(), &mut e.new_states().unwrap()).unwrap_err();
        assert_eq!(missing.to_string(), "input `x` is missing");
    }
}
