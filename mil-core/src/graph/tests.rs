//! Graphs, op by op.

use super::*;
use crate::mb;

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

#[test]
fn literals_and_defaults_become_constants() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", TensorType::new(DType::F16, [1, 3, 8, 8]));
    let w = Constant::new([4, 3, 1, 1], &[half::f16::ONE; 12]).unwrap();
    let y = g.push(mb::conv(&x, w).strides(2).name("c1").with("strides", [2, 2])).unwrap();
    let z = g.push(mb::add(&y, 1)).unwrap();
    let program = g.finish([("z", z)]).unwrap();
    let f = program.main().unwrap();
    let conv = f.op(f.walk().into_iter().find(|o| f.op(*o).def.name == "conv").unwrap());
    let names: Vec<_> = conv.args.iter().map(|a| conv.def.params[a.param].name).collect();
    assert_eq!(names, ["x", "weight", "strides", "pad_type", "pad", "dilations", "groups"]);
    assert_eq!(conv.name, "c1");
    let one = f.op(f.walk().into_iter().find(|o| f.op(*o).name == "add_0_y_0").unwrap());
    assert_eq!(one.constant(), Some(&Constant::scalar(half::f16::ONE)));
    assert_eq!(f.value(f.outputs()[0]).name, "z");
}

#[test]
fn errors_have_the_line() {
    let mut g = Graph::new("main", Opset::iOS17);
    let (x, y) = (g.input("x", f32s(&[2])), g.input("y", f32s(&[3])));
    let e = g.push(mb::add(&x, &y)).unwrap_err();
    assert!(e.loc.file.ends_with("tests.rs") && e.to_string().contains("cannot broadcast"), "{e}");
}

#[test]
fn loops_and_branches() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", f32s(&[2]));
    let go = g.input("go", TensorType::scalar(DType::Bool));
    let out =
        g.while_loop(vec![x.clone()], |_, _| Ok(go.clone()), |g, v| Ok(vec![g.push(mb::add(&v[0], 1.0))?])).unwrap();
    let y = g.cond(&go, |g| Ok(vec![g.push(mb::add(&out[0], 2.0))?]), |_| Ok(vec![x.clone()])).unwrap();
    let f = g.finish(y).unwrap();
    assert_eq!(f.main().unwrap().walk().iter().filter(|o| f.main().unwrap().op(**o).def.name == "add").count(), 2);
}

#[test]
fn values_stay_in_their_graph_and_block() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", f32s(&[2]));
    let go = g.input("go", TensorType::scalar(DType::Bool));
    let mut inner = None;
    let keep = |g: &mut Graph| {
        let v = g.push(mb::add(&x, 1.0))?;
        inner = Some(v.clone());
        Ok(vec![v])
    };
    g.cond(&go, keep, |_| Ok(vec![x.clone()])).unwrap();
    let e = g.push(mb::add(inner.unwrap(), 1.0)).unwrap_err();
    assert!(e.to_string().contains("nested block"), "{e}");
    let mut other = Graph::new("main", Opset::iOS17);
    assert!(other.push(mb::add(&x, 1.0)).unwrap_err().to_string().contains("another graph"));
}

#[test]
fn an_output_gets_its_name_even_if_an_intermediate_value_has_it() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", f32s(&[2]));
    let first = g.push(mb::add(&x, 1.0).name("y")).unwrap();
    let second = g.push(mb::add(&first, 1.0).name("y")).unwrap();
    let p = g.finish([("y", second.clone())]).unwrap();
    let f = p.main().unwrap();
    assert_eq!((f.value(second.id()).name.as_str(), f.outputs()), ("y", &[second.id()][..]));
    assert_eq!(f.value(first.id()).name, "y_1");
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", f32s(&[2]));
    let y = g.push(mb::add(&x, 1.0)).unwrap();
    assert!(g.finish([("x", y)]).unwrap_err().to_string().contains("name of another value"));
}

#[test]
fn an_input_that_is_an_output_is_copied() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", f32s(&[2]));
    let p = g.finish([("y", x)]).unwrap();
    let f = p.main().unwrap();
    assert_eq!((f.op(f.walk()[0]).def.name, &f.value(f.outputs()[0]).name[..]), ("identity", "y"));
}
