//! Every op on the fast CPU engine, against the reference kernels.

#[path = "../../mil-runtime/tests/engine/compare.rs"]
mod compare;

use std::collections::BTreeMap;

use compare::{Engines, Random, Tolerance, options};
use mil::{
    AnyTensor, DType, Opset,
    ir::Program,
    op::OpDef,
    ops,
    types::{Dim, TensorType, Type},
};
use mil_runtime::Numerics;

use super::{has_f16, program, rows, scene::Row, tensor};

/// What the kernels may differ by for one op.
fn of_one_op(numerics: Numerics) -> Tolerance {
    match numerics {
        // f16: both round what they computed in f32; where that is near the middle of two f16, to different ones.
        Numerics::Fast => Tolerance { relative: 1e-5, ulps: 2.0 },
        Numerics::Strict => Tolerance { relative: 1e-6, ulps: 2.0 },
    }
}

/// Numbers of both signs. (Indices stay what they are.)
fn signed(ty: &TensorType) -> AnyTensor {
    let shape: Vec<usize> = ty.shape.iter().map(|d: &Dim| d.value().unwrap().try_into().unwrap()).collect();
    match ty.dtype {
        DType::F16 | DType::F32 => {
            let numbers = Random(11).floats(shape.iter().product(), 3.0);
            AnyTensor::from_f32(ty.dtype, shape, numbers).unwrap()
        }
        _ => tensor(ty),
    }
}

/// Runs a program on all kinds of the engine, on several inputs, the first of them twice.
fn check(program: &Program) -> Result<(), String> {
    let main = program.main().ok_or("no function")?;
    let kinds = [Numerics::Fast, Numerics::Strict].map(|n| [1, 2].map(|t| options(n, t)));
    let engines = Engines::new(main, kinds.as_flattened(), 1000).map_err(|e| e.to_string())?;
    let states = engines.reference.new_states().map_err(|e| e.to_string())?;
    for make in [tensor, signed, tensor] {
        let given = main.inputs.iter().map(|id| main.value(*id)).filter_map(|v| match &v.ty {
            Type::Tensor(ty) => Some((v.name.clone(), make(ty))),
            _ => None,
        });
        let inputs: BTreeMap<String, AnyTensor> = given.collect();
        // An error is fine where the reference has the same: a logarithm has none, but a loop may never end.
        let _ = engines.check(&inputs, &states, of_one_op)?;
    }
    Ok(())
}

fn each(row: &Row, def: &OpDef, failed: &mut Vec<String>) {
    for opset in Opset::ALL.into_iter().filter(|o| *o >= def.since) {
        for float in [DType::F32, DType::F16] {
            if float == DType::F16 && !has_f16(def, opset) {
                continue;
            }
            if let Err(e) = program(row, opset, float).and_then(|p| check(&p).map_err(|e| format!("{e}\n{p}"))) {
                failed.push(format!("{}.{}.{float}: {e}", row.op, opset.name()));
            }
        }
    }
}

#[test]
fn every_op_is_as_on_the_reference() {
    let mut failed = vec![];
    for row in rows() {
        each(row, ops::find(row.op).unwrap(), &mut failed);
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}
