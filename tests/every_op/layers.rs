//! Layers: convolution, pooling, norms, matrix products, recurrence, attention, reductions.

use mil::{ir::Constant, mb};

use super::scene::rows;

rows! {
    "conv" |s| mb::conv(s.x([1, 3, 8, 8]), s.c([4, 3, 3, 3])).strides([2, 2]).bias(s.c([4]));
    "conv_transpose" |s| mb::conv_transpose(s.x([1, 3, 4, 4]), s.c([3, 2, 3, 3])).bias(s.c([2]));
    "linear" |s| mb::linear(s.x([2, 3]), s.c([4, 3])).bias(s.c([4]));
    "matmul" |s| mb::matmul(s.x([2, 3]), s.x([3, 4]));
    "einsum" |s| mb::einsum([s.x([1, 2, 3, 4]), s.x([1, 4, 3, 5])], "nchw,nwhu->nchu");
    "scaled_dot_product_attention" |s| mb::scaled_dot_product_attention(s.x([1, 2, 3, 4]), s.x([1, 2, 3, 4]), s.x([1, 2, 3, 4]));
    "avg_pool" |s| mb::avg_pool(s.x([1, 2, 6, 6]), [2, 2], "valid");
    "max_pool" |s| mb::max_pool(s.x([1, 2, 6, 6]), [2, 2], "same");
    "l2_pool" |s| mb::l2_pool(s.x([1, 2, 6, 6]), [2, 2], "valid");
    "batch_norm" |s| mb::batch_norm(s.x([1, 3, 4, 4]), s.c([3]), s.c([3])).gamma(s.c([3])).beta(s.c([3]));
    "instance_norm" |s| mb::instance_norm(s.x([1, 3, 4, 4]));
    "layer_norm" |s| mb::layer_norm(s.x([1, 3, 4])).axes([-1]).gamma(s.c([4]));
    "l2_norm" |s| mb::l2_norm(s.x([1, 3, 4, 4]));
    "softmax" |s| mb::softmax(s.x([2, 3])).axis(1);
    "reduce_argmax" |s| mb::reduce_argmax(s.x([2, 3]));
    "reduce_argmin" |s| mb::reduce_argmin(s.x([2, 3]));
    "reduce_l1_norm" |s| mb::reduce_l1_norm(s.x([2, 3])).axes([1]);
    "reduce_l2_norm" |s| mb::reduce_l2_norm(s.x([2, 3])).axes([1]);
    "reduce_log_sum" |s| mb::reduce_log_sum(s.x([2, 3])).axes([1]);
    "reduce_log_sum_exp" |s| mb::reduce_log_sum_exp(s.x([2, 3])).axes([1]);
    "reduce_max" |s| mb::reduce_max(s.x([2, 3])).axes([1]);
    "reduce_mean" |s| mb::reduce_mean(s.x([2, 3])).axes([1]).keep_dims(true);
    "reduce_min" |s| mb::reduce_min(s.x([2, 3])).axes([1]);
    "reduce_prod" |s| mb::reduce_prod(s.x([2, 3])).axes([1]);
    "reduce_sum" |s| mb::reduce_sum(s.x([2, 3])).axes([1]);
    "reduce_sum_square" |s| mb::reduce_sum_square(s.x([2, 3])).axes([1]);
    "local_response_norm" |s| mb::local_response_norm(s.x([1, 3, 4, 4]), 3);
    "conv_quantized" |s| mb::conv_quantized(s.x([1, 1, 4, 4]), Constant::new([2, 1, 2, 2], &[7u8; 8]).unwrap(), "linear", s.c([1]), s.c([1]));
    "lstm" |s| mb::lstm(s.x([3, 1, 2]), s.x([1, 4]), s.x([1, 4]), s.c([16, 2]), s.c([16, 4])).bias(s.c([16]));
    "gru" |s| mb::gru(s.x([3, 1, 2]), s.x([1, 4]), s.c([12, 2]), s.c([12, 4]));
    "rnn" |s| mb::rnn(s.x([3, 1, 2]), s.x([1, 4]), s.c([4, 2]), s.c([4, 4]));
}
