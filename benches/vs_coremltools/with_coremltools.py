"""What a user of coremltools runs: python with_coremltools.py MODEL.pth OUT.mlpackage fp16|fp32

MODEL.pth is a pickled module with its example inputs. It is traced, converted and saved; the process says in JSON how long importing,
tracing, converting and saving took.
"""

import json
import logging
import os
import sys
import time
import warnings

os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
laps, since = {}, time.perf_counter()


def lap(what):
    global since
    now = time.perf_counter()
    laps[what], since = now - since, now


import numpy as np  # noqa: E402
import torch  # noqa: E402

import coremltools as ct  # noqa: E402

lap("import")
model, out, precision = sys.argv[1:]
net, inputs, outputs = torch.load(model, weights_only=False)
lap("load")
with torch.no_grad():
    traced = torch.jit.trace(net.eval(), tuple(inputs.values()), check_trace=False)
lap("trace")
types = {torch.float32: np.float32, torch.int32: np.int32}
package = ct.convert(
    traced,
    inputs=[ct.TensorType(name=n, shape=tuple(x.shape), dtype=types[x.dtype]) for n, x in inputs.items()],
    outputs=[ct.TensorType(name=n) for n in outputs],
    minimum_deployment_target=ct.target.iOS15,
    compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
    skip_model_load=True,
)
lap("convert")
package.save(out)
lap("save")
print(json.dumps(laps))
