//! What the rows are made of.

use mil::{
    DType, Graph, Value,
    graph::BuildError,
    ir::Constant,
    mb,
    op::{Call, FromOutputs, Op},
    types::TensorType,
};

/// An op, and how its program is built.
pub(crate) struct Row {
    pub(crate) op: &'static str,
    pub(crate) build: fn(&mut Scene) -> Result<Vec<Value>, BuildError>,
}

/// Rows of one pushed call each: `conv |s| mb::conv(s.x([1, 3, 8, 8]), s.c([4, 3, 3, 3]));`
macro_rules! rows {
    ($($op:literal |$s:ident| $call:expr;)*) => {
        pub(crate) const ROWS: &[$crate::scene::Row] = &[$($crate::scene::Row {
            op: $op,
            build: |$s| { let call = $call; $s.push(call) },
        }),*];
    };
}
pub(crate) use rows;

/// A program under construction.
pub(crate) struct Scene {
    pub(crate) graph: Graph,
    /// The float dtype that it computes in.
    pub(crate) float: DType,
}

impl Scene {
    fn input(&mut self, dtype: DType, shape: &[usize]) -> Value {
        self.graph.input("x", TensorType::new(dtype, shape))
    }

    fn cast(&mut self, v: Value, dtype: DType) -> Value {
        self.graph.push(mb::cast(v, dtype)).unwrap()
    }

    /// A float input.
    pub(crate) fn x<const N: usize>(&mut self, shape: [usize; N]) -> Value {
        match self.graph.opset().io_dtypes().contains(&self.float) {
            true => self.input(self.float, &shape),
            false => {
                let x = self.input(DType::F32, &shape);
                self.cast(x, self.float)
            }
        }
    }

    /// An input of 32-bit integers.
    pub(crate) fn i<const N: usize>(&mut self, shape: [usize; N]) -> Value {
        self.input(DType::I32, &shape)
    }

    /// A bool that is computed from an input.
    pub(crate) fn b<const N: usize>(&mut self, shape: [usize; N]) -> Value {
        let i = self.i(shape);
        self.cast(i, DType::Bool)
    }

    /// Signed bytes that are computed from an input.
    pub(crate) fn bytes<const N: usize>(&mut self, shape: [usize; N]) -> Value {
        let i = self.i(shape);
        self.cast(i, DType::I8)
    }

    /// A float scalar that is computed from an input.
    pub(crate) fn scalar(&mut self) -> Value {
        let x = self.x([1]);
        self.graph.push(mb::squeeze(x)).unwrap()
    }

    /// The shape of an input, as a value.
    pub(crate) fn shape<const N: usize>(&mut self, shape: [usize; N]) -> Value {
        let x = self.x(shape);
        self.graph.push(mb::shape(x)).unwrap()
    }

    /// A constant of floats.
    pub(crate) fn c<const N: usize>(&mut self, shape: [usize; N]) -> Constant {
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|i| (i % 5 + 1) as f32 / 8.0).collect();
        match self.float {
            DType::F16 => Constant::new(shape, &numbers.into_iter().map(mil::f16::from_f32).collect::<Vec<_>>()),
            _ => Constant::new(shape, &numbers),
        }
        .unwrap()
    }

    /// A value as an output may be: of a dtype that the opset gives to the outside, and no scalar.
    pub(crate) fn given(&mut self, v: Value) -> Value {
        let Some(ty) = v.tensor_type().cloned() else { return v };
        let io = self.graph.opset().io_dtypes();
        let v = match ty.dtype {
            DType::String => return v,
            dtype if io.contains(&dtype) => v,
            dtype if dtype.is_float() => self.cast(v, DType::F32),
            _ => self.cast(v, DType::I32),
        };
        if ty.rank() > 0 { v } else { self.graph.push(mb::expand_dims(v, [0])).unwrap() }
    }

    /// Pushes one call.
    pub(crate) fn push<O: Op>(&mut self, call: Call<O>) -> Result<Vec<Value>, BuildError>
    where
        O::Outputs: IntoValues,
    {
        self.graph.push(call).map(IntoValues::into_values)
    }
}

/// Outputs of a push as a list.
pub(crate) trait IntoValues: FromOutputs {
    fn into_values(self) -> Vec<Value>;
}
impl IntoValues for Value {
    fn into_values(self) -> Vec<Value> {
        vec![self]
    }
}
impl IntoValues for (Value, Value) {
    fn into_values(self) -> Vec<Value> {
        vec![self.0, self.1]
    }
}
impl IntoValues for (Value, Value, Value) {
    fn into_values(self) -> Vec<Value> {
        vec![self.0, self.1, self.2]
    }
}
impl IntoValues for Vec<Value> {
    fn into_values(self) -> Vec<Value> {
        self
    }
}
