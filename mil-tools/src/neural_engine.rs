//! What is known of the Apple Neural Engine, op by op.
//!
//! The table is `data/ane_rules.tsv`: what the Neural Engine's compiler takes on which chip, after *ane-guide* by
//! S. Bryngelson (CC BY 4.0), with what `MLComputePlan` was seen to say. It is evidence and not a promise: Apple documents none
//! of it, and only a compute plan made on the Mac concerned is certain.

use std::{collections::HashMap, sync::LazyLock};

const TABLE: &str = include_str!("../data/ane_rules.tsv");

/// Whether an op runs on the Neural Engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// It does, in f16.
    Yes,
    /// It does under a condition.
    If,
    /// It does not.
    No,
    /// It is computed before the model runs.
    Folded,
    /// Nobody has told.
    Unknown,
}

impl Verdict {
    /// A word or two for people.
    pub const fn words(self) -> &'static str {
        match self {
            Verdict::Yes => "yes",
            Verdict::If => "under a condition",
            Verdict::No => "no",
            Verdict::Folded => "folded",
            Verdict::Unknown => "unknown",
        }
    }
}

/// How sure that is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Confidence {
    /// Guessed.
    Low,
    /// Read off the compiler, or reported more than once.
    Medium,
    /// Measured with `MLComputePlan`, or said by Apple.
    High,
}

/// What is known of one op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// MIL name.
    pub op: &'static str,
    /// Whether it runs there.
    pub verdict: Verdict,
    /// How sure that is.
    pub confidence: Confidence,
    /// How the compiler takes it on M1, M2, M3 (predicted), and M4 and M5.
    pub chips: [&'static str; 4],
    /// What `MLComputePlan` was seen to say; may be empty.
    pub measured: &'static str,
    /// The condition, or what to know; may be empty.
    pub condition: &'static str,
}

fn parse(line: &'static str) -> Option<Rule> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [op, verdict, confidence, m1, m2, m3, m4, measured, _, condition] = columns[..] else { return None };
    let verdict = match verdict {
        "ANE" => Verdict::Yes,
        "ANE_IF" => Verdict::If,
        "OFF" => Verdict::No,
        "FOLD" => Verdict::Folded,
        "UNKNOWN" => Verdict::Unknown,
        _ => return None,
    };
    let confidence = match confidence {
        "H" => Confidence::High,
        "M" => Confidence::Medium,
        "L" => Confidence::Low,
        _ => return None,
    };
    Some(Rule { op, verdict, confidence, chips: [m1, m2, m3, m4], measured, condition })
}

/// What is known of the op of this MIL name.
pub fn rule(op: &str) -> Option<&'static Rule> {
    static RULES: LazyLock<HashMap<&str, Rule>> = LazyLock::new(|| {
        let lines = TABLE.lines().filter(|l| !l.starts_with('#')).skip(1);
        lines.filter_map(parse).map(|rule| (rule.op, rule)).collect()
    });
    RULES.get(op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_rule() {
        let lines = TABLE.lines().filter(|l| !l.starts_with('#')).skip(1);
        for line in lines {
            let rule = parse(line).unwrap_or_else(|| panic!("no rule: {line}"));
            assert_eq!(super::rule(rule.op), Some(&rule));
        }
    }

    #[test]
    fn every_op_has_a_rule() {
        // `write_state` is in no inventory of coremltools, which the table follows.
        let missing: Vec<_> = mil_core::ops::all().map(|d| d.name).filter(|op| rule(op).is_none()).collect();
        assert!(missing.iter().all(|op| *op == "write_state"), "{missing:?}");
        let conv = rule("conv").unwrap();
        assert_eq!((conv.verdict, conv.confidence, conv.measured), (Verdict::If, Confidence::High, "ANE"));
    }
}
