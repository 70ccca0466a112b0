//! Ops of `ai.onnx` that MIL cannot say, with the nearest way out.

/// Names with ways out, sorted.
pub(super) const OPS: &[(&str, &str)] = &[
    ("ImageDecoder", "decode images before the model: Core ML takes pictures as inputs (`--image name:rgb`)"),
    (
        "MaxRoiPool",
        "MIL has no pooling over computed regions: use `RoiAlign` in its place, with a `sampling_ratio` above 0",
    ),
    ("RegexFullMatch", "MIL has no ops on text: match it before the model"),
    ("StringConcat", "MIL has no ops on text: join it before the model"),
    ("StringNormalizer", "MIL has no ops on text: normalize it before the model"),
    ("StringSplit", "MIL has no ops on text: split it before the model"),
];
