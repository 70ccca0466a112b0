//! Products in Einstein's notation.

use mil_core::ops::{
    einsum::{Einsum, Equation},
    strided::strides,
};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, output_shape},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Einsum>()];

impl Kernel for Einsum {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let tensors = self.values.iter().map(|arg| cx.get(arg)).collect::<Result<Vec<_>, _>>()?;
        let values = self.values.iter().zip(&tensors).map(|(arg, t)| actual(arg, t)).collect();
        let shape = output_shape(&Einsum { values, ..self.clone() })?;
        let ([x, y], Some(equation)) = (&tensors[..], Equation::parse(&self.equation)) else {
            return Err(RunError::new(format!("`equation` cannot be computed: \"{}\"", self.equation)));
        };
        let out = product(&equation, x, y)?;
        floats(x.dtype(), shape, out)
    }
}

/// The product by any equation; dimensions of 1 stretch.
fn product(equation: &Equation, x: &AnyTensor, y: &AnyTensor) -> Result<Vec<f32>, RunError> {
    let letters = |keep: bool| {
        let mut found: Vec<char> = if keep { equation.out.clone() } else { vec![] };
        for c in equation.x.iter().chain(&equation.y).filter(|_| !keep) {
            if !equation.out.contains(c) && !found.contains(c) {
                found.push(*c);
            }
        }
        found
    };
    // For each combination of the letters' indices, where the elements are.
    let places = |letters: &[char]| {
        let mut places = vec![(0, 0)];
        for c in letters {
            let (size, step_x) = along(*c, &equation.x, x.shape());
            let (size_y, step_y) = along(*c, &equation.y, y.shape());
            // What has one element stretches, to none as well.
            let indices = 0..if size == 1 { size_y } else { size };
            let (step_x, step_y) = (if size == 1 { 0 } else { step_x }, if size_y == 1 { 0 } else { step_y });
            let next = places.iter().flat_map(|(i, j)| indices.clone().map(move |n| (i + n * step_x, j + n * step_y)));
            places = next.collect::<Vec<_>>();
        }
        places
    };
    let (a, b) = (x.to_f32()?, y.to_f32()?);
    let summed = places(&letters(false));
    let sum = |(i, j): &(usize, usize)| summed.iter().map(|(m, n)| a[i + m] * b[j + n]).sum();
    Ok(places(&letters(true)).iter().map(sum).collect())
}

/// The size of a letter's dimension in an operand, and the step from one of its elements to the next; a letter that
/// occurs twice steps along both dimensions (a diagonal). 1 and 0 if it does not occur.
fn along(c: char, letters: &[char], shape: &[usize]) -> (usize, usize) {
    let found = letters.iter().zip(shape.iter().zip(strides(shape))).filter(|(l, _)| **l == c);
    found.fold((1, 0), |(_, step), (_, (size, stride))| (*size, step + stride))
}

#[cfg(test)]
mod tests {
    use mil_core::mb;

    use super::*;
    use crate::cpu::reference::testing::{close, run};

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|v| v as f32).collect()
    }

    #[test]
    fn rank_3() {
        // np.einsum("chw,whr->chr", arange(8).reshape(2, 2, 2), arange(8).reshape(2, 2, 2))
        let out = run(|g| {
            let (x, y) = (g.f32(&[2, 2, 2], &numbers(8)), g.f32(&[2, 2, 2], &numbers(8)));
            mb::einsum([x, y], "chw,whr->chr")
        });
        close(&out, &[2, 2, 2], &[4.0, 5.0, 22.0, 27.0, 20.0, 29.0, 54.0, 67.0], 0.0);
    }

    #[test]
    fn rank_4_with_broadcasting() {
        // Batch elements 0 and 1 of y, both times the only one of x: by hand from the case above.
        let out = run(|g| {
            let y: Vec<f32> = numbers(8).into_iter().chain(numbers(8).iter().map(|v| v * 10.0)).collect();
            let (x, y) = (g.f32(&[1, 2, 2, 2], &numbers(8)), g.f32(&[2, 2, 2, 2], &y));
            mb::einsum([x, y], "abcd,adce->abce")
        });
        let one = [4.0, 5.0, 22.0, 27.0, 20.0, 29.0, 54.0, 67.0];
        let both: Vec<f32> = one.iter().copied().chain(one.iter().map(|v| v * 10.0)).collect();
        close(&out, &[2, 2, 2, 2], &both, 0.0);
    }

    #[test]
    fn other_equations() {
        let (x, y) = (AnyTensor::new([2, 3], numbers(6)).unwrap(), AnyTensor::new([3, 2], numbers(6)).unwrap());
        let by = |e: &str| product(&Equation::parse(e).unwrap(), &x, &y).unwrap();
        // np.einsum of arange(6).reshape(2, 3) and arange(6).reshape(3, 2).
        assert_eq!(by("ab,bc->ac"), [10.0, 13.0, 28.0, 40.0]);
        assert_eq!(by("ab,bc->ca"), [10.0, 28.0, 13.0, 40.0]);
        assert_eq!(by("ab,ba->"), [0.0 + 2.0 + 8.0 + 3.0 + 12.0 + 25.0]);
        assert_eq!(by("ab,cd->a"), [45.0, 180.0]);
        assert_eq!(by("ab,ba->b"), [3.0, 14.0, 33.0]);
        let diagonal = product(
            &Equation::parse("aa,ab->b").unwrap(),
            &AnyTensor::new([2, 2], numbers(4)).unwrap(),
            &AnyTensor::new([2, 1], vec![5.0f32, 7.0]).unwrap(),
        );
        assert_eq!(diagonal.unwrap(), [21.0]);
    }

    #[test]
    fn one_element_stretches_to_none() {
        let x = AnyTensor::new([1, 2], vec![1.0f32, 2.0]).unwrap();
        let y = AnyTensor::new([0, 2], Vec::<f32>::new()).unwrap();
        assert!(product(&Equation::parse("ab,ab->ab").unwrap(), &x, &y).unwrap().is_empty());
        let x = AnyTensor::new([0, 2], Vec::<f32>::new()).unwrap();
        let y = AnyTensor::new([2], vec![1.0f32, 2.0]).unwrap();
        assert_eq!(product(&Equation::parse("ab,b->b").unwrap(), &x, &y).unwrap(), [0.0, 0.0]);
    }
}
