//! Names that MIL takes.

use std::collections::BTreeMap;

use crate::{
    graph::{identifier, is_identifier},
    ir::{Function, Program},
    op::OpError,
};

use super::{Context, Pass, PassError, Report, Rewriter};

/// Makes MIL names of the names of functions, values and ops: what is no letter, digit or `_` becomes `_`, and `var_` goes before
/// digits and words of MIL. Inputs and outputs are renamed with their descriptions, which is told, since users name them.
#[derive(Clone, Copy, Debug)]
pub struct SanitizeNameStrings;

impl Pass for SanitizeNameStrings {
    fn name(&self) -> &'static str {
        "sanitize_name_strings"
    }

    fn doc(&self) -> &'static str {
        "renames what has no MIL name"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        let interface: Vec<_> = rw.function().inputs.iter().chain(rw.function().outputs()).copied().collect();
        for v in interface {
            let old = rw.data(v).name.clone();
            if !is_identifier(&old) {
                rw.rename_interface(v, &old);
                let new = &rw.data(v).name;
                report.note(format!("`{}` is called `{new}` now, in the model's interface", old.escape_debug()));
                report.count("renamed input or output");
            }
        }
        for op in rw.ops() {
            let inner = rw.op(op).blocks.iter().flat_map(|b| &rw.function().block(*b).inputs);
            for v in inner.chain(&rw.op(op).outputs).copied().collect::<Vec<_>>() {
                let old = rw.data(v).name.clone();
                if !is_identifier(&old) {
                    rw.rename(v, &old);
                    report.count("renamed value");
                }
            }
            let name = rw.op(op).name.clone();
            if !name.is_empty() && !is_identifier(&name) {
                rw.rename_op(op, identifier(&name));
                report.count("renamed op");
            }
        }
        Ok(())
    }

    fn program(&self, program: &mut Program, cx: &Context<'_>, report: &mut Report) -> Result<(), PassError> {
        super::each_function(program, self.name(), |rw| self.function(rw, cx, report))?;
        if program.functions.keys().all(|name| is_identifier(name)) {
            return Ok(());
        }
        let mut functions: BTreeMap<String, Function> = BTreeMap::new();
        let (good, bad): (Vec<_>, Vec<_>) =
            std::mem::take(&mut program.functions).into_iter().partition(|(name, _)| is_identifier(name));
        functions.extend(good);
        for (old, mut function) in bad {
            let clean = identifier(&old);
            let numbered = (0..).map(|n| format!("{clean}_{n}"));
            let free = std::iter::once(clean.clone()).chain(numbered).find(|n| !functions.contains_key(n));
            let new = free.unwrap_or(clean);
            if program.default_function == old {
                program.default_function.clone_from(&new);
            }
            report.note(format!("the function `{}` is called `{new}` now", old.escape_debug()));
            report.count("renamed function");
            function.name.clone_from(&new);
            functions.insert(new, function);
        }
        program.functions = functions;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        ir::{
            Feature,
            feature::{ArrayFeature, FeatureKind},
        },
        mb,
        passes::testing::outputs,
        types::{DType, Opset, TensorType},
        validate::validate,
    };

    #[test]
    fn names_are_made_mil_names_and_descriptions_follow() {
        let mut g = Graph::new("main", Opset::iOS18);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let a = g.push(mb::exp(&x).name("a")).unwrap();
        let b = g.push(mb::sin(&a).name("b")).unwrap();
        let mut p = g.finish([("b", b.clone())]).unwrap();
        let mut f = p.functions.remove("main").unwrap();
        for (id, name) in [(x.id(), "in/put"), (a.id(), "1 + 1"), (b.id(), "tensor")] {
            f.values[id.index()].name = name.into();
        }
        f.name = "my function".into();
        let array = ArrayFeature { dtype: Some(DType::F32), shape: vec![2], ..ArrayFeature::default() };
        let feature = |name: &str| Feature {
            name: name.into(),
            description: "kept".into(),
            optional: false,
            kind: FeatureKind::Array(array.clone()),
        };
        f.input_features = vec![feature("in/put")];
        f.output_features = vec![feature("tensor")];
        p.functions.insert("my function".into(), f);
        p.default_function = "my function".into();
        assert!(validate(&p).is_err());
        let mut report = Report::new("");
        SanitizeNameStrings.program(&mut p, &Context::default(), &mut report).unwrap();
        validate(&p).unwrap_or_else(|e| panic!("{e}"));
        let f = p.main().unwrap();
        assert_eq!((&p.default_function[..], outputs(&p)), ("my_function", vec!["var_tensor"]));
        assert_eq!((&f.input_features[0].name[..], &f.output_features[0].name[..]), ("in_put", "var_tensor"));
        assert_eq!(f.value(f.op(f.walk()[0]).outputs[0]).name, "var_1___1");
        assert_eq!((report.changes(), report.notes.len()), (4, 3));
    }
}
