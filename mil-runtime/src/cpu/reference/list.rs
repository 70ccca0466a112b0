//! Kernels of lists.

use std::sync::Arc;

use mil_core::{
    ops::list::{ListGather, ListLength, ListRead, ListScatter, ListWrite, MakeList},
    types::{Dim, TensorType},
};

use super::{
    Cx, KernelDef, ValueKernel,
    value::{List, Value},
};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(crate) const KERNELS: &[KernelDef] = &[
    KernelDef::of_values::<MakeList>(),
    KernelDef::of_values::<ListRead>(),
    KernelDef::of_values::<ListWrite>(),
    KernelDef::of_values::<ListGather>(),
    KernelDef::of_values::<ListScatter>(),
    KernelDef::of_values::<ListLength>(),
];

fn one(t: &AnyTensor) -> Result<i64, RunError> {
    match t.to_i64()?[..] {
        [one] => Ok(one),
        _ => Err(RunError::new(format!("expected one number, found {}", t.ty()))),
    }
}

impl ValueKernel for MakeList {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        let length = one(&*cx.get(&self.init_length)?)?;
        let length = usize::try_from(length)
            .map_err(|_| RunError::new(format!("a list has no {length} elements: `init_length` is negative")))?;
        // Inference has seen that these are sizes, or names of sizes that are open.
        let dims = self.elem_shape.iter().enumerate().map(|(i, size)| match size.known_ints().as_deref() {
            Some([n]) => Dim::from(*n),
            _ => Dim::unknown(i),
        });
        let element = TensorType::new(self.dtype, dims.collect::<Vec<_>>());
        Ok(vec![Value::List(Arc::new(List::new(element, length, self.dynamic_length)))])
    }
}

impl ValueKernel for ListRead {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        let index = one(&*cx.get(&self.index)?)?;
        Ok(vec![Value::Tensor(cx.value(&self.ls)?.list()?.read(index)?)])
    }
}

impl ValueKernel for ListWrite {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        let index = one(&*cx.get(&self.index)?)?;
        let mut list = cx.value(&self.ls)?.list()?.clone();
        list.write(index, Arc::new(cx.get(&self.value)?.into_owned()))?;
        Ok(vec![Value::List(Arc::new(list))])
    }
}

impl ValueKernel for ListGather {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        let (value, indices) = (cx.value(&self.ls)?, cx.get(&self.indices)?);
        let list = value.list()?;
        let indices = indices.to_i64()?;
        let item = match (list.element.shape.fixed(), indices.first()) {
            (Some(shape), _) => shape,
            (None, Some(first)) => list.read(*first)?.shape().to_vec(),
            (None, None) => return Err(RunError::new("nothing is gathered from a list whose elements' size is open")),
        };
        let shape = [vec![indices.len()], item.clone()].concat();
        let dtype = list.element.dtype;
        let count = checked_count(dtype, &shape)?;
        let mut bytes = Vec::with_capacity(count * dtype.bits().div_ceil(8));
        for index in indices.iter() {
            let read = list.read(*index)?;
            if read.shape() != item {
                let what = format!("the elements differ in shape: {item:?} and {:?}", read.shape());
                return Err(RunError::new(what));
            }
            bytes.extend_from_slice(read.bytes().unwrap_or_default());
        }
        Ok(vec![AnyTensor::from_bytes(dtype, shape, bytes)?.into()])
    }
}

impl ValueKernel for ListScatter {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        let (indices, values) = (cx.get(&self.indices)?, cx.get(&self.value)?);
        let (indices, mut list) = (indices.to_i64()?, cx.value(&self.ls)?.list()?.clone());
        let [count, shape @ ..] = values.shape() else { return Err(RunError::new("`value` is a scalar")) };
        if *count != indices.len() {
            return Err(RunError::new(format!("`value` has {count} slices for {} places", indices.len())));
        }
        let bytes = values.bytes().unwrap_or_default();
        let size = bytes.len().checked_div(*count).unwrap_or(0);
        for (i, index) in indices.iter().enumerate() {
            let slice = bytes[i * size..(i + 1) * size].to_vec();
            list.write(*index, Arc::new(AnyTensor::from_bytes(values.dtype(), shape, slice)?))?;
        }
        Ok(vec![Value::List(Arc::new(list))])
    }
}

impl ValueKernel for ListLength {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        let length = cx.value(&self.ls)?.list()?.len;
        let length =
            i32::try_from(length).map_err(|_| RunError::new(format!("{length} elements do not fit an i32")))?;
        Ok(vec![AnyTensor::scalar(length).into()])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mil_core::{
        graph::{BuildError, Graph, Value},
        mb,
        types::{DType, Opset, TensorType},
    };

    use super::*;
    use crate::cpu::Executor;

    /// What a function of one i32 `n` gives.
    fn run(
        n: i32,
        build: impl FnOnce(&mut Graph, &Value) -> Result<Vec<Value>, BuildError>,
    ) -> Result<Vec<AnyTensor>, String> {
        let mut g = Graph::new("main", Opset::iOS15);
        let input = g.input("n", TensorType::scalar(DType::I32));
        let outputs = build(&mut g, &input).unwrap();
        let p = g.finish(outputs).unwrap();
        mil_core::validate::validate(&p).unwrap();
        let f = p.main().unwrap();
        let inputs = BTreeMap::from([("n".to_string(), AnyTensor::scalar(n))]);
        let mut all = Executor::new(f.clone()).unwrap().run(inputs).map_err(|e| e.to_string())?;
        Ok(f.outputs().iter().map(|v| all.remove(&f.value(*v).name).unwrap()).collect())
    }

    fn row(v: [f32; 2]) -> mil_core::ir::Constant {
        mil_core::ir::Constant::vector(&v)
    }

    #[test]
    fn lists_grow_and_keep_what_was() {
        let outputs = run(3, |g, n| {
            let empty = g.push(mb::make_list([2]))?;
            let one = g.push(mb::list_write(&empty, 0, row([1.0, 2.0])))?;
            let two = g.push(mb::list_write(&one, n, row([3.0, 4.0])))?;
            let again = g.push(mb::list_write(&two, 0, row([5.0, 6.0])))?;
            let all = g.push(mb::list_gather(&again, [0, 3, 0]))?;
            let before = g.push(mb::list_read(&one, 0))?;
            let lengths = [g.push(mb::list_length(&one))?, g.push(mb::list_length(&again))?];
            Ok([vec![all, before], lengths.to_vec()].concat())
        });
        let outputs = outputs.unwrap();
        assert_eq!(outputs[0], AnyTensor::new([3, 2], vec![5f32, 6.0, 3.0, 4.0, 5.0, 6.0]).unwrap());
        assert_eq!(outputs[1], AnyTensor::new([2], vec![1f32, 2.0]).unwrap());
        assert_eq!(outputs[2..], [AnyTensor::scalar(1), AnyTensor::scalar(4)]);
    }

    #[test]
    fn scatters_in_order() {
        let outputs = run(1, |g, _| {
            let list = g.push(mb::make_list(Vec::<i32>::new()).init_length(2).dynamic_length(false).dtype("int32"))?;
            let list = g.push(mb::list_scatter(&list, [1, 0, 1], [7, 8, 9]))?;
            Ok(vec![g.push(mb::list_gather(&list, [0, 1]))?])
        });
        assert_eq!(outputs.unwrap()[0], AnyTensor::new([2], vec![8i32, 9]).unwrap());
    }

    #[test]
    fn loops_carry_lists() {
        let outputs = run(4, |g, n| {
            let list = g.push(mb::make_list([1]).dtype("int32"))?;
            let zero = g.constant("i", mil_core::ir::Constant::scalar(0i32));
            let vars = g.while_loop(
                vec![zero, list],
                |g, v| g.push(mb::less(&v[0], n)),
                |g, v| {
                    let square = g.push(mb::mul(&v[0], &v[0]))?;
                    let item = g.push(mb::expand_dims(&square, [0]))?;
                    let list = g.push(mb::list_write(&v[1], &v[0], item))?;
                    Ok(vec![g.push(mb::add(&v[0], 1))?, list])
                },
            )?;
            let length = g.push(mb::list_length(&vars[1]))?;
            let all = g.push(mb::range_1d(&length, 0, 1))?;
            Ok(vec![g.push(mb::list_gather(&vars[1], &all))?])
        });
        assert_eq!(outputs.unwrap()[0], AnyTensor::new([4, 1], vec![0i32, 1, 4, 9]).unwrap());
    }

    #[test]
    fn places_that_are_not_there_are_errors() {
        let read = |n: i32, dynamic: bool| {
            run(n, |g, n| {
                let list = g.push(mb::make_list([2]).init_length(2).dynamic_length(dynamic))?;
                let list = g.push(mb::list_write(&list, n, row([1.0, 2.0])))?;
                Ok(vec![g.push(mb::list_read(&list, 1))?])
            })
        };
        assert!(read(1, false).is_ok());
        assert!(read(-1, true).unwrap_err().contains("no place -1"));
        assert!(read(2, false).unwrap_err().contains("has 2 elements and does not grow"));
        // A place far away costs nothing.
        let zeros = AnyTensor::new([2], vec![0f32; 2]).unwrap();
        assert_eq!(read(i32::MAX, true).unwrap()[0], zeros);
    }

    #[test]
    fn unwritten_elements_are_zeros_if_their_size_is_known() {
        let read = |shape: mil_core::op::Operand| {
            run(0, |g, n| {
                let list = g.push(mb::make_list(shape))?;
                Ok(vec![g.push(mb::list_read(&list, n))?])
            })
        };
        assert_eq!(read([3].into()).unwrap()[0], AnyTensor::new([3], vec![0f32; 3]).unwrap());
        assert!(read(["n"].into()).unwrap_err().contains("element 0 of the list is read but was never written"));
    }
}
