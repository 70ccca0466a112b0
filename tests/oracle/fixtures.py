"""What the scripts beside this file share: files of tensors, the weights of the examples, made-up numbers, and what coremltools says
of packages. Needs numpy."""

import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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


def check_packages(shared, folder, python=sys.executable, batch=100):
    """What shared/oracle/check_package.py refuses of the packages in a folder, a line each: coremltools reads them all, in batches."""
    names = sorted(n for n in os.listdir(folder) if n.endswith(".mlpackage"))

    def check(names):
        paths = [os.path.join(folder, n) for n in names]
        done = subprocess.run([python, os.path.join(shared, "oracle", "check_package.py"), *paths], capture_output=True, text=True)
        lines = done.stdout.splitlines()
        if len(lines) != len(names) + 1:
            return [f"{names[0]} and those behind it: coremltools ended: {done.stderr.strip()[-500:]}"]
        return [line.replace(folder + os.sep, "") for line in lines if line.startswith("FAIL ")]

    with ThreadPoolExecutor(2) as pool:
        found = pool.map(check, [names[i : i + batch] for i in range(0, len(names), batch)])
        bad = [line for lines in found for line in lines]
    print(f"coremltools reads {len(names) - len(bad)} of {len(names)} packages")
    return bad
