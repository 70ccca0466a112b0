//! Ops that work element by element.

use mil::{DType, mb};

use super::scene::rows;

rows! {
    "abs" |s| mb::abs(s.x([2, 3]));
    "acos" |s| mb::acos(s.x([2, 3]));
    "asin" |s| mb::asin(s.x([2, 3]));
    "atan" |s| mb::atan(s.x([2, 3]));
    "atanh" |s| mb::atanh(s.x([2, 3]));
    "ceil" |s| mb::ceil(s.x([2, 3]));
    "cos" |s| mb::cos(s.x([2, 3]));
    "cosh" |s| mb::cosh(s.x([2, 3]));
    "erf" |s| mb::erf(s.x([2, 3]));
    "exp" |s| mb::exp(s.x([2, 3]));
    "exp2" |s| mb::exp2(s.x([2, 3]));
    "floor" |s| mb::floor(s.x([2, 3]));
    "relu" |s| mb::relu(s.x([2, 3]));
    "relu6" |s| mb::relu6(s.x([2, 3]));
    "round" |s| mb::round(s.x([2, 3]));
    "sigmoid" |s| mb::sigmoid(s.x([2, 3]));
    "sign" |s| mb::sign(s.x([2, 3]));
    "silu" |s| mb::silu(s.x([2, 3]));
    "sin" |s| mb::sin(s.x([2, 3]));
    "sinh" |s| mb::sinh(s.x([2, 3]));
    "softplus" |s| mb::softplus(s.x([2, 3]));
    "sqrt" |s| mb::sqrt(s.x([2, 3]));
    "square" |s| mb::square(s.x([2, 3]));
    "tan" |s| mb::tan(s.x([2, 3]));
    "tanh" |s| mb::tanh(s.x([2, 3]));
    "gelu" |s| mb::gelu(s.x([2, 3]));
    "inverse" |s| mb::inverse(s.x([2, 3]));
    "log" |s| mb::log(s.x([2, 3]));
    "rsqrt" |s| mb::rsqrt(s.x([2, 3]));
    "add" |s| mb::add(s.x([2, 3]), s.x([3]));
    "sub" |s| mb::sub(s.x([2, 3]), s.x([3]));
    "mul" |s| mb::mul(s.x([2, 3]), s.x([3]));
    "real_div" |s| mb::real_div(s.x([2, 3]), s.x([3]));
    "floor_div" |s| mb::floor_div(s.x([2, 3]), s.x([3]));
    "mod" |s| mb::mod_(s.x([2, 3]), s.x([3]));
    "pow" |s| mb::pow(s.x([2, 3]), s.x([3]));
    "maximum" |s| mb::maximum(s.x([2, 3]), s.x([3]));
    "minimum" |s| mb::minimum(s.x([2, 3]), s.x([3]));
    "equal" |s| mb::equal(s.x([2, 3]), s.x([3]));
    "not_equal" |s| mb::not_equal(s.x([2, 3]), s.x([3]));
    "less" |s| mb::less(s.x([2, 3]), s.x([3]));
    "less_equal" |s| mb::less_equal(s.x([2, 3]), s.x([3]));
    "greater" |s| mb::greater(s.x([2, 3]), s.x([3]));
    "greater_equal" |s| mb::greater_equal(s.x([2, 3]), s.x([3]));
    "logical_and" |s| mb::logical_and(s.b([2, 3]), s.b([3]));
    "logical_or" |s| mb::logical_or(s.b([2, 3]), s.b([3]));
    "logical_xor" |s| mb::logical_xor(s.b([2, 3]), s.b([3]));
    "logical_not" |s| mb::logical_not(s.b([2, 3]));
    "select" |s| mb::select(s.b([2, 3]), s.x([2, 3]), s.x([2, 3]));
    "cast" |s| mb::cast(s.x([2, 3]), DType::I32);
    "clip" |s| mb::clip(s.x([2, 3]), 0.25, 0.5);
    "threshold" |s| mb::threshold(s.x([2, 3]), 0.25);
    "leaky_relu" |s| mb::leaky_relu(s.x([2, 3]), 0.25);
    "elu" |s| mb::elu(s.x([2, 3]), 0.25);
    "sigmoid_hard" |s| mb::sigmoid_hard(s.x([2, 3]), 0.25, 0.5);
    "prelu" |s| mb::prelu(s.x([1, 3, 2, 2]), s.c([3]));
    "identity" |s| mb::identity(s.x([2, 3]));
}
