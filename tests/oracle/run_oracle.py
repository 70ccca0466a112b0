#!/usr/bin/env python3
"""Does coremltools agree with the packages that the examples write?

    run_oracle.py --mil BINARY --packages DIR [--shared DIR]

Of every .mlpackage in DIR: does coremltools accept it (check_package.py), does `mil check`, and does `mil copy` write the same, to
the last name? And of those that coremltools_twins.py writes too, in fp32 and in fp16: do the two say the same
(same_spec.py)? A twin without its package in DIR is a failure: the examples must write all of them. Exits 1 if any fails.

Needs the shared folder's oracle/requirements.txt; its place is the `shared` folder beside the repository if not said otherwise.
"""
import argparse
import glob
import os
import subprocess
import sys
import tempfile

from conformance import copy_model, difference, load_same_spec
from fixtures import ROOT

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--mil", required=True)
    ap.add_argument("--packages", required=True)
    ap.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    a = ap.parse_args()
    mil, oracle = os.path.abspath(a.mil), os.path.join(os.path.realpath(a.shared), "oracle")
    packages = sorted(glob.glob(os.path.join(a.packages, "*.mlpackage")))
    if not packages:
        sys.exit(f"no package in `{a.packages}`: the examples write them")
    failed = []

    def verdict(what, package, why):
        name = os.path.basename(package)
        print(f"{'ok  ' if why is None else 'FAIL'} {what} {name}" + (f": {why}" if why else ""))
        if why:
            failed.append((what, name))

    checked = subprocess.run([sys.executable, os.path.join(oracle, "check_package.py"), *packages], capture_output=True, text=True)
    verdicts = checked.stdout.strip().splitlines()
    if len(verdicts) != len(packages) + 1:
        sys.exit(f"check_package.py failed: {checked.stdout}{checked.stderr}")
    for package, line in zip(packages, verdicts):
        verdict("accepted", package, None if line.startswith("ok ") else line.split(": ", 1)[-1])

    lines = load_same_spec(oracle)
    with tempfile.TemporaryDirectory() as scratch:
        for package in packages:
            p = subprocess.run([mil, "check", package], capture_output=True, text=True)
            verdict("checked", package, None if p.returncode == 0 else p.stderr.strip() or f"exit {p.returncode}")
            out, why = copy_model(mil, package, scratch, "copy-of-" + os.path.basename(package)[:-10])
            verdict("copied", package, why or difference(lines, package, out, names=True))

        twins = os.path.join(scratch, "twins")
        subprocess.run([sys.executable, os.path.join(HERE, "coremltools_twins.py"), twins], check=True, stdout=subprocess.DEVNULL)
        for twin in sorted(glob.glob(os.path.join(twins, "*.mlpackage"))):
            ours = os.path.join(a.packages, os.path.basename(twin))
            missing = None if os.path.exists(ours) else "the examples did not write it"
            verdict("same as coremltools'", twin, missing or difference(lines, twin, ours, names=False))
    if failed:
        sys.exit(f"{len(failed)} failed")
    print(f"{len(packages)} packages, all passed")


if __name__ == "__main__":
    main()
