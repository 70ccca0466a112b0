#!/usr/bin/env python3
"""Convert and run the ONNX project's backend node suite.

  onnx_nodes.py --mil MIL --suite DIR [--only SUBSTRING] [--core-at-least N] [--check SHARED] [--json OUT] [-v]

DIR is what shared/oracle/onnx_node_suite.py wrote. Each case is converted with `mil convert --precision fp32` and run with
`mil run`; outputs are held to the case's own tolerances. Where MIL must know an input beforehand, the case's value for it is given
with `--constant`, since that is what the command's error says; such cases are counted apart. A panic, a crash or a hang of any case,
core or not, fails the whole run. With --check, coremltools reads every package that is written for a core case; one that it refuses
fails the run.
"""
import argparse, collections, json, os, re, shutil, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from fixtures import check_packages, read_safetensors, write_safetensors

parser = argparse.ArgumentParser()
parser.add_argument("--mil", required=True)
parser.add_argument("--suite", required=True)
parser.add_argument("--only", default="")
parser.add_argument("--core-at-least", type=int, default=0)
parser.add_argument("--check", metavar="SHARED", help="the folder that has oracle/check_package.py")
parser.add_argument("--json")
parser.add_argument("-v", action="store_true", help="say why each case failed")
args = parser.parse_args()


def identifier(name):
    clean = re.sub(r"[^A-Za-z0-9_@]", "_", name)
    return clean if re.match(r"[A-Za-z_]", clean) else "var_" + clean


def tensors(folder, kind, infos):
    out = []
    for j, info in enumerate(infos):
        t = TensorProto()
        t.ParseFromString(open(f"{folder}/{kind}_{j}.pb", "rb").read())
        x = numpy_helper.to_array(t)
        out.append((info.name, x.astype(np.float32) if x.dtype.kind == "V" or str(x.dtype) == "bfloat16" else x))
    return out


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    text = done.stderr.strip()
    if done.returncode not in (0, 1) or "panicked" in text:
        raise RuntimeError("CRASH " + text[-2000:])
    return done.returncode == 0, text


def case(name):
    folder, meta = f"{args.suite}/{name}", META[name]
    model = onnx.load(f"{folder}/model.onnx")
    with tempfile.TemporaryDirectory() as tmp:
        package, convert = f"{tmp}/m.mlpackage", []
        inputs, frozen = None, 0
        if meta["core"]:
            inputs = tensors(f"{folder}/test_data_set_0", "input", model.graph.input)
        while True:
            ok, text = call(args.mil, "convert", f"{folder}/model.onnx", "-o", package, "--precision", "fp32",
                            "--no-validate", *convert)
            need = re.search(r"`--constant ([^`]*)=\.\.`", text)
            value = dict(inputs or []).get(need[1]) if need else None
            if ok or value is None or need[1] in (c.split("=")[0] for c in convert):
                break
            convert += ["--constant", f"{need[1]}=" + ",".join(repr(float(v)) for v in np.ravel(value))]
            frozen += 1
        if not ok:
            return "refused", text
        if not meta["core"]:
            return "converted", ""
        if args.check:
            shutil.copytree(package, f"{PACKAGES.name}/{name}.mlpackage")
        sets = sorted(d for d in os.listdir(folder) if d.startswith("test_data_set"))
        for data in sets[:1] if frozen else sets:
            given = tensors(f"{folder}/{data}", "input", model.graph.input)
            known = [c.split("=")[0] for c in convert]
            # Inputs without elements are left out of the package: Core ML has none.
            write_safetensors(f"{tmp}/in.safetensors", {identifier(n): x for n, x in given if n not in known and x.size})
            ok, text = call(args.mil, "run", package, "--inputs", f"{tmp}/in.safetensors", "--outputs", f"{tmp}/out.safetensors")
            if not ok:
                return "not run", text
            got = read_safetensors(f"{tmp}/out.safetensors")
            for n, want in tensors(f"{folder}/{data}", "output", model.graph.output):
                have = got.get(identifier(n))
                if have is None:
                    return "wrong", f"no output `{n}` in {sorted(got)}"
                if have.shape != want.shape:
                    return "wrong", f"`{n}` has shape {have.shape}, wanted {want.shape}"
                if not np.allclose(have.astype(np.float64), want.astype(np.float64), meta["rtol"], meta["atol"], equal_nan=True):
                    off = np.abs(have.astype(np.float64) - want.astype(np.float64))
                    return "wrong", f"`{n}` is off by {np.nanmax(off) if off.size else 0}"
    return ("passed with constants" if frozen else "passed"), ""


def safe(name):
    try:
        return name, *case(name)
    except RuntimeError as e:
        return name, "crashed", str(e)
    except subprocess.TimeoutExpired:
        return name, "crashed", "took more than a minute"


META = json.load(open(f"{args.suite}/meta.json"))
PACKAGES = tempfile.TemporaryDirectory()
names = sorted(n for n in META if args.only in n)
with ThreadPoolExecutor(2) as pool:
    results = list(pool.map(safe, names))
if args.json:
    json.dump({n: [state, text] for n, state, text in results}, open(args.json, "w"), indent=0)
for core in (True, False):
    counts = collections.Counter(state for n, state, _ in results if META[n]["core"] == core)
    print("core" if core else "others", dict(counts))
for n, state, text in results:
    if args.v and META[n]["core"] and not state.startswith("passed") or state == "crashed":
        print(f"{n}: {state}: {text[:400]}")
bad = check_packages(args.check, PACKAGES.name) if args.check else []
for line in bad:
    print(line)
passed = sum(state.startswith("passed") for n, state, _ in results if META[n]["core"])
crashed = [n for n, state, _ in results if state == "crashed"]
if crashed or bad or passed < args.core_at_least:
    sys.exit(f"{passed} of the core cases passed, {args.core_at_least} must; {len(crashed)} crashed; coremltools refuses {len(bad)} packages")
