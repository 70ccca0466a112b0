#!/usr/bin/env python3
"""Judge `mil` by the programs that coremltools' own op tests build.

    conformance.py --mil BINARY [--shared DIR] [--all] [--only TEXT] [--optimize PASSES] [--at-least N] [--list-failures N] [--jobs N]

A case passes if `mil copy` writes a package in which same_spec.py, names counted, finds no difference, and if `mil run` gives
the expected outputs (run_conformance.py). Without --all only ML Programs count; with it, every case
in DIR/conformance. --only takes the cases whose path holds TEXT. With --optimize what runs is what `mil optimize --passes PASSES`
made of the model, and copies are not compared: do passes keep what coremltools expects. Exits 1 if fewer than N pass, or none was selected.

DIR (default: `shared` beside the repository) holds conformance/ and oracle/. Needs DIR/oracle/requirements.txt.
"""
import argparse
import ast
import collections
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile

from fixtures import ROOT

TIMEOUT_SECONDS = 30


def load_same_spec(oracle):
    """The `lines` of same_spec.py: a model as lines of text, equal if the models say the same.

    The script compares its two arguments as soon as it is run, and starting it for each case would cost two seconds of
    importing each time; so it is loaded up to its last function, without the part that compares and exits."""
    path = os.path.join(oracle, "same_spec.py")
    with open(path) as f:
        tree = ast.parse(f.read(), path)
    last = max(i for i, node in enumerate(tree.body) if isinstance(node, ast.FunctionDef))
    tree.body = tree.body[: last + 1]
    names = {}
    exec(compile(tree, path, "exec"), names)
    return names["lines"]


def select(suite, every, only):
    """Path of a case relative to the suite -> its ops."""
    cases = {}
    for folder, _, files in sorted(os.walk(suite)):
        if "case.json" in files:
            with open(os.path.join(folder, "case.json")) as f:
                case = json.load(f)
            name = os.path.relpath(folder, suite)
            if only in name and (every or case["opset"] != ["nn"]):
                cases[name] = case["ops"]
    return cases


def model_of(folder):
    return next(p for p in (os.path.join(folder, "model." + e) for e in ("mlpackage", "mlmodel")) if os.path.exists(p))


def whole(model, scratch):
    """The model as it left coremltools. Packages without weights have an empty weights/ folder, which coremltools demands but
    not every way of transport keeps; where it was lost, a copy with the folder stands in. (`mil` reads the case as it is.)"""
    weights = os.path.join("Data", "com.apple.CoreML", "weights")
    if not os.path.isdir(model) or os.path.isdir(os.path.join(model, weights)):
        return model
    restored = os.path.join(scratch, "original.mlpackage")
    shutil.rmtree(restored, ignore_errors=True)
    shutil.copytree(model, restored, copy_function=shutil.copyfile)
    os.makedirs(os.path.join(restored, weights))
    return restored


def copy_model(mil, model, scratch, name):
    """Copy the model into `scratch`; returns the copy's path and None, or None and why not."""
    out = os.path.join(scratch, name.replace(os.sep, "__") + os.path.splitext(model)[1])
    try:
        p = subprocess.run([mil, "copy", model, out], capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return None, "time-out"
    if p.returncode:
        return None, (p.stderr.strip().splitlines() or [f"exit {p.returncode}"])[0][:200]
    return (out, None) if os.path.exists(out) else (None, "exit 0, but nothing was written")


def difference(lines, a, b, names):
    """What the second model says otherwise than the first, or None; `names` as in same_spec.py --names."""
    try:
        a, b = lines(a, names), lines(b, names)
    except Exception as e:
        return f"coremltools cannot read it: {type(e).__name__}: {e}"[:200]
    if a == b:
        return None
    a, b = ([*map(str, x), "(end)"] for x in (a, b))
    line = next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)
    at = max(len(os.path.commonprefix([a[line], b[line]])) - 30, 0)
    expected, found = (" ".join(x[line][at : at + 90].split()) for x in (a, b))
    return f"line {line}: expected .. {expected} .. found .. {found} .."


def copies(mil, lines, suite, cases, jobs):
    """Name -> why its copy is not the same, for those that fail."""
    bad = {}
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        models = {name: model_of(os.path.join(suite, name)) for name in cases}
        for name, (out, why) in zip(cases, pool.map(lambda n: copy_model(mil, models[n], scratch, n), cases)):
            if out:
                why = difference(lines, whole(models[name], scratch), out, names=True)
                shutil.rmtree(out) if os.path.isdir(out) else os.remove(out)
            if why:
                bad[name] = why
    return bad


def optimize(mil, model, out, passes):
    """Write to `out` what passes make of a model; returns why they could not, or None."""
    command = [mil, "optimize", model, "-o", out, "--passes", passes]
    p = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    return (p.stderr.strip().splitlines() or [f"exit {p.returncode}"])[0][:200] if p.returncode else None


def runs(mil, oracle, suite, cases, jobs, passes=None):
    """Name -> why its outputs are not those expected, for those that fail."""
    bad = {}
    with tempfile.TemporaryDirectory() as scratch:
        chosen, report = os.path.join(scratch, "suite"), os.path.join(scratch, "report.json")
        for name in cases:  # run_conformance.py walks a tree without following links to folders
            os.makedirs(os.path.join(chosen, name))
            model = os.path.basename(model_of(os.path.join(suite, name)))
            for entry in os.listdir(os.path.join(suite, name)):
                case, chosen_entry = os.path.join(suite, name, entry), os.path.join(chosen, name, entry)
                why = optimize(mil, case, chosen_entry, passes) if passes and entry == model else None
                if why:
                    bad[name] = why
                if not (passes and entry == model) or why:
                    os.symlink(case, chosen_entry)
        script = [sys.executable, os.path.join(oracle, "run_conformance.py"), chosen]
        subprocess.run([*script, "--mil", mil, "--jobs", str(jobs), "--json", report], check=True, stdout=subprocess.DEVNULL)
        with open(report) as f:
            result = json.load(f)
    if result["passed"] + result["failed"] != len(cases):
        sys.exit(f"run_conformance.py ran {result['passed'] + result['failed']} cases of {len(cases)}")
    return dict(result["failures"]) | bad


def report(what, cases, bad, listed):
    print(f"{what}: {len(cases) - len(bad)} of {len(cases)}")
    by_op = collections.Counter(op for name in bad for op in cases[name] if op not in ("const", "cast", "identity"))
    for op, count in by_op.most_common(25):
        print(f"  {count:4} failures with {op}")
    for name, why in list(bad.items())[:listed]:
        print(f"  FAIL {name} - {why}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--mil", required=True)
    ap.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    ap.add_argument("--all", action="store_true")
    ap.add_argument("--only", default="")
    ap.add_argument("--optimize", metavar="PASSES")
    ap.add_argument("--at-least", type=int, default=0)
    ap.add_argument("--list-failures", type=int, default=20)
    ap.add_argument("--jobs", type=int, default=2)
    a = ap.parse_args()
    mil, shared = os.path.abspath(a.mil), os.path.realpath(a.shared)
    suite, oracle = os.path.join(shared, "conformance"), os.path.join(shared, "oracle")
    if not os.access(mil, os.X_OK):
        sys.exit(f"`{mil}` is not a program: build it with `cargo build -p mil-tools`")
    cases = select(suite, a.all, a.only)
    if not cases:
        sys.exit(f"no case selected in `{suite}`")

    not_same = {}
    if not a.optimize:
        not_same = copies(mil, load_same_spec(oracle), suite, cases, a.jobs)
        report("copied, same to the last name", cases, not_same, a.list_failures)
    wrong = runs(mil, oracle, suite, cases, a.jobs, a.optimize)
    report("optimized, and run to the expected outputs" if a.optimize else "run to the expected outputs", cases, wrong, a.list_failures)
    failed = not_same.keys() | wrong.keys()
    print(f"{len(cases) - len(failed)} cases passed, {len(failed)} failed")
    if len(cases) - len(failed) < a.at_least:
        sys.exit(f"at least {a.at_least} were to pass")


if __name__ == "__main__":
    main()
