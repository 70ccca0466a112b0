#!/usr/bin/env python3
"""Write the programs of our examples with coremltools, as the other side of an equality.

    coremltools_twins.py OUT_DIR

For each program below OUT_DIR receives NAME.mlpackage (fp32: weights, inputs and outputs; opset iOS15, specification 6) and
NAME_fp16.mlpackage (the same in fp16; opset iOS16, specification 7, the first with fp16 inputs and outputs). No graph pass
runs. The Rust examples say the same programs, and same_spec.py must find no difference. mtcnn_reference.py runs the three nets
below in torch, from the same words, and compares them with two other sources.

Names of inputs and outputs count, names of everything between do not; the order of ops counts, constants apart. An output is
called after its `let`. Below stand the required parameters and those that differ from the default; the package says all.

    matmul   x [123,456], y [456,789]     z = matmul(x, y)                                                 -> z [123,789]
    add      x [4,5], y [4,5]             z = add(x, y)                                                    -> z [4,5]
    sqrt     x [16]                       y = sqrt(x)                                                      -> y [16]

    convnet  image [1,3,32,32]
             conv(image, weight = W(16,3,3,3; 0), bias = W(16; 1000), pad_type = "same")                   [1,16,32,32]
             relu                                                                                          [1,16,32,32]
             max_pool(kernel_sizes = [2,2], strides = [2,2], pad_type = "valid")                           [1,16,16,16]
             conv(weight = W(32,16,3,3; 2000), bias = W(32; 3000), pad_type = "same")                      [1,32,16,16]
             relu                                                                                          [1,32,16,16]
             reduce_mean(axes = [2,3])  (keep_dims = false)                                                [1,32]
             linear(weight = W(10,32; 4000), bias = W(10; 5000))                                           [1,10]
             probabilities = softmax(axis = -1)                                                 -> probabilities [1,10]
      W(shape; seed)[i] = (((seed + i) * 7919 + 13) mod 2003 - 1001) / 8192, i the row-major index. |numerator| <= 1001,
      so every value is exact in fp32 and in fp16.

    The three MTCNN nets read torch's parameters unmodified from examples/data/mtcnn/*.safetensors (fp16: rounded to nearest
    even). Below, conv(P) = conv(x, weight = P.weight, bias = P.bias) with pad_type "valid" and strides 1; prelu(P) =
    prelu(x, alpha = P.weight); pool(k, s) = max_pool(kernel_sizes = [k,k], strides = [s,s], pad_type = "valid", ceil_mode =
    true); linear(P) = linear(x, weight = P.weight, bias = P.bias).

    pnet     image [1,3,H,W], H in 12..=2048, W in 12..=2048 (the default of both is 12)
             conv(conv1) prelu(prelu1) pool(2,2) conv(conv2) prelu(prelu2) conv(conv3) prelu(prelu3) = f   [1,32,h,w]
             scores = conv(f, conv4_1);  probabilities = softmax(scores, axis = 1)      -> probabilities [1,2,h,w]
             boxes = conv(f, conv4_2)                                                   -> boxes [1,4,h,w]
             h = ceil((H - 2) / 2) - 4, w likewise
    rnet     faces [N,3,24,24], N in 1..=1024 (the default is 1)
             conv(conv1) prelu(prelu1) pool(3,2)                    [N,28,22,22] -> [N,28,11,11]
             conv(conv2) prelu(prelu2) pool(3,2)                    [N,48,9,9] -> [N,48,4,4]
             conv(conv3) prelu(prelu3)                              [N,64,3,3]
             flatten, linear(dense4), dense_prelu(prelu4)           [N,576] -> [N,128]
             scores = linear(dense5_1);  probabilities = softmax(scores, axis = 1)      -> probabilities [N,2]
             boxes = linear(dense5_2)                                                   -> boxes [N,4]
    onet     faces [N,3,48,48], N in 1..=1024 (the default is 1)
             conv(conv1) prelu(prelu1) pool(3,2)                    [N,32,46,46] -> [N,32,23,23]
             conv(conv2) prelu(prelu2) pool(3,2)                    [N,64,21,21] -> [N,64,10,10]
             conv(conv3) prelu(prelu3) pool(2,2)                    [N,64,8,8] -> [N,64,4,4]
             conv(conv4) prelu(prelu4)                              [N,128,3,3]
             flatten, linear(dense5), dense_prelu(prelu5)           [N,1152] -> [N,256]
             scores = linear(dense6_1);  probabilities = softmax(scores, axis = 1)      -> probabilities [N,2]
             boxes = linear(dense6_2)                                                   -> boxes [N,4]
             landmarks = linear(dense6_3)                                               -> landmarks [N,10]
      Outputs stand in the order given: probabilities, boxes, landmarks.
      flatten(x [N,C,h,w]) = reshape(transpose(x, perm = [0,3,2,1]), shape = [-1, w*h*C]): the nets were trained in a framework
      with column-major images, and torch's dense weights are in the order (w, h, C), C fastest. Nothing else is swapped: image
      rows are H, columns W, and in what the P-Net puts out [.., row, column] is the place in the image.
      dense_prelu(P)(x [N,C]) = squeeze(prelu(expand_dims(x, axes = [2,3]), alpha = P.weight), axes = [2,3]): MIL's prelu takes
      rank 3 to 5 only, and with unequal alphas rank 4 only.

Needs coremltools.
"""
import logging
import os
import shutil
import sys
import warnings

os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from fixtures import formula, mtcnn_weights

# Suffix of the package -> dtype of weights, inputs and outputs, and opset.
TWINS = {"": (np.float32, types.fp32, ct.target.iOS15), "_fp16": (np.float16, types.fp16, ct.target.iOS16)}


def conv(x, w, layer, **name):
    return mb.conv(x=x, weight=w[layer + ".weight"], bias=w[layer + ".bias"], pad_type="valid", **name)


def linear(x, w, layer, **name):
    return mb.linear(x=x, weight=w[layer + ".weight"], bias=w[layer + ".bias"], **name)


def conv_prelu(x, w, n):
    return mb.prelu(x=conv(x, w, f"conv{n}"), alpha=w[f"prelu{n}.weight"])


def pool(x, k, s):
    return mb.max_pool(x=x, kernel_sizes=[k, k], strides=[s, s], pad_type="valid", ceil_mode=True)


def dense_prelu(x, w, n):
    size = int(np.prod(x.shape[1:]))
    x = mb.reshape(x=mb.transpose(x=x, perm=[0, 3, 2, 1]), shape=[-1, size])
    x = mb.expand_dims(x=linear(x, w, f"dense{n}"), axes=[2, 3])
    return mb.squeeze(x=mb.prelu(x=x, alpha=w[f"prelu{n}.weight"]), axes=[2, 3])


def matmul(_, x, y):
    return mb.matmul(x=x, y=y, name="z")


def add(_, x, y):
    return mb.add(x=x, y=y, name="z")


def sqrt(_, x):
    return mb.sqrt(x=x, name="y")


def convnet(w, image):
    x = mb.relu(x=mb.conv(x=image, weight=w["w1"], bias=w["b1"], pad_type="same"))
    x = mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
    x = mb.relu(x=mb.conv(x=x, weight=w["w2"], bias=w["b2"], pad_type="same"))
    x = mb.reduce_mean(x=x, axes=[2, 3])
    return mb.softmax(x=mb.linear(x=x, weight=w["w3"], bias=w["b3"]), axis=-1, name="probabilities")


def pnet(w, image):
    x = pool(conv_prelu(image, w, 1), 2, 2)
    x = conv_prelu(conv_prelu(x, w, 2), w, 3)
    probabilities = mb.softmax(x=conv(x, w, "conv4_1"), axis=1, name="probabilities")
    return probabilities, conv(x, w, "conv4_2", name="boxes")


def rnet(w, faces):
    x = pool(conv_prelu(faces, w, 1), 3, 2)
    x = pool(conv_prelu(x, w, 2), 3, 2)
    x = dense_prelu(conv_prelu(x, w, 3), w, 4)
    probabilities = mb.softmax(x=linear(x, w, "dense5_1"), axis=1, name="probabilities")
    return probabilities, linear(x, w, "dense5_2", name="boxes")


def onet(w, faces):
    x = pool(conv_prelu(faces, w, 1), 3, 2)
    x = pool(conv_prelu(x, w, 2), 3, 2)
    x = pool(conv_prelu(x, w, 3), 2, 2)
    x = dense_prelu(conv_prelu(x, w, 4), w, 5)
    probabilities = mb.softmax(x=linear(x, w, "dense6_1"), axis=1, name="probabilities")
    return probabilities, linear(x, w, "dense6_2", name="boxes"), linear(x, w, "dense6_3", name="landmarks")


def convnet_weights():
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (32, 16, 3, 3), "b2": (32,), "w3": (10, 32), "b3": (10,)}
    return {name: formula(shape, 1000 * n) for n, (name, shape) in enumerate(shapes.items())}


# name -> body, weights, inputs; a dimension is a number or (lower, upper), whose default is the lower.
PIXELS, BATCH = (12, 2048), (1, 1024)
PROGRAMS = {
    "matmul": (matmul, dict, {"x": [123, 456], "y": [456, 789]}),
    "add": (add, dict, {"x": [4, 5], "y": [4, 5]}),
    "sqrt": (sqrt, dict, {"x": [16]}),
    "convnet": (convnet, convnet_weights, {"image": [1, 3, 32, 32]}),
    "pnet": (pnet, lambda: mtcnn_weights("pnet"), {"image": [1, 3, PIXELS, PIXELS]}),
    "rnet": (rnet, lambda: mtcnn_weights("rnet"), {"faces": [BATCH, 3, 24, 24]}),
    "onet": (onet, lambda: mtcnn_weights("onet"), {"faces": [BATCH, 3, 48, 48]}),
}


def build(name, suffix):
    body, weights, inputs = PROGRAMS[name]
    dtype, mil_dtype, opset = TWINS[suffix]
    w = {k: v.astype(dtype) for k, v in weights().items()}
    tensor_types, placeholders = [], {}
    for i, dims in inputs.items():
        shape = [ct.RangeDim(*d, default=d[0]) if isinstance(d, tuple) else d for d in dims]
        t = ct.TensorType(name=i, shape=ct.Shape(shape), dtype=dtype)
        tensor_types.append(t)
        placeholders[i] = mb.placeholder(shape=t.shape.symbolic_shape, dtype=mil_dtype)
    prog = Program()
    with Function(placeholders, opset_version=opset) as f:
        out = body(w, *f.inputs.values())
        f.set_outputs(list(out) if isinstance(out, tuple) else [out])
    prog.add_function("main", f)
    return prog, tensor_types, opset


def write(name, suffix, out_dir):
    prog, tensor_types, opset = build(name, suffix)
    path = os.path.join(out_dir, name + suffix + ".mlpackage")
    shutil.rmtree(path, ignore_errors=True)
    model = ct.convert(
        prog, convert_to="mlprogram", inputs=tensor_types, minimum_deployment_target=opset,
        pass_pipeline=ct.PassPipeline.EMPTY, compute_precision=ct.precision.FLOAT32, skip_model_load=True,
    )
    model.save(path)
    return path


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: coremltools_twins.py OUT_DIR")
    os.makedirs(sys.argv[1], exist_ok=True)
    for name in PROGRAMS:
        for suffix in TWINS:
            print(write(name, suffix, sys.argv[1]))


if __name__ == "__main__":
    main()
