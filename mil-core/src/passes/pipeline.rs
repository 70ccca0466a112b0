//! Passes in order.

use std::{fmt, time::Instant};

use crate::{ir::Program, validate::validate};

use super::{Context, Pass, PassError, Report, all, find};

/// The default passes in order, in groups. First what makes patterns visible. What a later pass makes possible for an earlier
/// one is why some stand twice.
const PREPARE: &[&str] = &[
    "sanitize_name_strings",
    "dedup_op_and_var_names",
    "adjust_io_to_supported_types",
    "cast_optimization",
    "const_elimination",
    "noop_elimination",
    "remove_redundant_ops",
];

/// Then the patterns.
const PATTERNS: &[&str] = &[
    "divide_to_multiply",
    "fuse_reduce_mean",
    "fuse_matmul_weight_bias",
    "fuse_linear_bias",
    "fuse_gelu_tanh_approximation",
    "fuse_gelu_exact",
    "fuse_gelu_sigmoid_approximation",
    "fuse_silu",
    "fuse_hard_sigmoid",
    "fuse_leaky_relu",
    "merge_consecutive_paddings",
    "fuse_pad_conv",
    "reduce_transposes",
    "fuse_conv_scale",
    "fuse_conv_bias",
    "fuse_layernorm_or_instancenorm",
    "fuse_elementwise_to_batchnorm",
    "fuse_conv_batchnorm",
    "fuse_conv_scale",
    "fuse_conv_bias",
    "fuse_conv_batchnorm",
    "fuse_prelu",
    "prelu_to_lrelu",
    "merge_consecutive_relus",
    "merge_consecutive_transposes",
    "merge_consecutive_reshapes",
    "fuse_transpose_matmul",
    "fuse_stack_split",
    "reduce_transposes",
    "fuse_pad_conv",
];

/// What makes f16 of f32, in `fp16`.
const HALF: &[&str] = &["add_fp16_cast"];

/// And what all of them leave behind. Equal weights are one before ops on them are compared.
const FINISH: &[&str] = &[
    "cast_optimization",
    "const_elimination",
    "noop_elimination",
    "const_deduplication",
    "remove_redundant_ops",
    "dead_code_elimination",
];

/// Passes in order.
#[derive(Default)]
pub struct Pipeline {
    passes: Vec<Box<dyn Pass>>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Pipeline {
    /// The default passes, which keep every dtype.
    pub fn fp32() -> Pipeline {
        Pipeline::listed(&[PREPARE, PATTERNS, FINISH])
    }

    /// The default passes, and f32 becomes f16 where that is safe.
    pub fn fp16() -> Pipeline {
        Pipeline::listed(&[PREPARE, PATTERNS, HALF, FINISH])
    }

    fn listed(groups: &[&[&str]]) -> Pipeline {
        let boxed = |p| Box::new(p) as Box<dyn Pass>;
        // A test finds a name that is no pass.
        Pipeline { passes: groups.iter().flat_map(|g| g.iter()).filter_map(|n| find(n)).map(boxed).collect() }
    }

    /// The passes of these names, in this order; one may stand there more than once.
    ///
    /// # Errors
    /// If there is no pass of a name; the message lists all.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Pipeline, String> {
        let mut pipeline = Pipeline::default();
        for name in names {
            pipeline.push(known(name)?);
        }
        Ok(pipeline)
    }

    /// What a user says: `fp16`, `fp32`, or names of passes with commas between them.
    ///
    /// # Errors
    /// As [`named`](Pipeline::named).
    pub fn parse(text: &str) -> Result<Pipeline, String> {
        match text.trim() {
            "fp16" => Ok(Pipeline::fp16()),
            "fp32" => Ok(Pipeline::fp32()),
            names => Pipeline::named(names.split(',').map(str::trim).filter(|n| !n.is_empty())),
        }
    }

    /// Adds a pass at the end.
    pub fn push(&mut self, pass: impl Pass + 'static) {
        self.passes.push(Box::new(pass));
    }

    /// Puts a pass in the place of that of the same name: one with other options than the default's. Gives whether there was
    /// one.
    pub fn set(&mut self, pass: impl Pass + 'static) -> bool {
        let found = self.passes.iter_mut().find(|p| p.name() == pass.name());
        found.map(|p| *p = Box::new(pass)).is_some()
    }

    /// Leaves out the passes of these names.
    ///
    /// # Errors
    /// If there is no pass of a name.
    pub fn skip<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Pipeline, String> {
        for name in names {
            if !self.names().any(|n| n == name) {
                known(name)?;
            }
            self.passes.retain(|p| p.name() != name);
        }
        Ok(self)
    }

    /// The passes before the first of this name, and those behind it; `None` if it is not there. What that pass shall be can then be
    /// tried out on what comes to it.
    pub fn around(mut self, name: &str) -> Option<[Pipeline; 2]> {
        let at = self.names().position(|n| n == name)?;
        let behind = self.passes.split_off(at + 1);
        self.passes.truncate(at);
        Some([self, Pipeline { passes: behind }])
    }

    /// The names of the passes, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.passes.iter().map(|p| p.name())
    }

    /// Runs the passes; gives a report of each.
    ///
    /// # Errors
    /// If a pass fails; the program is as it was then.
    pub fn run(&self, program: &mut Program, cx: &Context<'_>) -> Result<Vec<Report>, PassError> {
        // Constants are shared by a clone.
        let (changed, reports) = self.run_owned(program.clone(), cx, &mut |_, _| {})?;
        *program = changed;
        Ok(reports)
    }

    /// Runs the passes on a program that nobody needs as it was: weights that a pass replaces go when they are replaced, unless others
    /// share them. `progress` is told which pass begins, and what part of all is done.
    ///
    /// # Errors
    /// If a pass fails; the program is lost then.
    pub fn run_owned(
        &self,
        program: Program,
        cx: &Context<'_>,
        progress: &mut dyn FnMut(&'static str, f64),
    ) -> Result<(Program, Vec<Report>), PassError> {
        let mut changed = program;
        let valid = cfg!(debug_assertions) && validate(&changed).is_ok();
        let mut reports = Vec::with_capacity(self.passes.len());
        for (i, pass) in self.passes.iter().enumerate() {
            progress(pass.name(), i as f64 / self.passes.len() as f64);
            let start = Instant::now();
            let mut report = Report::new(pass.name());
            pass.program(&mut changed, cx, &mut report)?;
            report.time = start.elapsed();
            reports.push(report);
            if valid && let Err(wrong) = validate(&changed) {
                let message = format!("left a program that is not valid: {wrong}");
                return Err(PassError { pass: pass.name(), function: None, message });
            }
        }
        Ok((changed, reports))
    }
}

fn known(name: &str) -> Result<&'static dyn Pass, String> {
    find(name).ok_or_else(|| {
        let names: Vec<_> = all().map(Pass::name).collect();
        format!("there is no pass `{name}`; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn default_pipelines_are_of_passes_that_exist() {
        for name in [PREPARE, PATTERNS, HALF, FINISH].concat() {
            assert!(find(name).is_some(), "{name}");
        }
        let (fp32, fp16) = (Pipeline::fp32(), Pipeline::fp16());
        assert_eq!(fp16.names().count(), fp32.names().count() + HALF.len());
    }

    #[test]
    fn every_pass_has_its_own_name_and_a_line_of_doc() {
        let names: BTreeSet<_> = all().map(Pass::name).collect();
        assert_eq!(names.len(), all().count());
        for pass in all() {
            let doc = pass.doc();
            assert!(!doc.is_empty() && !doc.ends_with('.') && !doc.contains('\n'), "{}: {doc}", pass.name());
        }
    }

    #[test]
    fn progress_is_told_pass_by_pass() {
        use crate::{graph::Graph, mb, types::*};
        let mut g = Graph::new("main", Opset::iOS16);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let y = g.push(mb::relu(&x)).unwrap();
        let p = g.finish([("y", y)]).unwrap();
        let (mut told, pipeline) = (vec![], Pipeline::parse("noop_elimination,dead_code_elimination").unwrap());
        let (same, reports) =
            pipeline.run_owned(p.clone(), &Context::default(), &mut |pass, part| told.push((pass, part))).unwrap();
        assert_eq!(told, [("noop_elimination", 0.0), ("dead_code_elimination", 0.5)]);
        assert_eq!((same, reports.len()), (p, 2));
    }

    #[test]
    fn names_are_parsed() {
        assert!(Pipeline::parse("noop_elimination, nothing").unwrap_err().starts_with("there is no pass `nothing`; "));
        let twice = Pipeline::parse("noop_elimination, dead_code_elimination,noop_elimination").unwrap();
        let left = twice.skip(["noop_elimination"]).unwrap();
        assert_eq!(left.names().collect::<Vec<_>>(), ["dead_code_elimination"]);
        assert!(left.skip(["nothing"]).is_err());
    }

    #[test]
    fn a_pipeline_falls_apart_at_a_pass() {
        let [before, behind] = Pipeline::fp16().around("add_fp16_cast").unwrap();
        assert_eq!(
            before.names().chain(behind.names()).collect::<Vec<_>>(),
            Pipeline::fp32().names().collect::<Vec<_>>()
        );
        assert_eq!(behind.names().next(), Some("cast_optimization"));
        assert!(Pipeline::fp32().around("add_fp16_cast").is_none());
    }
}
