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


def read_safetensors(path):
    """Read name -> array."""
    with open(path, "rb") as f:
        raw = f.read()
    (n,) = struct.unpack("<Q", raw[:8])
    data, dtypes = raw[8 + n :], {"F32": "<f4", "F16": "<f2"}
    return {
        name: np.frombuffer(data[slice(*t["data_offsets"])], dtypes[t["dtype"]]).reshape(t["shape"])
        for name, t in json.loads(raw[8 : 8 + n]).items()
    }


def mtcnn_weights(net):
    """The parameters of `pnet`, `rnet` or `onet`."""
    return read_safetensors(os.path.join(ROOT, "examples", "data", "mtcnn", net + ".safetensors"))
