"""Turn a training checkpoint into bundled weights: measure, calibrate, export, register, write the model card's figures.

    python benchmarks/release.py runs/NAME/best.safetensors --name gtpt-t-coco17 \
        --data ../shared/data/pose17_devval.zip

The matrices of the group encoder are rounded to half precision first, and all figures are those of the rounded network.
The safetensors file holds it with its norms, so that it can be trained further; the ONNX file has them folded into
convolutions. The script measures on real crops what the rounding moves, and stops if it is more than 0.05 px on average,
or more than 1 px for over a keypoint in a thousand. The score is calibrated on every second photo, without the flip test,
and its error is reported on the others.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml

from gtpt.core.calibration import Calibration
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.data.crops import load_crops
from gtpt.data.images import read_json
from gtpt.engines.auto import BFLOAT16_COST
from gtpt.engines.seal import seal
from gtpt.engines.torch import torch_network
from gtpt.evaluate import expected_calibration_error, fit_isotonic, judge, pck, reliability
from gtpt.evaluate.run import Estimates, evaluate_network
from gtpt.export.onnx import export_onnx, store_half
from gtpt.export.verify import bfloat16_cost, verify_onnx
from gtpt.model import GTPT, load, save
from gtpt.model.checkpoint import extra_metadata
from gtpt.weights.registry import BUNDLED

WEIGHTS = Path(__file__).parents[1] / "src/gtpt/weights"
FORMATS = ("onnx", "safetensors")
PROGRESS = ("AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", type=Path, required=True, help="COCO crop zip to measure on; never trained on")
    parser.add_argument("--skeleton", default=None, help="of the data, if it is not the network's")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS, help="what is bundled")
    parser.add_argument("--out", type=Path, default=Path("out/release"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    trained = load(args.checkpoint)
    net = rounded(trained)
    labels = load_skeleton(args.skeleton or net.skeleton)
    crops = load_crops(args.data, labels, net.config.input_size, 256)
    moved = compare(trained, net, crops)
    figures, calibration = measure(net, args.data, labels, args.out)
    extra = {
        **extra_metadata(args.checkpoint),
        "AP": figures["pruned, flip test"]["AP"],
        "calibration": calibration.to_dict(),
        BFLOAT16_COST: round(bfloat16_cost(net, crops), 5),
    }
    folders = {kind: BUNDLED if kind in args.formats else args.out for kind in FORMATS}
    files = write_files(net, args.name.replace("-", "_"), extra, folders)
    figures["rounding"] = moved
    figures["ONNX against safetensors"] = str(verify_onnx(files["onnx"], load(files["safetensors"]), crops, bound_px=0.05))
    register(args.name, net, {kind: files[kind] for kind in args.formats})
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


def rounded(net: GTPT) -> GTPT:
    """The network in weights that half precision holds exactly. Its norms stay, so that it can be trained further."""
    net = copy.deepcopy(net)
    for value in halved(net):
        value.data = value.data.half().float()
    return net


def halved(net: GTPT) -> list[torch.Tensor]:
    """Tensors that are stored in half precision: the matrices of the group encoder, two fifths of all weights.

    Rounding what comes before it moves a few keypoints by half a body: patches of nearly the same score change places when
    the groups choose theirs."""
    return [value for name, value in net.named_parameters() if name.startswith("group_encoder.") and value.dim() == 2]


def measure(net: GTPT, data: Path, labels: Skeleton, out: Path) -> tuple[dict[str, Any], Calibration]:
    """Figures with ground-truth boxes, and the calibration of the score."""
    annotations, figures = data / "annotations.json", {}
    # the score is calibrated on what the last run finds
    runs = {"pruned, flip test": (True, None), "entire": (False, "entire"), "pruned": (False, None)}
    for name, (flip, rates) in runs.items():
        report, persons, found = evaluate_network(net, annotations, data, skeleton=labels, flip_test=flip, keep_rates=rates)
        joints, mean = pck(found.keypoints, persons.keypoints, persons.visible, persons.boxes[:, 2:].max(axis=1), 0.1)
        figures[name] = {k: round(report.figures["body"][k], 4) for k in PROGRESS} | {
            "PCK@0.1 of the box": round(float(mean), 4),
            **{n: round(float(v), 3) for n, v in zip(labels.keypoints, joints, strict=True)},
        }
    photo_of = {image["id"]: image.get("source_image_id", image["id"]) for image in read_json(annotations)["images"]}
    photos = np.unique([photo_of[i] for i in persons.image_ids], return_inverse=True)[1]
    halves = [photos % 2 == parity for parity in (0, 1)]
    fit, (raw, hit) = (judge(Estimates(*(v[h] for v in found)), persons.select(h), labels.sigmas) for h in halves)
    calibration = fit_isotonic(*fit)
    figures["calibration, on the other half"] = {
        "keypoints": len(raw),
        "correct": round(float(hit.mean()), 4),
        "ECE of the raw score": round(expected_calibration_error(np.clip(raw, 0, 1), hit), 4),
        "ECE of the calibrated score": round(expected_calibration_error(calibration(raw), hit), 4),
    }
    draw_reliability(np.clip(raw, 0, 1), calibration(raw), hit, out / "reliability.png")
    return figures, calibration


def draw_reliability(raw: np.ndarray, calibrated: np.ndarray, correct: np.ndarray, path: Path) -> None:
    """Reliability diagram before and after: share of right keypoints over the score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), dpi=100, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    zoomed = axes[0].inset_axes((0.33, 0.12, 0.62, 0.5))  # the raw scores all lie in the first bar or two
    panels = (axes[0], "raw score", raw, 1), (axes[1], "calibrated score", calibrated, 1), (zoomed, "", raw, raw.max())
    for ax, title, scores, top in panels:
        bins = reliability(scores / top, correct, 15)
        ax.bar(bins.edges[:-1] * top, bins.accuracy, top / 15 * 0.92, align="edge", color="#0072b2")
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=0)
        ax.set(xlim=(0, top), ylim=(0, 1), title=title)
    for ax in axes:
        ax.set(aspect="equal", xlabel="score")
    axes[0].set_ylabel("share of keypoints that are right")
    zoomed.set_title("the same, enlarged", fontsize="medium")
    figure.savefig(path)


def write_files(net: GTPT, stem: str, extra: dict[str, Any], folders: dict[str, Path]) -> dict[str, Path]:
    """A file of each format in its folder, all with the same weights in half precision."""
    files = {kind: folder / f"{stem}.{kind}" for kind, folder in folders.items()}
    export_onnx(net, files["onnx"], extra=extra)
    graph = onnx.load(files["onnx"])
    properties = {p.key: p.value for p in graph.metadata_props if p.key != "sha256"}
    store_half(graph, exact=True)
    onnx.helper.set_model_props(graph, properties)
    onnx.save(graph, files["onnx"])
    seal(files["onnx"])
    half = copy.deepcopy(net)
    for value in halved(half):
        value.data = value.data.half()
    save(half, files["safetensors"], extra)
    return files


def compare(a: GTPT, b: GTPT, crops: np.ndarray) -> str:
    """How far two networks place keypoints apart, in crop pixels."""
    from gtpt.core import simcc

    points = [simcc.decode(*torch_network(net)(crops), a.config.simcc_split)[0] for net in (a, b)]
    distance = np.linalg.norm(points[0] - points[1], axis=-1)
    far = (distance > 1).sum()
    mean, largest = distance.mean(), distance.max()
    found = f"{distance.size} keypoints, mean {mean:.4f} px, largest {largest:.1f} px, {far} by more than 1 px"
    if mean > 0.05 or far > distance.size / 1000:
        raise SystemExit(f"half precision moves keypoints too far: {found}")
    return found


def register(name: str, net: GTPT, files: dict[str, Path]) -> None:
    """Write name, sha256 and length into the registry, keeping its comments."""
    path = WEIGHTS / "registry.yaml"
    entry = {
        "task": "pose",
        "skeleton": net.skeleton.name,
        "size": net.config.name.removeprefix("gtpt-").upper(),
        "licence": "Apache-2.0",
        "card": f"cards/{name}.md",
        "files": {
            kind: {"name": f.name, "sha256": hashlib.sha256(f.read_bytes()).hexdigest(), "bytes": f.stat().st_size}
            for kind, f in files.items()
        },
    }
    lines = path.read_text().split("\n")
    start = next((i for i, line in enumerate(lines) if line == f"{name}:"), None)
    if start is not None:  # replace the old entry
        end = next((i for i in range(start + 1, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
        del lines[start:end]
    text = "\n".join(lines).rstrip() + "\n\n" + yaml.safe_dump({name: entry}, sort_keys=False)
    path.write_text(text)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    torch.set_num_threads(2)
    main()
