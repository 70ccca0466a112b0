#!/usr/bin/env python3
"""Does coremltools accept a program of every op in every opset?

    every_op.py [--shared DIR] [--packages DIR]

Lets the test `every_op` write its packages (one op each, named OP.OPSET.DTYPE.mlpackage; to DIR, or a temporary folder), and asks
check_package.py about each: coremltools infers every op again, and refuses a declared type that disagrees. A pair of op and opset
that coremltools has and no package shows is a failure too. Exits 1 if anything fails.

Needs the shared folder's oracle/requirements.txt, and cargo.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile

from fixtures import ROOT

OPSETS = ["iOS15", "iOS16", "iOS17", "iOS18", "iOS26"]
# Not an op of a program: coremltools' own check_package cannot lift these, for the reason beside each.
NOT_LIFTED = {}


def wanted():
    """The pairs of op and opset that coremltools has. What it calls iOS13 is what ML Programs have from iOS15 on."""
    with open(os.path.join(ROOT, "mil-core", "testdata", "op_definitions.json")) as f:
        inventory = json.load(f)
    pairs = set()
    for op, definition in inventory.items():
        first = definition["since"]
        pairs.update((op, opset) for opset in OPSETS[OPSETS.index(first) :])
    return pairs


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    ap.add_argument("--packages")
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.abspath(a.packages or scratch)
        test = ["cargo", "test", "--locked", "--quiet", "--test", "every_op"]
        subprocess.run(test, check=True, cwd=ROOT, env={**os.environ, "MIL_EVERY_OP_OUT": out}, stdout=subprocess.DEVNULL)
        packages = sorted(p for p in os.listdir(out) if p.endswith(".mlpackage"))
        script = [sys.executable, os.path.join(a.shared, "oracle", "check_package.py")]
        checked = subprocess.run([*script, *(os.path.join(out, p) for p in packages)], capture_output=True, text=True)
        verdicts = checked.stdout.strip().splitlines()
        if len(verdicts) != len(packages) + 1:
            sys.exit(f"check_package.py failed: {checked.stdout}{checked.stderr}")
    refused = collections.defaultdict(list)
    accepted = set()
    for package, line in zip(packages, verdicts):
        op, opset, dtype, _ = package.split(".")
        if line.startswith("ok "):
            accepted.add((op, opset))
        else:
            refused[op, line.split(": ", 1)[-1]].append(f"{opset} {dtype}")
    for (op, why), where in refused.items():
        print(f"FAIL {op} ({', '.join(where)}): {why}")
    missing = wanted() - accepted - {(op, opset) for op in NOT_LIFTED for opset in OPSETS}
    by_op = collections.defaultdict(list)
    for op, opset in sorted(missing):
        by_op[op].append(opset)
    for op, opsets in by_op.items():
        print(f"FAIL no accepted package of {op} in {', '.join(opsets)}")
    print(f"{len(packages)} packages, {len(packages) - sum(map(len, refused.values()))} accepted; {len(accepted)} pairs of op and opset, {len(missing)} missing")
    sys.exit(bool(refused or missing))


if __name__ == "__main__":
    main()
