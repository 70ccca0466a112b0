//! Images: sizes, boxes, coordinates; blocks of pixels; random numbers.

use mil::{Opset, mb};

use super::scene::rows;

rows! {
    "upsample_bilinear" |s| mb::upsample_bilinear(s.x([1, 2, 3, 3])).scale_factor_height(2.0).scale_factor_width(2.0);
    "upsample_nearest_neighbor" |s| mb::upsample_nearest_neighbor(s.x([1, 2, 3, 3])).scale_factor_height(2.0).scale_factor_width(2.0);
    "resize_bilinear" |s| mb::resize_bilinear(s.x([1, 2, 3, 3])).target_size_height(5).target_size_width(4);
    "resize_nearest_neighbor" |s| mb::resize_nearest_neighbor(s.x([1, 2, 3, 3]), 5, 4);
    "resize" |s| mb::resize(s.x([1, 2, 3, 3]), [5, 4], 2);
    "crop" |s| mb::crop(s.x([1, 2, 4, 4]), [1, 1], [0, 2]);
    "crop_resize" |s| {
        let x = s.x([1, 2, 4, 4]);
        let call = mb::crop_resize(x).target_height(2).target_width(2);
        if s.graph.opset() < Opset::iOS17 { call.roi(s.c([1, 1, 4, 1, 1])) } else { call.boxes(s.c([1, 4])) }
    };
    "resample" |s| {
        let fill = if s.float == mil::DType::F16 { mil::ir::Constant::scalar(mil::f16::ZERO) } else { mil::ir::Constant::scalar(0f32) };
        mb::resample(s.x([1, 2, 4, 4]), s.i([1, 3, 3, 2]), "bilinear", "constant", fill, "unnormalized", true)
    };
    "affine" |s| mb::affine(s.x([1, 2, 4, 4]), s.x([1, 6]), 3, 3, "bilinear", "constant", 0.0, "normalized_minus_one_to_one", true);
    "depth_to_space" |s| mb::depth_to_space(s.x([1, 8, 2, 2]), 2);
    "space_to_depth" |s| mb::space_to_depth(s.x([1, 2, 4, 4]), 2);
    "batch_to_space" |s| mb::batch_to_space(s.x([4, 2, 2, 2]), [2, 2], [[0, 0], [0, 0]]);
    "space_to_batch" |s| mb::space_to_batch(s.x([1, 2, 4, 4]), [2, 2], [[0, 0], [0, 0]]);
    "pixel_shuffle" |s| mb::pixel_shuffle(s.x([1, 8, 2, 2]), 2);
    "pixel_unshuffle" |s| mb::pixel_unshuffle(s.x([1, 2, 4, 4]), 2);
    "sliding_windows" |s| mb::sliding_windows(s.x([2, 6]), 1, 3);
    "non_maximum_suppression" |s| match s.graph.opset() < Opset::iOS17 {
        true => mb::non_maximum_suppression(s.x([1, 5, 4]), s.x([1, 5, 2]), 0.5, 3).score_threshold(0.25),
        false => mb::non_maximum_suppression(s.x([1, 4, 5]), s.x([1, 2, 5]), 0.5, 3),
    };
    "random_bernoulli" |s| mb::random_bernoulli(s.shape([2, 3])).prob(s.c([])).seed(7);
    "random_normal" |s| mb::random_normal(s.shape([2, 3])).mean(s.c([])).stddev(s.c([])).seed(7);
    "random_uniform" |s| mb::random_uniform(s.shape([2, 3])).low(s.c([])).high(s.c([])).seed(7);
    "random_categorical" |s| mb::random_categorical(s.x([2, 3])).size(4).seed(7);
}
