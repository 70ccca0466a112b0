"""How long ONNX Runtime takes: python ort_time.py MODEL.onnx INPUT.safetensors THREADS SECONDS. A process of its own, as mil's."""

import json
import statistics
import sys
import time

import onnxruntime
from safetensors.numpy import load_file


def session(model, threads):
    """All optimizations, on the CPU; operators one after another, each on that many threads."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def main(model, inputs, threads, seconds):
    inputs = load_file(inputs)
    start = time.perf_counter()
    run = session(model, threads)
    load = time.perf_counter() - start

    def predict():
        start = time.perf_counter()
        run.run(None, inputs)
        return (time.perf_counter() - start) * 1e3

    first = predict()
    # As the Rust side does.
    warm = time.perf_counter()
    while time.perf_counter() - warm < min(seconds / 4, 0.3) - first / 1e3:
        predict()
    times = []
    start = time.perf_counter()
    while not times or time.perf_counter() - start < seconds:
        times.append(predict())
    latency = {"first": first, "median": statistics.median(times), "min": min(times)}
    return {"load_ms": load * 1e3, "iterations": len(times), "latency_ms": latency}


if __name__ == "__main__":
    _, model, inputs, threads, seconds = sys.argv
    sys.stdout.write(json.dumps(main(model, inputs, int(threads), float(seconds))) + "\n")
