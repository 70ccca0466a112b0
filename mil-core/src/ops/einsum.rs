//! Products in Einstein's notation.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{Dim, TensorType},
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[Einsum::DEF];

/// The product of two tensors whose dimensions are named by letters: a letter that the result lacks is summed over.
///
/// Core ML knows two equations, of rank 4 and 3: matrix products over the dimensions -1 and -3, the others being batch
/// dimensions, which broadcast.
///
/// # Constraints
/// - C1 there are two `values`.
/// - C2 `equation` is `"nchw,nwhu->nchu"` or `"chw,whr->chr"`, with any letters.
/// - C3 each of the two has as many dimensions as the equation has letters for it.
/// - C4 dimensions of the same letter have the same size; a batch dimension may be 1.
#[derive(Op, Clone, Debug)]
#[op(name = "einsum", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Einsum {
    /// `[B, C, H, W1]` and `[B, W1, H, W2]`; or both without `B`.
    #[dtype(T)]
    pub values: Vec<Arg>,
    /// The letters of each value and, after `->`, of the result.
    #[dtype(String)]
    pub equation: String,
}

/// An equation of two operands, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Equation {
    /// Letters of the left operand's dimensions.
    pub x: Vec<char>,
    /// Letters of the right operand's dimensions.
    pub y: Vec<char>,
    /// Letters of the result's dimensions.
    pub out: Vec<char>,
}

impl Equation {
    /// Reads `"ab,bc->ac"`. `None` if it is not two operands and a result, of letters that the result has once each
    /// and from the operands.
    pub fn parse(text: &str) -> Option<Equation> {
        let (operands, out) = text.split_once("->")?;
        let (x, y) = operands.split_once(',')?;
        let letters =
            |s: &str| -> Option<Vec<char>> { s.chars().map(|c| c.is_ascii_alphabetic().then_some(c)).collect() };
        let e = Equation { x: letters(x)?, y: letters(y)?, out: letters(out)? };
        let once = |c: &char| e.out.iter().filter(|d| *d == c).count() == 1 && (e.x.contains(c) || e.y.contains(c));
        e.out.iter().all(once).then_some(e)
    }

    /// Letters replaced by the order in which they first occur.
    fn canonical(&self) -> [Vec<usize>; 3] {
        let mut seen: Vec<char> = vec![];
        [&self.x, &self.y, &self.out].map(|letters| {
            let number = |c: &char| {
                seen.iter().position(|s| s == c).unwrap_or_else(|| {
                    seen.push(*c);
                    seen.len() - 1
                })
            };
            letters.iter().map(number).collect()
        })
    }
}

/// What Core ML runs.
const SUPPORTED: [&str; 2] = ["nchw,nwhu->nchu", "chw,whr->chr"];

impl Infer for Einsum {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let [x, y] = &self.values[..] else {
            let message = format!("`values` must be two tensors, found {}", self.values.len()); // C1
            return Err(OpError::at("values", message));
        };
        let equation = Equation::parse(&self.equation).filter(|e| {
            let known = SUPPORTED.iter().filter_map(|s| Equation::parse(s));
            known.map(|k| k.canonical()).any(|k| k == e.canonical())
        });
        let equation = equation.ok_or_else(|| {
            let [a, b] = SUPPORTED.map(|s| format!("\"{s}\""));
            let message = format!("`equation` must be {a} or {b}, with any letters, found \"{}\"", self.equation); // C2
            OpError::at("equation", message).note("write other products with `mb::transpose` and `mb::matmul`")
        })?;
        let mut sizes: Vec<(char, Dim)> = vec![];
        for (i, (arg, letters)) in [(x, &equation.x), (y, &equation.y)].into_iter().enumerate() {
            if arg.rank() != letters.len() {
                let message = format!("`values` must have rank {} by the equation, found {}", letters.len(), arg.ty);
                return Err(OpError::at("values", message).index(i)); // C3
            }
            for (letter, dim) in letters.iter().zip(arg.shape().iter()) {
                let Some(found) = sizes.iter_mut().find(|(l, _)| l == letter) else {
                    sizes.push((*letter, dim.clone()));
                    continue;
                };
                let summed = !equation.out.contains(letter);
                let joined = rules::broadcast_dim(&found.1, dim).filter(|_| !summed || found.1.may_equal(dim));
                found.1 = joined.ok_or_else(|| {
                    let message = format!("dimension `{letter}` is {} in one value and {dim} in the other", found.1);
                    OpError::at("values", message).index(i).note(format!("{}\n{}", x.ty, y.ty)) // C4
                })?;
            }
        }
        let size = |c: &char| sizes.iter().find(|(l, _)| l == c).map(|(_, dim)| dim.clone());
        let shape: Vec<Dim> = equation.out.iter().filter_map(size).collect();
        Ok(vec![TensorType::new(x.dtype(), shape).into()])
    }
}

#[cfg(test)]
mod tests {
    use super::Equation;
    use crate::{
        mb,
        op::Call,
        ops::testing::{Test, fails, infers},
    };

    fn call(g: &mut Test, x: &str, y: &str, equation: &str) -> Call<super::Einsum> {
        let (x, y) = (g.t(x), g.t(y));
        mb::einsum([x, y], equation)
    }

    const X: &str = "Tensor<f32, 2, 3, 4, 5>";
    const Y: &str = "Tensor<f32, 2, 5, 4, 6>";

    #[test]
    fn shapes() {
        infers(|g| call(g, X, Y, "nchw,nwhu->nchu"), "Tensor<f32, 2, 3, 4, 6>");
        infers(|g| call(g, X, Y, "abcd,adce->abce"), "Tensor<f32, 2, 3, 4, 6>");
        let (x, y) = ("Tensor<f16, C, 1, 5>", "Tensor<f16, 5, H, 6>");
        infers(|g| call(g, x, y, "chw,whr->chr"), "Tensor<f16, C, H, 6>");
        infers(|g| call(g, "Tensor<f32, 1, 3, 4, 5>", Y, "nchw,nwhu->nchu"), "Tensor<f32, 2, 3, 4, 6>");
    }

    #[test]
    fn equations() {
        let e = Equation::parse("ab,bc->ac").unwrap();
        assert_eq!((e.x, e.y, e.out), (vec!['a', 'b'], vec!['b', 'c'], vec!['a', 'c']));
        for bad in ["ab,bc", "ab->a", "ab,bc->ad", "ab,bc->aa", "a b,bc->ac", "ab,bc,cd->ad", "...a,ab->b"] {
            assert_eq!(Equation::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn c1_two_values() {
        fails(|g| mb::einsum([g.t(X)], "nchw,nwhu->nchu"), "values", "two tensors, found 1");
    }

    #[test]
    fn c2_equation() {
        fails(|g| call(g, X, Y, "nchw,nwhu->ncuh"), "equation", "\"chw,whr->chr\"");
        fails(|g| call(g, X, Y, "nchw"), "equation", "found \"nchw\"");
    }

    #[test]
    fn c3_ranks() {
        fails(|g| call(g, X, "Tensor<f32, 5, 4, 6>", "nchw,nwhu->nchu"), "values", "rank 4 by the equation");
    }

    #[test]
    fn c4_sizes() {
        fails(|g| call(g, X, "Tensor<f32, 2, 6, 4, 6>", "nchw,nwhu->nchu"), "values", "`w` is 5");
        fails(|g| call(g, X, "Tensor<f32, 2, 1, 4, 6>", "nchw,nwhu->nchu"), "values", "`w` is 5");
        fails(|g| call(g, X, "Tensor<f32, 3, 5, 4, 6>", "nchw,nwhu->nchu"), "values", "`n` is 2");
    }

    #[test]
    fn dtypes_agree() {
        fails(|g| call(g, X, "Tensor<f16, 2, 5, 4, 6>", "nchw,nwhu->nchu"), "values", "same dtype");
    }
}
