//! Ops that MIL cannot say, with the nearest way out.

/// Names with ways out.
pub(super) const OPS: &[(&str, &str)] = &[
    ("aten::_adaptive_avg_pool2d_backward", BACKWARD),
    ("aten::_fft_c2r", FFT),
    ("aten::_fft_r2c", FFT),
    ("aten::_fft_c2c", FFT),
    ("aten::fft_rfft", FFT),
    ("aten::fft_irfft", FFT),
    ("aten::stft", FFT),
    ("aten::avg_pool2d_backward", BACKWARD),
    ("aten::convolution_backward", BACKWARD),
    ("aten::embedding_dense_backward", BACKWARD),
    ("aten::max_pool2d_with_indices_backward", BACKWARD),
    ("aten::native_group_norm_backward", BACKWARD),
    ("aten::native_layer_norm_backward", BACKWARD),
    ("aten::masked_scatter", "how many elements are taken depends on data: write it with `torch.where`"),
    ("aten::randperm", "MIL has no permutations by chance: give the order to the model as an input"),
    ("aten::sym_stride", "tensors of MIL have no strides: write the module without them"),
    ("aten::sym_storage_offset", "tensors of MIL have no storage: write the module without it"),
    ("prim::If", "only straight-line graphs are read: `torch.jit.trace` the module instead of scripting it"),
    ("prim::Loop", "only straight-line graphs are read: `torch.jit.trace` the module instead of scripting it"),
    ("prim::CallMethod", "only flat graphs are read: `torch.jit.trace` the module, or freeze it"),
];

const BACKWARD: &str = "is a step of training: export the module in `eval()` mode under `torch.no_grad()`";
const FFT: &str = "MIL has no complex numbers: write the transform as products with matrices of sines and cosines";
