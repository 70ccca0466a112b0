//! Names that differ.

use std::collections::HashSet;

use crate::op::OpError;

use super::{Context, Pass, Report, Rewriter};

/// Gives new names to values that see another of the same name, and to ops that are named as another is. Names of inputs and
/// outputs stay.
#[derive(Clone, Copy, Debug)]
pub struct DedupOpAndVarNames;

impl Pass for DedupOpAndVarNames {
    fn name(&self) -> &'static str {
        "dedup_op_and_var_names"
    }

    fn doc(&self) -> &'static str {
        "gives different names to values that see each other, and to ops"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        report.count_by("renamed value", rw.distinct_names());
        let ops = rw.ops();
        let mut seen: HashSet<String> = HashSet::with_capacity(ops.len());
        let mut again = vec![];
        for op in ops {
            let name = &rw.op(op).name;
            if !name.is_empty() && !seen.insert(name.clone()) {
                again.push(op);
            }
        }
        for op in again {
            let name = rw.op(op).name.clone();
            // One pass over the numbers would be quadratic where a name is everywhere; the op's value has a name of its own.
            let own = rw.op(op).outputs.first().map(|v| rw.data(*v).name.clone());
            let numbered = (1..).map(|n| format!("{name}_{n}"));
            if let Some(free) = own.into_iter().chain(numbered).find(|n| seen.insert(n.clone())) {
                rw.rename_op(op, free);
                report.count("renamed op");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        mb,
        passes::testing::outputs,
        types::{DType, Opset, TensorType},
        validate::validate,
    };

    #[test]
    fn values_and_ops_get_names_of_their_own() {
        let mut g = Graph::new("main", Opset::iOS18);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let a = g.push(mb::exp(&x).name("a")).unwrap();
        let b = g.push(mb::sin(&a).name("b")).unwrap();
        let c = g.push(mb::cos(&b).name("c")).unwrap();
        let mut p = g.finish([("c", c)]).unwrap();
        let f = p.functions.get_mut("main").unwrap();
        // `exp` and `sin` give values called `c`, as the output is.
        for id in [a.id(), b.id()] {
            f.values[id.index()].name = "c".into();
        }
        f.ops.iter_mut().for_each(|op| op.name = "same".into());
        assert!(validate(&p).is_err());
        let mut report = Report::new("");
        DedupOpAndVarNames.program(&mut p, &Context::default(), &mut report).unwrap();
        validate(&p).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(outputs(&p), ["c"]);
        assert_eq!((report.counts["renamed value"], report.counts["renamed op"]), (2, 2));
    }
}
