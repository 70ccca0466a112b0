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
}
