#!/usr/bin/env python3
"""Makes the small models of this folder: python make.py. Needs onnx; the bytes are the same each time."""
from pathlib import Path

from onnx import TensorProto, checker, helper

HERE = Path(__file__).resolve().parent
FLOAT = TensorProto.FLOAT


def save(name, nodes, inputs, outputs, opset=17, constants=()):
    """Inputs and outputs: name and shape, in which text is a size with a name."""
    infos = [[helper.make_tensor_value_info(n, FLOAT, shape) for n, shape in some] for some in (inputs, outputs)]
    graph = helper.make_graph(nodes, name, *infos, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="make.py", producer_version="1")
    model.ir_version = 8
    model.doc_string = f"{name}, for tests"
    checker.check_model(model)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


# Which color a pixel has: channels first, and channels last. What is below the mean counts a tenth.
leaky = dict(alpha=0.1)
save("color", [helper.make_node("LeakyRelu", ["pixels"], ["logits"], name="act", **leaky)],
     [("pixels", ["batch", 3, 1, 1])], [("logits", ["batch", 3, 1, 1])])
save("color_last", [helper.make_node("LeakyRelu", ["pixels:0"], ["logits:0"], name="act", **leaky)],
     [("pixels:0", ["batch", "height", "width", 3])], [("logits:0", ["batch", "height", "width", 3])])
# Two inputs that may be pictures, two outputs.
save("two", [helper.make_node("Relu", ["a"], ["x"]), helper.make_node("Relu", ["b"], ["y"])],
     [("a", [1, 3, 4, 4]), ("b", [1, 1, 4, 4])], [("x", [1, 3, 4, 4]), ("y", [1, 1, 4, 4])])
# What f16 does not hold between two ops: of a number around 50 it keeps the 32nd parts.
numbers = [helper.make_tensor("fifty", FLOAT, [], [50.0])]
chain = [("Tanh", ["x"], "a"), ("Add", ["a", "fifty"], "b"), ("Abs", ["b"], "c"), ("Sub", ["c", "fifty"], "d"), ("Atan", ["d"], "e"), ("Sin", ["e"], "y")]
save("cancels", [helper.make_node(op, inputs, [out], name=f"{op}_{out}") for op, inputs, out in chain], [("x", [1, 64])], [("y", [1, 64])],
     constants=numbers)
