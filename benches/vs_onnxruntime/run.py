#!/usr/bin/env python3
"""ONNX Runtime against mil, on the CPU: seven nets, the same weights, timed in turn in one run.

    pip install -r benches/vs_onnxruntime/requirements.txt      # in an environment of its own
    python benches/vs_onnxruntime/run.py                        # models, packages, outputs compared, times
    python benches/vs_onnxruntime/run.py --verify               # up to the comparison of outputs
    python benches/vs_onnxruntime/run.py --models pnet,resnet50 --threads 1 --rounds 9 --fp16

make_models.py exports the nets from torch with random weights, as ONNX and as a list of MIL's ops (lower.py), node for node what an
importer makes of the graph. The example `vs_onnxruntime` of mil-tools puts the list through the builder and writes a package, and another
one in f16. All of this is made once, in target/vs_onnxruntime; what is deleted there is made again.

A ratio is ORT time / mil time, above 1 where mil is faster. Each side runs in a process of its own that loads the model, warms up, and
gives the median latency of some time of predictions; the two take turns, and who comes first alternates. The ratio of a model is the
median of the ratios of its rounds, so that a machine that is slower for a while slows both. ONNX Runtime has all its optimizations and
as many intra-op threads as mil has threads.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from make_models import NAMES, OUT
from ort_time import session
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# What the ratios shall be at least, by threads.
TARGETS = {
    "resnet50": {1: 1.15, 2: 1.1},
    "mobilenet_v2": {1: 1.0, 2: 1.15},
    "pnet": {1: 2.8, 2: 2.8},
    "rnet_x16": {1: 3.5, 2: 3.3},
    "onet_x16": {1: 3.0, 2: 2.2},
    "fastvit_t8": {1: 1.1, 2: 1.15},
    "transformer": {1: 1.05, 2: 1.15},
}
# How much longer a model in f16 may take than the same in f32.
FP16_AT_MOST = 1.15
# How far outputs may be from ONNX Runtime's, relative to the largest of them.
TOLERANCES = {"": 1e-5, ".fp16": 1e-2}


def say(text=""):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def output_of(*command):
    """What a command prints; it must succeed."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"error: exit status {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


class Bench:
    def __init__(self, args):
        self.dir = args.dir
        if args.mil is None:
            output_of("cargo", "build", "--release", "--quiet", "--manifest-path", ROOT / "Cargo.toml",
                      "-p", "mil-tools", "--bin", "mil", "--example", "vs_onnxruntime")  # fmt: skip
        self.mil = args.mil or ROOT / "target" / "release" / "mil"
        self.example = self.mil.parent / "examples" / "vs_onnxruntime"

    def file(self, name, ending):
        return self.dir / f"{name}{ending}"

    def prepare(self, names):
        output_of(sys.executable, HERE / "make_models.py", "--out", self.dir, "--models", ",".join(names))
        for name in names:
            graph, packages = self.file(name, ".json"), [self.file(name, v + ".mlpackage") for v in TOLERANCES]
            if any(not p.exists() or p.stat().st_mtime < graph.stat().st_mtime for p in packages):
                output_of(self.example, "build", graph)

    def error(self, name, variant):
        """The largest difference between outputs, relative to the largest number of each."""
        model, inputs = self.file(name, variant + ".mlpackage"), self.file(name, ".input.safetensors")
        with tempfile.TemporaryDirectory() as scratch:
            outputs = Path(scratch) / "outputs.safetensors"
            output_of(self.mil, "run", model, "--inputs", inputs, "--outputs", outputs, "--backend", "cpu")
            found = load_file(outputs)
        run = session(str(self.file(name, ".onnx")), 1)
        errors = []
        for output, expected in zip(run.get_outputs(), run.run(None, load_file(inputs)), strict=True):
            values = found[output.name].astype(np.float64)
            if values.shape != expected.shape:
                sys.exit(f"error: {name}{variant}: `{output.name}` is {values.shape}, expected {expected.shape}")
            error = np.abs(values - expected).max() / np.abs(expected).max()
            errors.append(float(error) if np.isfinite(error) else float("inf"))
        return max(errors)

    def mil_ms(self, name, threads, seconds, variant=""):
        model, inputs = self.file(name, variant + ".mlpackage"), self.file(name, ".input.safetensors")
        command = [self.example, "time", model, "--inputs", inputs, "--threads", threads, "--seconds", seconds]
        return json.loads(output_of(*command))["latency_ms"]["median"]

    def ort_ms(self, name, threads, seconds):
        model, inputs = self.file(name, ".onnx"), self.file(name, ".input.safetensors")
        command = [sys.executable, HERE / "ort_time.py", model, inputs, threads, seconds]
        return json.loads(output_of(*command))["latency_ms"]["median"]

    def round(self, name, threads, seconds, fp16, mil_first):
        sides = {"ort": lambda: self.ort_ms(name, threads, seconds), "mil": lambda: self.mil_ms(name, threads, seconds)}
        if fp16:
            sides["fp16"] = lambda: self.mil_ms(name, threads, seconds, ".fp16")
        order = reversed(sides) if mil_first else sides
        return {side: sides[side]() for side in order}


def verify(bench, names, variants):
    """The errors, and whether all are small enough."""
    errors = {name + v: bench.error(name, v) for name in names for v in variants}
    good = all(error < TOLERANCES[v] for v in variants for error in (errors[n + v] for n in names))
    return errors, good


def summary(name, threads, rounds):
    """What the rounds of one model say."""
    ratios = [r["ort"] / r["mil"] for r in rounds]
    line = {
        "model": name,
        "threads": threads,
        "ort_ms": statistics.median(r["ort"] for r in rounds),
        "mil_ms": statistics.median(r["mil"] for r in rounds),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "target": TARGETS[name].get(threads),
    }
    if "fp16" in rounds[0]:
        line["fp16_ms"] = statistics.median(r["fp16"] for r in rounds)
        line["fp16_ratio"] = statistics.median(r["fp16"] / r["mil"] for r in rounds)
    return line


def table(lines, fp16):
    yield f"{'model':<13}{'threads':>8}{'ORT ms':>11}{'mil ms':>11}{'ORT/mil':>9}  {'range':<13}{'target':>7}" + (
        f"{'fp16 ms':>11}{'fp16/fp32':>11}  at most {FP16_AT_MOST}" if fp16 else "")  # fmt: skip
    for n in lines:
        low, high = n["ratio_range"]
        target = "" if n["target"] is None else f"{n['target']:.2f}"
        text = f"{n['model']:<13}{n['threads']:>8}{n['ort_ms']:>11.3f}{n['mil_ms']:>11.3f}{n['ratio']:>9.3f}"
        text += f"  {f'{low:.2f} - {high:.2f}':<13}{target:>7}"
        yield text + (f"{n['fp16_ms']:>11.3f}{n['fp16_ratio']:>11.3f}" if fp16 else "")


def main():
    def positive(kind):
        def parse(text):
            if (value := kind(text)) <= 0:
                raise ValueError
            return value

        parse.__name__ = f"positive {kind.__name__}"
        return parse

    def models(text):
        names = text.split(",")
        if unknown := [n for n in names if n not in NAMES]:
            raise argparse.ArgumentTypeError(f"`{unknown[0]}` is none of {', '.join(NAMES)}")
        return names

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=models, default=NAMES, help="names, with commas between them")
    parser.add_argument("--threads", type=lambda s: [positive(int)(t) for t in s.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=positive(int), default=5)
    parser.add_argument("--seconds", type=positive(float), default=0.7, help="how long each side predicts in a round")
    parser.add_argument("--fp16", action="store_true", help="also the f16 package, against the f32 one")
    parser.add_argument("--verify", action="store_true", help="compare outputs, and stop there")
    parser.add_argument("--skip-verify", action="store_true", help="compare no outputs")
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    parser.add_argument("--mil", type=Path, help="a `mil` that is built, its examples beside it [default: built now]")
    parser.add_argument("--dir", type=Path, default=OUT, help="where the models are, or will be")
    args = parser.parse_args()

    bench = Bench(args)
    bench.prepare(args.models)
    variants = list(TOLERANCES) if args.fp16 else [""]
    errors = {}
    if not args.skip_verify:
        errors, good = verify(bench, args.models, variants)
        if not args.json:
            say("largest error relative to the largest output of ONNX Runtime")
            for name, error in errors.items():
                say(f"{name:<19}{error:.1e}")
            say()
        if not good:
            allowed = ", ".join(f"{t:g} for {v.strip('.') or 'fp32'}" for v, t in TOLERANCES.items())
            sys.exit(f"error: outputs differ by more than {allowed}: {errors}")
    lines = []
    if not args.verify:
        rounds = {(name, threads): [] for name in args.models for threads in args.threads}
        for i in range(args.rounds):
            for (name, threads), found in rounds.items():
                found.append(bench.round(name, threads, args.seconds, args.fp16, i % 2 == 1))
        lines = [summary(name, threads, found) for (name, threads), found in rounds.items()]
    if args.json:
        say(json.dumps({"errors": errors, "times": lines}, indent=1))
    elif lines:
        for line in table(lines, args.fp16):
            say(line)


if __name__ == "__main__":
    main()
