"""From an ONNX graph with fixed shapes to the ops that MIL has for it: a JSON of ops, and their weights.

Only what the seven nets need. A node that is not known is refused.
"""

import math

import numpy as np
from onnx import helper, numpy_helper


def lower(model, outputs):
    """What the model is in MIL: `(program, weights)`. `outputs` are the names of the outputs in the program."""
    lowering = Lowering(model.graph)
    for node in model.graph.node:
        if node.name not in lowering.skipped:
            lowering.node(node)
    named = [[name, lowering.values[output.name]] for name, output in zip(outputs, model.graph.output, strict=True)]
    inputs = {i.name: lowering.shapes[i.name] for i in model.graph.input}
    program = {"opset": "iOS16", "inputs": inputs, "ops": lowering.ops, "outputs": named}
    return program, lowering.weights


class Lowering:
    def __init__(self, graph):
        self.ops, self.weights, self.counts = [], {}, {}
        self.constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.values = {i.name: i.name for i in graph.input}  # ONNX name: name in the program
        known = [*graph.input, *graph.value_info, *graph.output]
        self.shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in known}
        self.producer = {output: n for n in graph.node for output in n.output}
        self.users = {}
        for n in graph.node:
            if n.op_type == "Constant":
                self.constants[n.output[0]] = numpy_helper.to_array(n.attribute[0].t)
            elif n.op_type == "Identity" and n.input[0] in self.constants:
                self.constants[n.output[0]] = self.constants[n.input[0]]
            for i in n.input:
                self.users.setdefault(i, []).append(n)
        # The nodes of a pattern are skipped but the last, which stands for all.
        self.skipped, self.patterns = set(), {}
        for n in graph.node:
            found = self.gelu(n) if n.op_type == "Erf" else self.linear(n) if n.op_type == "MatMul" else None
            if found:
                *inner, last = found[0]
                self.skipped.update(i.name for i in inner)
                self.patterns[last.name] = found[1]

    # What is asked of the graph.

    def number(self, name):
        """The only number of a constant; else None."""
        constant = self.constants.get(name)
        return float(constant.reshape(())) if constant is not None and constant.size == 1 else None

    def only_user(self, node, kind):
        users = self.users.get(node.output[0], [])
        return users[0] if len(users) == 1 and users[0].op_type == kind else None

    def other(self, node, name):
        """The operand beside the one of that name."""
        a, b = node.input
        return b if a == name else a

    # Patterns.

    def gelu(self, erf):
        """0.5 * x * (1 + erf(x / sqrt(2))), as torch exports it."""
        div = self.producer.get(erf.input[0])
        add = self.only_user(erf, "Add")
        mul = add and self.only_user(add, "Mul")
        half = mul and self.only_user(mul, "Mul")
        if not (half and div and div.op_type == "Div" and self.only_user(div, "Erf")):
            return None
        x = div.input[0]
        is_gelu = (
            math.isclose(self.number(div.input[1]) or 0, math.sqrt(2), rel_tol=1e-6)
            and self.number(self.other(add, erf.output[0])) == 1
            and self.other(mul, add.output[0]) == x
            and self.number(self.other(half, mul.output[0])) == 0.5
        )
        return ([div, erf, add, mul, half], lambda: self.push("gelu", half, x=self.value(x), mode="EXACT")) if is_gelu else None

    def linear(self, matmul):
        """x @ w + b with constants."""
        add = self.only_user(matmul, "Add")
        weight = self.constants.get(matmul.input[1])
        bias = self.constants.get(self.other(add, matmul.output[0])) if add else None
        if weight is None or weight.ndim != 2 or bias is None or bias.shape != weight.shape[1:]:
            return None
        x = matmul.input[0]
        return [matmul, add], lambda: self.push("linear", add, x=self.value(x), weight=weight.T, bias=bias)

    # What is written.

    def value(self, name):
        return {"value": self.values[name]}

    def operand(self, name):
        """A value; or, of a constant, its number or all its elements."""
        number = self.number(name)
        return number if number is not None else self.constants[name] if name in self.constants else self.value(name)

    def push(self, op, node, **args):
        """Adds an op. Arrays among the arguments become weights."""
        n = self.counts.get(op, 0)
        self.counts[op] = n + 1
        name = f"{op}_{n}"
        for param, arg in args.items():
            if isinstance(arg, np.ndarray):
                self.weights[f"{name}.{param}"] = np.ascontiguousarray(arg)
                args[param] = {"weight": f"{name}.{param}"}
        self.ops.append({"op": op, "name": name, "args": args})
        if node is not None:
            self.values[node.output[0]] = name
        return {"value": name}

    def node(self, node):
        if node.name in self.patterns:
            self.patterns[node.name]()
            return
        if node.output[0] in self.constants:
            return
        lower = getattr(self, "op_" + node.op_type, None)
        if lower is None:
            raise NotImplementedError(f"node `{node.name}`: {node.op_type} is not known here")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        lower(node, {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()})

    def take(self, node, attributes, **known):
        """The attributes with these defaults; others are refused, unless they say what is the case anyway."""
        attributes = {k: v for k, v in attributes.items() if not (k == "auto_pad" and v == "NOTSET")}
        unknown = attributes.keys() - known.keys()
        if unknown:
            raise NotImplementedError(f"node `{node.name}`: {node.op_type} with {sorted(unknown)} is not known here")
        return {**known, **attributes}

    def expect(self, node, what):
        if not what:
            raise NotImplementedError(f"node `{node.name}`: {node.op_type} of this kind is not known here")

    # The nodes.

    def op_Conv(self, node, attributes):
        a = self.take(node, attributes, dilations=[1, 1], group=1, kernel_shape=None, pads=[0, 0, 0, 0], strides=[1, 1])
        x, weight, *bias = node.input
        bias = {"bias": self.constants[bias[0]]} if bias else {}
        args = dict(strides=a["strides"], pad_type="custom", pad=paired(a["pads"]), dilations=a["dilations"], groups=a["group"])
        self.push("conv", node, x=self.value(x), weight=self.constants[weight], **bias, **args)

    def op_MaxPool(self, node, attributes):
        a = self.take(node, attributes, ceil_mode=0, dilations=[1, 1], kernel_shape=None, pads=[0, 0, 0, 0], strides=[1, 1])
        self.expect(node, list(a["dilations"]) == [1, 1])
        args = dict(kernel_sizes=a["kernel_shape"], strides=a["strides"], pad_type="custom", pad=paired(a["pads"]))
        self.push("max_pool", node, x=self.value(node.input[0]), ceil_mode=bool(a["ceil_mode"]), **args)

    def op_PRelu(self, node, attributes):
        self.take(node, attributes)
        x, slope = node.input
        x, rank, alpha = self.value(x), len(self.shapes[x]), self.constants[slope]
        self.expect(node, rank in (2, 4) and alpha.size == alpha.shape[0 if rank == 4 else -1])
        if rank == 2:  # MIL's prelu wants an image to have slopes that differ
            x = self.push("expand_dims", None, x=x, axes=[2, 3])
            y = self.push("prelu", None, x=x, alpha=alpha.reshape(-1))
            self.push("squeeze", node, x=y, axes=[2, 3])
        else:
            self.push("prelu", node, x=x, alpha=alpha.reshape(-1))

    def op_Clip(self, node, attributes):
        self.take(node, attributes)
        x, low, high = node.input
        self.expect(node, (self.number(low), self.number(high)) == (0, 6))
        self.push("relu6", node, x=self.value(x))

    def op_Relu(self, node, attributes):
        self.take(node, attributes)
        self.push("relu", node, x=self.value(node.input[0]))

    def op_Sigmoid(self, node, attributes):
        self.take(node, attributes)
        self.push("sigmoid", node, x=self.value(node.input[0]))

    def op_Softmax(self, node, attributes):
        self.push("softmax", node, x=self.value(node.input[0]), axis=self.take(node, attributes, axis=-1)["axis"])

    def op_Add(self, node, attributes):
        self.take(node, attributes)
        self.push("add", node, x=self.operand(node.input[0]), y=self.operand(node.input[1]))

    def op_Mul(self, node, attributes):
        self.take(node, attributes)
        self.push("mul", node, x=self.operand(node.input[0]), y=self.operand(node.input[1]))

    def op_MatMul(self, node, attributes):
        self.take(node, attributes)
        self.push("matmul", node, x=self.value(node.input[0]), y=self.value(node.input[1]))

    def op_Gemm(self, node, attributes):
        a = self.take(node, attributes, alpha=1.0, beta=1.0, transA=0, transB=0)
        self.expect(node, (a["alpha"], a["beta"], a["transA"]) == (1, 1, 0))
        x, weight, bias = node.input
        weight, bias = self.constants[weight], self.constants[bias]
        self.push("linear", node, x=self.value(x), weight=weight if a["transB"] else weight.T, bias=bias)

    def op_LayerNormalization(self, node, attributes):
        a = self.take(node, attributes, axis=-1, epsilon=1e-5)
        self.expect(node, a["axis"] == -1 and len(node.output) == 1)
        x, gamma, beta = node.input
        gamma, beta = self.constants[gamma], self.constants[beta]
        self.push("layer_norm", node, x=self.value(x), axes=[-1], gamma=gamma, beta=beta, epsilon=a["epsilon"])

    def op_ReduceMean(self, node, attributes):
        a = self.take(node, attributes, axes=None, keepdims=1)
        self.expect(node, a["axes"] is not None)
        self.push("reduce_mean", node, x=self.value(node.input[0]), axes=a["axes"], keep_dims=bool(a["keepdims"]))

    def op_GlobalAveragePool(self, node, attributes):
        self.take(node, attributes)
        self.expect(node, len(self.shapes[node.input[0]]) == 4)
        self.push("reduce_mean", node, x=self.value(node.input[0]), axes=[2, 3], keep_dims=True)

    def op_Flatten(self, node, attributes):
        self.expect(node, self.take(node, attributes, axis=1)["axis"] == 1)
        self.push("reshape", node, x=self.value(node.input[0]), shape=[self.shapes[node.input[0]][0], -1])

    def op_Reshape(self, node, attributes):
        self.expect(node, self.take(node, attributes, allowzero=0)["allowzero"] == 0)
        x, shape = node.input
        self.push("reshape", node, x=self.value(x), shape=self.constants[shape].tolist())

    def op_Transpose(self, node, attributes):
        self.push("transpose", node, x=self.value(node.input[0]), perm=self.take(node, attributes, perm=None)["perm"])


def paired(pads):
    """All before, all after, as ONNX has it: before and after of each dimension, as MIL has it."""
    half = len(pads) // 2
    return [p for pair in zip(pads[:half], pads[half:], strict=True) for p in pair]
