"""What the scripts beside this file share: the weights of the examples and made-up numbers. Needs numpy."""

import json
import os
import struct

import numpy as np

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


def formula(shape, seed):
    """Made-up values in (-0.123, 0.123), row-major; coremltools_twins.py states the formula. Exact in fp32 and in fp16."""
    i = np.arange(seed, seed + int(np.prod(shape)), dtype=np.int64)
    return (((i * 7919 + 13) % 2003 - 1001) / 8192).astype(np.float32).reshape(shape)


# Dtypes as safetensors calls them.
DTYPES = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
          "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL"}  # fmt: skip


def read_safetensors(path):
    """Read name -> array, in the order of the header."""
    with open(path, "rb") as f:
        raw = f.read()
    (n,) = struct.unpack("<Q", raw[:8])
    data, dtypes = raw[8 + n :], {key: name for name, key in DTYPES.items()}
    return {
        name: np.frombuffer(data[slice(*t["data_offsets"])], dtypes[t["dtype"]]).reshape(t["shape"])
        for name, t in json.loads(raw[8 : 8 + n]).items()
        if name != "__metadata__"
    }


def write_safetensors(path, tensors):
    """Write name -> array; the order of the mapping is the order of the bytes."""
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": DTYPES[t.dtype.name], "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.tobytes())


def mtcnn_weights(net):
    """The parameters of `pnet`, `rnet` or `onet`."""
    return read_safetensors(os.path.join(ROOT, "examples", "data", "mtcnn", net + ".safetensors"))
