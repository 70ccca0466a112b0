"""The nets that are converted: three of vs_onnxruntime, and a real one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vs_onnxruntime"))

NAMES = ["resnet50", "mobilenet_v2", "fastvit_t8", "minilm"]


def make(name):
    """The net, ready for inference, its example inputs by name, and the names of its outputs."""
    if name == "minilm":
        import minilm

        return minilm.load(), dict(zip(("ids", "mask"), minilm.sentence())), ["embedding"]
    from importlib.util import module_from_spec, spec_from_file_location

    # The other folder's file has the name of this one.
    path = Path(__file__).resolve().parents[1] / "vs_onnxruntime" / "nets.py"
    spec = spec_from_file_location("vs_onnxruntime_nets", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    net, x = module.make(name)
    return net, {"x": x}, module.NETS[name][2]
