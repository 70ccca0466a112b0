//! Ops that move elements, make them, choose some.

use mil::mb;

use super::scene::rows;

rows! {
    "reshape" |s| mb::reshape(s.x([2, 3]), [3, -1]);
    "transpose" |s| mb::transpose(s.x([2, 3]), [1, 0]);
    "expand_dims" |s| mb::expand_dims(s.x([2, 3]), [1]);
    "squeeze" |s| mb::squeeze(s.x([2, 1, 3])).axes([1]);
    "concat" |s| mb::concat([s.x([2, 3]), s.x([2, 4])], 1);
    "split" |s| mb::split(s.x([2, 4]), 1).num_splits(2);
    "stack" |s| mb::stack([s.x([2, 3]), s.x([2, 3])], 1);
    "slice_by_index" |s| mb::slice_by_index(s.x([4, 5]), [0, 1], [3, 5]).stride([1, 2]);
    "slice_by_size" |s| mb::slice_by_size(s.x([4, 5]), [0, 1], [3, -1]);
    "pad" |s| mb::pad(s.x([1, 2, 3, 3]), [1, 1, 2, 2]);
    "tile" |s| mb::tile(s.x([2, 3]), [2, 2]);
    "gather" |s| mb::gather(s.x([4, 3]), s.i([2]));
    "gather_along_axis" |s| mb::gather_along_axis(s.x([4, 3]), s.i([2, 3]));
    "shape" |s| mb::shape(s.x([4, 3]));
    "fill" |s| mb::fill(s.shape([2, 3])).value(0.5);
    "range_1d" |s| mb::range_1d(s.scalar(), 0.0, 0.125);
    "topk" |s| mb::topk(s.x([2, 5])).k(2);
    "fill_like" |s| mb::fill_like(s.x([2, 3])).value(0.5);
    "flatten2d" |s| mb::flatten2d(s.x([2, 3, 4])).axis(1);
    "reshape_like" |s| mb::reshape_like(s.x([6]), [s.x([2, 3])], [0], [2], [false]);
    "gather_nd" |s| mb::gather_nd(s.x([4, 3]), s.i([5, 1]));
    "scatter" |s| mb::scatter(s.x([4, 3]), s.i([2]), s.x([2, 3]));
    "scatter_along_axis" |s| mb::scatter_along_axis(s.x([4, 3]), s.i([2, 3]), s.x([2, 3]));
    "scatter_nd" |s| mb::scatter_nd(s.x([4, 3]), s.i([2, 1]), s.x([2, 3]));
    "slice_update" |s| mb::slice_update(s.x([4, 5]), s.x([2, 2]), [0, 1], [2, 3]);
    "reverse" |s| mb::reverse(s.x([2, 3])).axes([1]);
    "reverse_sequence" |s| mb::reverse_sequence(s.x([2, 3]), s.i([2])).seq_axis(1).batch_axis(0);
    "one_hot" |s| mb::one_hot(s.i([3]), 4);
    "cumsum" |s| mb::cumsum(s.x([2, 3])).axis(1);
    "band_part" |s| mb::band_part(s.x([3, 3])).lower(1).upper(1);
    "argsort" |s| mb::argsort(s.x([2, 3]));
    "non_zero" |s| mb::non_zero(s.x([2, 3]));
}
