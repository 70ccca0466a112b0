#!/usr/bin/env python3
"""Writes mil-core/testdata/op_definitions.json from an inventory of coremltools' ops.  op_definitions.py MIL_OPS.json

The inventory lists every op, version, input, dtype and default of coremltools 9.0. What is kept: per op the opset that brought it, and per
parameter, by opset: whether it is there, required, constant, its dtypes, its dtype variable and its default. One line per op.
"""
import json, os, sys

OPSETS = ["iOS15", "iOS16", "iOS17", "iOS18"]
inventory = json.load(open(sys.argv[1]))["core_ops"]
out = {}
for op, d in sorted(inventory.items()):
    if op.startswith("_"):
        continue
    versions = {("iOS15" if k in ("iOS13", "iOS14") else k): v for k, v in d["versions"].items()}
    since = next(o for o in OPSETS if o in versions)
    current, table = None, {}
    for opset in OPSETS[OPSETS.index(since):]:
        current = versions.get(opset, current)
        if opset not in versions and current is None:
            continue
        if opset in versions:
            table[opset] = {
                i["name"]: {
                    "required": not i["optional"],
                    "constant": i["const"],
                    "dtypes": sorted(i.get("dtypes") or []),
                    "var": i.get("type_domain"),
                    **({"default": i["default"]} if i["optional"] and i.get("default") is not None else {}),
                }
                for i in current["inputs"]
            }
    out[op] = {"since": since, "versions": table}
path = os.path.join(os.path.dirname(__file__), "../../mil-core/testdata/op_definitions.json")
with open(path, "w") as f:
    f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in out.items()) + "\n}\n")
print(f"{len(out)} ops")
