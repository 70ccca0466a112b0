#!/usr/bin/env python3
"""coremltools against mil: how long does it take to make a Core ML package of a net, and how much memory?

    pip install -r benches/vs_coremltools/requirements.txt      # in an environment of its own
    python benches/vs_coremltools/run.py                        # models are made once, in target/vs_coremltools
    python benches/vs_coremltools/run.py --models minilm --rounds 5 --precision fp32

Each side is a process of its own, measured as a whole, from its start to its end, with its peak of resident memory. coremltools' is a script
of a user: load a net of torch, `torch.jit.trace`, `ct.convert`, save. mil's is `mil convert`, from every kind of file that it reads of the
same net (ONNX; .pt2 and traced .pt where they can be read), with the comparison of the package with the model that it makes by
default; `no check` is without it. The sides take turns. Ratios are medians of the ratios of the rounds: coremltools / mil, so that
above 1 is faster, or smaller.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nets import NAMES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "target" / "vs_coremltools"
# What the ratios shall be at least.
FASTER, SMALLER = 10, 2


def make(out, name):
    """NAME.pth for coremltools; NAME.onnx, NAME.pt2 and NAME.pt for mil."""
    import warnings

    import torch
    from nets import make as make_net

    warnings.simplefilter("ignore")
    net, inputs, outputs = make_net(name)
    values = tuple(inputs.values())
    with torch.no_grad():
        torch.onnx.export(net, values, out / f"{name}.onnx", opset_version=17, input_names=list(inputs), output_names=outputs,
                          dynamo=False)  # fmt: skip
        torch.jit.trace(net, values, check_trace=False).save(out / f"{name}.pt")
        torch.export.save(torch.export.export(net, values).run_decompositions(), out / f"{name}.pt2")
    torch.save((net, inputs, outputs), out / f"{name}.pth")


def measured(command):
    """Seconds, megabytes and what the process said; `None` if it failed, with what it said."""
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen([str(c) for c in command], stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")
    return (seconds, usage.ru_maxrss / 1024, text) if process.returncode == 0 else (None, None, text)


def sides(mil, folder, name, precision, out):
    """Commands by name."""
    package = out / "out.mlpackage"
    reference = [sys.executable, HERE / "with_coremltools.py", folder / f"{name}.pth", package, precision]
    all_sides = {"coremltools": reference}
    for ending, label in (("onnx", "onnx"), ("pt2", "pt2"), ("pt", "traced")):
        command = [mil, "convert", folder / f"{name}.{ending}", "-o", package, "--precision", precision]
        all_sides[label] = command
        all_sides[label + ", no check"] = [*command, "--no-validate"]
    return all_sides


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda s: s.split(","), default=NAMES, help="names, with commas between them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["fp16", "fp32"], default="fp16")
    parser.add_argument("--mil", type=Path, help="a `mil` that is built [default: built now]")
    parser.add_argument("--dir", type=Path, default=OUT, help="where the models are, or will be")
    parser.add_argument("--make", action="store_true", help="make the models, and stop there")
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    args = parser.parse_args()
    if unknown := [n for n in args.models if n not in NAMES]:
        sys.exit(f"error: `{unknown[0]}` is none of {', '.join(NAMES)}")
    args.dir.mkdir(parents=True, exist_ok=True)
    for name in args.models:
        if not (args.dir / f"{name}.pth").exists():
            # In a process of its own: it leaves no torch behind in this one.
            code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import run; from pathlib import Path; run.make(Path({str(args.dir)!r}), {name!r})"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE)
    if args.make:
        return
    mil = args.mil
    if mil is None:
        subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "mil-tools"], cwd=ROOT, check=True)
        mil = ROOT / "target" / "release" / "mil"

    results, failures = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.models:
            commands = sides(mil.resolve(), args.dir, name, args.precision, Path(scratch))
            for i in range(args.rounds):
                order = list(commands) if i % 2 == 0 else list(reversed(commands))
                for side in [s for s in order if (name, s) not in failures]:
                    shutil.rmtree(Path(scratch) / "out.mlpackage", ignore_errors=True)
                    seconds, megabytes, said = measured(commands[side])
                    if seconds is None:
                        failures[name, side] = said.strip().splitlines()[-1:] or ["it said nothing"]
                        results.pop((name, side), None)
                    else:
                        results.setdefault((name, side), []).append((seconds, megabytes))
            if (name, "coremltools") in failures:
                sys.exit(f"error: coremltools failed for {name}: {failures[name, 'coremltools'][0]}")

    lines = []
    for (name, side), runs in sorted(results.items(), key=lambda r: (args.models.index(r[0][0]), r[0][1] != "coremltools")):
        reference = results[name, "coremltools"]
        pairs = list(zip(reference, runs))
        lines.append({
            "model": name,
            "side": side,
            "seconds": statistics.median(s for s, _ in runs),
            "megabytes": statistics.median(m for _, m in runs),
            "faster": statistics.median(a[0] / b[0] for a, b in pairs),
            "smaller": statistics.median(a[1] / b[1] for a, b in pairs),
        })  # fmt: skip
    if args.json:
        print(json.dumps({"results": lines, "failures": {f"{n}, {s}": f[0] for (n, s), f in failures.items()}}, indent=1))
        return
    print(f"{'model':<14}{'side':<18}{'s':>9}{'MB':>9}{'faster':>9}{'smaller':>9}   wanted: {FASTER}, {SMALLER}")
    for n in lines:
        ratios = "" if n["side"] == "coremltools" else f"{n['faster']:>9.1f}{n['smaller']:>9.1f}"
        short = n["side"] != "coremltools" and (n["faster"] < FASTER or n["smaller"] < SMALLER)
        print(f"{n['model']:<14}{n['side']:<18}{n['seconds']:>9.2f}{n['megabytes']:>9.0f}{ratios}{'   short' if short else ''}")
    for (name, side), said in failures.items():
        print(f"{name}, {side}: not converted: {said[0][:150]}")


if __name__ == "__main__":
    main()
