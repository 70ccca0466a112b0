"""Exports the seven nets: python make_models.py [--out target/vs_onnxruntime] [--models pnet,resnet50].

For each NAME there is then, in that folder,
- NAME.onnx: as torch exports it for inference, opset 17, with batch norms folded into convolutions;
- NAME.json: the same graph in the ops of MIL, which the example `vs_onnxruntime` of mil-tools makes a package of;
- NAME.safetensors: the weights of these ops, named OP.PARAMETER;
- NAME.input.safetensors: an input, `x`.

What is there is left as it is. Needs what requirements.txt lists.
"""

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

NAMES = ["resnet50", "mobilenet_v2", "pnet", "rnet_x16", "onet_x16", "fastvit_t8", "transformer"]
OUT = Path(__file__).resolve().parents[2] / "target" / "vs_onnxruntime"


def files(out, name):
    return [out / f"{name}{ending}" for ending in (".onnx", ".safetensors", ".input.safetensors", ".json")]


def export(out, name):
    # Only here: torch takes seconds to start, and files that are there need none of it.
    import onnx
    import torch
    from lower import lower
    from nets import NETS, make
    from safetensors.numpy import save_file

    net, x = make(name)
    outputs = NETS[name][2]
    path, weights_path, input_path, json_path = files(out, name)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.disable()
        torch.onnx.export(net, (x,), path, opset_version=17, input_names=["x"], output_names=outputs, dynamo=False)
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    onnx.checker.check_model(model)
    program, weights = lower(model, outputs)
    save_file(weights, weights_path)
    save_file({"x": x.numpy()}, input_path)
    json_path.write_text(json.dumps(program, indent=1))  # last: it says that the others are there
    sys.stderr.write(f"exported {name}: {len(program['ops'])} ops, {sum(w.nbytes for w in weights.values()) / 1e6:.1f} MB\n")


def make_models(out, names):
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not all(f.exists() for f in files(out, name)):
            export(out, name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--models", type=lambda s: s.split(","), default=NAMES)
    args = parser.parse_args()
    make_models(args.out, args.models)
