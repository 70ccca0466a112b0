//! The three nets of MTCNN, in fp32 and in fp16. The weights are facenet-pytorch's, see `examples/data/mtcnn`.
//!
//! Every name and shape below is checked against the header of the weights file while this compiles.

use mil::mil_program;

/// P-Net: looks for faces of 12 pixels in an image of any size.
macro_rules! pnet {
    ($name:ident, $dtype:ident, $opset:ident) => {
        #[mil_program(
                                                            opset = $opset,
                                                            weights = "examples/data/mtcnn/pnet.safetensors" as $dtype,
                                                            H in 12..=2048,
                                                            W in 12..=2048
                                                        )]
        pub(crate) mod $name {
            use mil::prelude::*;

            fn conv(x: Tensor, w: Weights) -> _ {
                mb::conv(x, w["weight"], bias = w["bias"], pad_type = "valid")
            }

            fn conv_prelu(x: Tensor, w: Weights, n: usize) -> _ {
                mb::prelu(conv(x, w.at(format!("conv{n}"))), w[format!("prelu{n}.weight")])
            }

            pub(crate) fn main(image: Tensor<$dtype, 1, 3, H, W>, w: Weights) -> _ {
                let x = conv_prelu(image, w, 1);
                let x = mb::max_pool(x, kernel_sizes = [2, 2], strides = [2, 2], pad_type = "valid", ceil_mode = true);
                let x = conv_prelu(x, w, 2);
                let x = conv_prelu(x, w, 3);
                let probabilities = mb::softmax(conv(x, w.at("conv4_1")), axis = 1);
                let boxes = conv(x, w.at("conv4_2"));
                (probabilities, boxes)
            }
        }
    };
}

/// R-Net: says which of the P-Net's boxes are faces.
macro_rules! rnet {
    ($name:ident, $dtype:ident, $opset:ident) => {
        #[mil_program(opset = $opset, weights = "examples/data/mtcnn/rnet.safetensors" as $dtype, N in 1..=1024)]
        pub(crate) mod $name {
            use mil::prelude::*;

            fn conv_prelu(x: Tensor, w: Weights, n: usize) -> _ {
                let conv = w.at(format!("conv{n}"));
                let x = mb::conv(x, conv["weight"], bias = conv["bias"], pad_type = "valid");
                mb::prelu(x, w[format!("prelu{n}.weight")])
            }

            fn pool(x: Tensor) -> _ {
                mb::max_pool(x, kernel_sizes = [3, 3], strides = [2, 2], pad_type = "valid", ceil_mode = true)
            }

            fn linear(x: Tensor, w: Weights) -> _ {
                mb::linear(x, w["weight"], bias = w["bias"])
            }

            pub(crate) fn main(faces: Tensor<$dtype, N, 3, 24, 24>, w: Weights) -> _ {
                let x = pool(conv_prelu(faces, w, 1));
                let x = pool(conv_prelu(x, w, 2));
                let x = conv_prelu(x, w, 3);
                // The weights were trained in a framework that stores columns, not rows, one after another.
                let x = mb::reshape(mb::transpose(x, perm = [0, 3, 2, 1]), shape = [-1, 576]);
                // `prelu` with a slope per channel wants rank 4.
                let x = mb::expand_dims(linear(x, w.at("dense4")), axes = [2, 3]);
                let x = mb::squeeze(mb::prelu(x, w["prelu4.weight"]), axes = [2, 3]);
                let probabilities = mb::softmax(linear(x, w.at("dense5_1")), axis = 1);
                let boxes = linear(x, w.at("dense5_2"));
                (probabilities, boxes)
            }
        }
    };
}

/// O-Net: says it again, looking closer, and where eyes, nose and mouth are.
macro_rules! onet {
    ($name:ident, $dtype:ident, $opset:ident) => {
        #[mil_program(opset = $opset, weights = "examples/data/mtcnn/onet.safetensors" as $dtype, N in 1..=1024)]
        pub(crate) mod $name {
            use mil::prelude::*;

            fn conv_prelu(x: Tensor, w: Weights, n: usize) -> _ {
                let conv = w.at(format!("conv{n}"));
                let x = mb::conv(x, conv["weight"], bias = conv["bias"], pad_type = "valid");
                mb::prelu(x, w[format!("prelu{n}.weight")])
            }

            fn pool(x: Tensor, size: usize) -> _ {
                mb::max_pool(x, kernel_sizes = [size, size], strides = [2, 2], pad_type = "valid", ceil_mode = true)
            }

            fn linear(x: Tensor, w: Weights) -> _ {
                mb::linear(x, w["weight"], bias = w["bias"])
            }

            pub(crate) fn main(faces: Tensor<$dtype, N, 3, 48, 48>, w: Weights) -> _ {
                let x = pool(conv_prelu(faces, w, 1), 3);
                let x = pool(conv_prelu(x, w, 2), 3);
                let x = pool(conv_prelu(x, w, 3), 2);
                let x = conv_prelu(x, w, 4);
                let x = mb::reshape(mb::transpose(x, perm = [0, 3, 2, 1]), shape = [-1, 1152]);
                let x = mb::expand_dims(linear(x, w.at("dense5")), axes = [2, 3]);
                let x = mb::squeeze(mb::prelu(x, w["prelu5.weight"]), axes = [2, 3]);
                let probabilities = mb::softmax(linear(x, w.at("dense6_1")), axis = 1);
                let boxes = linear(x, w.at("dense6_2"));
                let landmarks = linear(x, w.at("dense6_3"));
                (probabilities, boxes, landmarks)
            }
        }
    };
}

pnet!(pnet, f32, iOS15);
rnet!(rnet, f32, iOS15);
onet!(onet, f32, iOS15);
pnet!(pnet_fp16, f16, iOS16);
rnet!(rnet_fp16, f16, iOS16);
onet!(onet_fp16, f16, iOS16);
