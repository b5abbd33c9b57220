"""Weights that ship can be trained on: norms are alive, and a short training helps instead of starting from ruins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gtpt import PoseEstimator, read_image
from gtpt.core.geometry import affine_matrices, boxes_to_crops, crop
from gtpt.detect import load_boxes
from gtpt.weights import load_registry, resolve

torch = pytest.importorskip("torch")
PHOTOS = Path(__file__).parents[2] / "examples/photos"
TRAINABLE = [name for name, entry in load_registry().items() if entry.task == "pose" and "safetensors" in entry.files]


@pytest.mark.parametrize("name", TRAINABLE)
def test_training_begins_where_evaluation_ends(name: str) -> None:
    """The loss on poses that the network itself finds, in training mode, is near that in evaluation."""
    from gtpt.data.dataset import Collate
    from gtpt.model import load
    from gtpt.model.network import normalize
    from gtpt.train.loss import global_perceived_loss

    net = load(resolve(name, format="safetensors"))
    size, split = net.config.input_size, net.config.simcc_split
    names = sorted(p.name for p in PHOTOS.glob("*.jpg"))
    images = [read_image(PHOTOS / n) for n in names]
    boxes = [d.boxes for d in load_boxes(PHOTOS / "boxes.csv")(images, names)]
    items = []
    for image, poses in zip(images, PoseEstimator(resolve(name, format="safetensors"))(images, boxes), strict=True):
        for box, joints in zip(poses.boxes, poses.keypoints, strict=True):
            xywh = np.array([[*box[:2], *(box[2:] - box[:2])]])
            for angle in range(-24, 25, 6):  # a batch as varied as those of training
                affine = affine_matrices(*boxes_to_crops(xywh, size[0] / size[1]), size, float(angle))[0]
                place = joints @ affine[:, :2].T + affine[:, 2]
                items.append(
                    {"crop": crop(image, affine, size), "joints": place, "visible": np.ones(len(joints), np.float32)}
                )
    batch = Collate(size, split, 8.0)(items)

    def loss() -> float:
        with torch.no_grad():
            x, y = net(normalize(batch["crop"]))
        targets = (batch["target_x"], batch["target_y"])
        return global_perceived_loss((x, y), None, targets, batch["weight"]).total.item()

    evaluated = loss()
    net.train()
    trained = loss()
    assert trained < 1.5 * evaluated, "norms of the training mode do not fit the weights"


@pytest.mark.integration
@pytest.mark.parametrize("name", TRAINABLE)
def test_fifty_steps_on_its_own_data_do_not_hurt(name: str, shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    from gtpt.evaluate.run import evaluate_network
    from gtpt.model import load
    from gtpt.train import train
    from gtpt.train.config import Experiment

    path = resolve(name, format="safetensors")
    config = load(path).config
    sample = shared / "data/coco_sample"
    people = {
        "annotations": sample / "annotations/person_keypoints_val2017.json",
        "images": sample / "images/val2017",
    }
    setup = {
        "out": tmp_path,
        "model": {"name": config.name, "input_size": config.input_size, "simcc_split": config.simcc_split},
        "data": {"train": [people], "cache": True, "workers": 0},
        "train": {"init": path, "epochs": 9, "batch_size": 7, "passes": "pruned", "lr": 2e-4, "sigma": 8, "ema": 0.9,
                  "optimizer": "adamw", "validate_every": 0, "accelerator": "cpu", "schedule": "cosine"},
    }  # fmt: skip
    before = evaluate_network(load(path), **people, flip_test=False).report.ap
    best = train(Experiment.model_validate(setup), progress=False)
    after = evaluate_network(load(best), **people, flip_test=False).report.ap
    assert after >= before
