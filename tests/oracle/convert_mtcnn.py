#!/usr/bin/env python3
"""Convert the pretrained MTCNN state dicts of facenet-pytorch 2.6.0 to safetensors.

    convert_mtcnn.py SOURCE_DIR OUT_DIR [--dtype fp32|fp16]

SOURCE_DIR holds pnet.pt, rnet.pt and onet.pt; OUT_DIR receives pnet, rnet and onet.safetensors (with fp16: pnet_fp16 and so
on). Tensor names and axis order are torch's own. It was run once; the result is committed in examples/data/mtcnn.

Needs numpy and nothing else: the files are read without torch. They are in torch's format from before 1.6, a sequence of
pickles (magic number, protocol, machine, the state dict, the storage keys) followed by the storages, each an int64 count and
its values; a zip file (torch 1.6 and later) is read too. The unpickler allows the four names a state dict is made of and
refuses all others, so a hostile file cannot run code. Some of the tensors are transposed views of their storages: their
strides are honoured and the result is written contiguous.
"""
import argparse
import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np

from fixtures import write_safetensors

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8"}


class Deferred:
    """A tensor whose storage has not been read yet."""

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def load(self, storages):
        flat = storages[self.storage["key"]]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if min(self.shape, default=1) < 1 or not 0 <= self.offset <= last < len(flat):
            raise ValueError(f"tensor of shape {self.shape} lies outside its storage of {len(flat)} values")
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.shape, [s * flat.itemsize for s in self.strides], writeable=False
        )
        return np.ascontiguousarray(view)


def rebuild(storage, offset, shape, strides, *_):
    return Deferred(storage, offset, shape, strides)


class StateDictUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"`{module}.{name}` does not belong in a state dict")

    def persistent_load(self, pid):
        kind, dtype, key, _location, count, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown persistent object `{kind}`")
        return {"dtype": dtype, "key": key, "count": count}


def read_state_dict(path):
    """Read name -> array from a torch file, in the file's order."""
    with open(path, "rb") as f:
        raw = f.read()
    storages = {}
    if zipfile.is_zipfile(io.BytesIO(raw)):
        z = zipfile.ZipFile(io.BytesIO(raw))
        index = next(n for n in z.namelist() if n.endswith("/data.pkl"))
        state = StateDictUnpickler(io.BytesIO(z.read(index))).load()
        for t in state.values():
            name = index[: -len("data.pkl")] + "data/" + t.storage["key"]
            storages[t.storage["key"]] = np.frombuffer(z.read(name), t.storage["dtype"])
    else:
        f = io.BytesIO(raw)
        magic, protocol, machine = (StateDictUnpickler(f).load() for _ in range(3))
        if magic != MAGIC or protocol != PROTOCOL or not machine["little_endian"]:
            raise ValueError(f"{path}: not a little-endian torch file")
        state = StateDictUnpickler(f).load()
        by_key = {t.storage["key"]: t.storage for t in state.values()}
        for key in StateDictUnpickler(f).load():
            (count,) = struct.unpack("<q", f.read(8))
            dtype = np.dtype(by_key[key]["dtype"])
            if count != by_key[key]["count"]:
                raise ValueError(f"{path}: storage `{key}` has {count} values, expected {by_key[key]['count']}")
            storages[key] = np.frombuffer(f.read(count * dtype.itemsize), dtype)
        if f.read(1):
            raise ValueError(f"{path}: bytes are left over after the last storage")
    return {name: t.load(storages) for name, t in state.items()}


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("source")
    ap.add_argument("out")
    ap.add_argument("--dtype", choices=["fp32", "fp16"], default="fp32")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    for net in ("pnet", "rnet", "onet"):
        tensors = read_state_dict(os.path.join(a.source, net + ".pt"))
        if a.dtype == "fp16":
            tensors = {name: t.astype(np.float16) for name, t in tensors.items()}
        out = os.path.join(a.out, net + ("_fp16" if a.dtype == "fp16" else "") + ".safetensors")
        write_safetensors(out, tensors)
        print(f"{out}: {len(tensors)} tensors, {sum(t.size for t in tensors.values())} values")
        for name, t in tensors.items():
            print(f"  {name} {t.dtype} {list(t.shape)}")


if __name__ == "__main__":
    main()
