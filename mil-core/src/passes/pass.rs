//! What a pass is, what it may ask of whoever runs it, and what it tells.

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use crate::{
    ir::{Constant, Program},
    op::{Args, OpError},
};

use super::Rewriter;

/// A change of programs that keeps what they compute. See the [module](super) for how to write one.
///
/// A pass changes functions one by one, in [`function`](Pass::function), or the program as a whole, in
/// [`program`](Pass::program); it implements one of the two.
pub trait Pass: Send + Sync {
    /// Its name, as `--passes` takes it: coremltools' name, if it does the same.
    fn name(&self) -> &'static str;

    /// What it does, in one sentence without full stop.
    fn doc(&self) -> &'static str;

    /// Changes one function.
    ///
    /// # Errors
    /// If an op cannot be made or inferred again, which is a bug of the pass: what it cannot do it leaves as it is.
    fn function(&self, _: &mut Rewriter, _: &Context<'_>, _: &mut Report) -> Result<(), OpError> {
        Ok(())
    }

    /// Changes a program: by default each function, with [`function`](Pass::function).
    ///
    /// # Errors
    /// As there; the error says which function. The program is of no use then: a [`Pipeline`](super::Pipeline) works on a copy.
    fn program(&self, program: &mut Program, cx: &Context<'_>, report: &mut Report) -> Result<(), PassError> {
        super::each_function(program, self.name(), |rewriter| self.function(rewriter, cx, report))
    }
}

impl<P: Pass + ?Sized> Pass for &P {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn doc(&self) -> &'static str {
        (**self).doc()
    }
    fn function(&self, rewriter: &mut Rewriter, cx: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        (**self).function(rewriter, cx, report)
    }
    fn program(&self, program: &mut Program, cx: &Context<'_>, report: &mut Report) -> Result<(), PassError> {
        (**self).program(program, cx, report)
    }
}

/// Computes ops: an engine that a pass may ask for the value of an op whose arguments are all known.
///
/// mil-core knows small integer arithmetic, as far as shapes need it; mil-runtime implements this with its kernels.
pub trait Evaluate: Sync {
    /// The outputs of an op, all of whose arguments are constants (`AnyArg::id` is `None` in each).
    ///
    /// # Errors
    /// If it cannot be computed; the op stays then.
    fn evaluate(&self, args: &Args) -> Result<Vec<Constant>, String>;
}

/// What passes may use of the one who runs them.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// Computes ops on constants. Without it only what inference knows is folded.
    pub evaluate: Option<&'a dyn Evaluate>,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("evaluate", &self.evaluate.is_some()).finish()
    }
}

/// What a pass did.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// The pass.
    pub pass: &'static str,
    /// How often it did what: `"removed identity"` 3 times.
    pub counts: BTreeMap<String, usize>,
    /// What it has to say of single ops: what it left as it is, and why.
    pub notes: Vec<String>,
    /// How long it took.
    pub time: Duration,
}

impl Report {
    /// An empty report.
    pub fn new(pass: &'static str) -> Report {
        Report { pass, ..Report::default() }
    }

    /// Counts one change: what was done, in a few words that are the same for changes of a kind.
    pub fn count(&mut self, what: impl Into<String>) {
        self.count_by(what, 1);
    }

    /// Counts changes.
    pub fn count_by(&mut self, what: impl Into<String>, by: usize) {
        if by > 0 {
            *self.counts.entry(what.into()).or_default() += by;
        }
    }

    /// Says something of a single op.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// How many changes there were.
    pub fn changes(&self) -> usize {
        self.counts.values().sum()
    }
}

/// One line with the counts, and one for each note.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.pass)?;
        if self.counts.is_empty() {
            f.write_str("nothing")?;
        }
        for (i, (what, n)) in self.counts.iter().enumerate() {
            write!(f, "{}{what} {n}", if i == 0 { "" } else { ", " })?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

/// A pass that failed. The program is as it was before the pipeline.
#[derive(Clone, PartialEq, Debug)]
pub struct PassError {
    /// The pass.
    pub pass: &'static str,
    /// The function, if it is about one.
    pub function: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass `{}`", self.pass)?;
        if let Some(function) = &self.function {
            write!(f, ", function `{}`", function.escape_debug())?;
        }
        write!(f, ": {}", self.message.replace('\n', "; "))
    }
}

impl Error for PassError {}
