//! Ops of `ai.onnx` that MIL cannot say, with the nearest way out.

/// Names with ways out, sorted.
pub(super) const OPS: &[(&str, &str)] = &[
    ("ImageDecoder", "decode images before the model: Core ML takes pictures as inputs (`--image name:rgb`)"),
    ("StringNormalizer", "MIL has no ops on text: normalize it before the model"),
];
