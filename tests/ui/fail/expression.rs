use mil::prelude::*;



fn main() {
    let _ = mil!(|x: Tensor<f32, 4>, y: Tensor<f32, 3>| x + y);
    let _ = mil!(|x| x * 2.0);
    let _ = mil!(x * 2.0);
}
