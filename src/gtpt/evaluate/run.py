"""Run a network over a data set and measure it: the official test, with ground-truth or detector boxes."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gtpt.core import simcc
from gtpt.core.errors import InputError
from gtpt.core.geometry import boxes_to_crops, invert_affine, mirror_crops, transform_points
from gtpt.core.numbers import to_json_text
from gtpt.core.progress import Progress
from gtpt.core.skeleton import Skeleton, load_skeleton
from gtpt.data.annotations import Annotations, read_annotations
from gtpt.data.coco import Persons, open_stores, read_coco, read_detections
from gtpt.data.dataset import CropDataset
from gtpt.engines import Engine, open_engine
from gtpt.engines.base import Crops2SimCC
from gtpt.engines.torch import check_torch_device, torch_network
from gtpt.evaluate.coco import check_ground_truth, evaluate_coco
from gtpt.evaluate.collect import official_results
from gtpt.evaluate.report import Protocol, Report
from gtpt.io.formats.file import naming_errors, write_whole

if TYPE_CHECKING:
    from gtpt.model.config import GTPTConfig
    from gtpt.model.network import GTPT


CPU_BATCH, GPU_BATCH = 16, 64  # on a CPU larger ones wait for the memory allocator, half of the time


class Estimates(NamedTuple):
    """Keypoints of N persons: (N, K, 2) float32 image pixels, and (N, K) float32 raw scores."""

    keypoints: np.ndarray
    raw_scores: np.ndarray


def estimate(
    network: Crops2SimCC,
    dataset: CropDataset,
    *,
    split: float,
    flip_test: bool = True,
    batch_size: int = 64,
    progress: Progress = iter,
) -> Estimates:
    """Poses of every person of a data set.

    Args:
        network: RGB uint8 crops (B, H, W, 3) to x and y logits.
        dataset: test-time crops.
        split: SimCC bins per pixel of the network.
        flip_test: average the logits with those of the mirrored crops.
        batch_size: crops per call of `network`.
        progress: wraps the iterable of batches, e.g. a progress bar.
    """
    _, first, image = np.unique(dataset.persons.image_ids, return_index=True, return_inverse=True)
    order = np.argsort(first[image], kind="stable")  # image by image, so that each is decoded once
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    joints = len(dataset.skeleton)
    keypoints, scores = np.zeros((len(dataset), joints, 2), np.float32), np.zeros((len(dataset), joints), np.float32)
    for batch in progress(batches):
        items = [dataset[0, int(i)] for i in batch]
        crops, affine = np.stack([i["crop"] for i in items]), np.stack([i["affine"] for i in items])
        logits = network(crops)
        if flip_test:
            logits = simcc.fuse_flip(logits, network(mirror_crops(crops)), dataset.skeleton.flip_index, split)
        points, scores[batch] = simcc.decode(*logits, split)
        keypoints[batch] = transform_points(points, invert_affine(affine))
    return Estimates(keypoints, scores)


def test(
    checkpoint: str | Path,
    annotations: str | Path,
    images: str | Path,
    *,
    boxes: str | Path | None = None,
    skeleton: str | Path | None = None,
    branch: str = "ema",
    flip: bool = True,
    keep_rates: Sequence[float] | str | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    engine: str | None = None,
    precision: str = "float32",
    threads: int | None = None,
    out: str | Path | None = None,
    expected: tuple[str, str, tuple[int, int]] | None = None,
    progress: Progress = iter,
) -> Report:
    """Measure a checkpoint by the official protocol; the same as `gtpt test`.

    Args:
        checkpoint: registered name, *.safetensors, an authors' *.pth, or an exported *.onnx. Of a name, the CPU runs the
            exported file, which is the faster one, unless `keep_rates` or engine="torch" asks for the network itself.
        annotations, images, boxes, batch_size, progress: see `evaluate_network`.
        skeleton: likewise, as a built-in name or a YAML file.
        branch: of an authors' file, "ema" or "live".
        flip: average with the mirrored crops.
        keep_rates: of a network in PyTorch, see `GTPTConfig.choose_keep_rates`; an exported file has its own.
        device: "cpu", "cuda" or "cuda:1"; one that is not there is an error.
        engine, precision: of an exported file, see `gtpt.engines.open_engine`.
        threads: of the CPU; None leaves the number to the engine.
        out: see `evaluate_network`.
        expected: name, skeleton and input size (width, height) that the network must have, such as those of an experiment.

    Raises:
        FileNotFoundError, ValueError, ImportError: files or settings that cannot work together.
    """
    from gtpt.weights import resolve

    exported = device == "cpu" and keep_rates is None and engine != "torch"
    path = resolve(checkpoint, format="onnx" if exported else "safetensors", task="pose")
    network: GTPT | Engine
    if path.suffix == ".onnx":
        network = open_engine(path, engine, device=device, threads=threads, precision=precision)
    elif engine not in (None, "torch") or precision != "float32":
        raise InputError(f"engine and precision are for exported *.onnx files, not {path.name}")
    else:
        network = _load(path, branch, device, threads)
    _, config, its, _ = _subject(network, None)
    if expected not in (None, found := (config.name, its.name, config.input_size)):
        raise InputError(
            f"{checkpoint} is another network than the experiment's: {found} instead of {expected}; give its own "
            f"experiment (--cfg), or the data alone (--annotations, --images)"
        )
    return evaluate_network(
        network,
        annotations,
        images,
        boxes=boxes,
        skeleton=load_skeleton(skeleton) if skeleton else None,
        flip_test=flip,
        keep_rates=keep_rates,
        batch_size=batch_size or (CPU_BATCH if device == "cpu" else GPU_BATCH),
        out=out,
        progress=progress,
    ).report


def check_writable(path: Path) -> None:
    """OutputError now, rather than after the work."""
    with naming_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "there is a folder of that name")
        TemporaryFile(dir=path.parent).close()


def _load(path: Path, branch: str, device: str, threads: int | None) -> GTPT:
    check_torch_device(device)
    import torch

    from gtpt.model.official import load_any

    if threads is not None:
        torch.set_num_threads(threads)

    if path.suffix == ".ckpt":
        raise InputError(f"{path} is for resuming a training; measure best.safetensors or final.safetensors beside it")
    return load_any(path, branch).to(device)  # type: ignore[arg-type]


class Evaluation(NamedTuple):
    """The figures, and what they come from: the persons and their estimates, row for row."""

    report: Report
    persons: Persons
    found: Estimates


def evaluate_network(
    network: GTPT | Engine,
    annotations: str | Path | Annotations,
    images: str | Path,
    *,
    boxes: str | Path | None = None,
    skeleton: Skeleton | None = None,
    flip_test: bool = True,
    keep_rates: Sequence[float] | str | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    progress: Progress = iter,
) -> Evaluation:
    """COCO figures of a network by the official protocol: rescoring, OKS NMS, flip test.

    Args:
        network: a module with its skeleton, or an exported file as its engine runs it (what a precision costs in AP).
        annotations: COCO ground truth, a file, a member of a zip, or what was read already.
        images: folder or zip of the images.
        boxes: detections in COCO results form; None uses the ground-truth boxes.
        skeleton: of the annotations, if it is not the network's, which must have all of its keypoints, by name: only these
            are measured. So a whole-body network is measured on people of whom only the body is labelled.
        flip_test, progress: see `estimate`.
        keep_rates: of a module, see `GTPT.forward`.
        batch_size: crops at once; None: 16 on a CPU, 64 on a GPU. An engine of a fixed batch size is filled up to its own.
        out: a *.json for the COCO results that are measured, as the servers of COCO take them.

    Raises:
        ValueError: a module without a skeleton, keypoints that it lacks, or keep rates for an exported file.
        OutputError: `out` cannot be written; said before the work.
    """
    if out is not None:
        check_writable(Path(out))
    crops2simcc, config, its, label = _subject(network, keep_rates)
    measured = skeleton or its
    truth = read_annotations(annotations)
    check_ground_truth(truth, measured)  # and the files: before the network runs, not after
    dataset = evaluation_set(truth, images, boxes, its, config.input_size, measured)
    dataset.require_files()
    found = estimate(
        crops2simcc,
        dataset,
        split=config.simcc_split,
        flip_test=flip_test,
        batch_size=getattr(network, "batch", None) or batch_size or _batch_of(network),
        progress=progress,
    )
    _, places = measured.shared_with(its)
    found = Estimates(found.keypoints[:, places], found.raw_scores[:, places])
    persons = dataset.persons.in_skeleton(its, measured)
    results = results_of(persons, found, measured.sigmas, config.input_size, truth.person_category())
    if out is not None:
        write_whole(Path(out), to_json_text(results).encode())
    protocol = Protocol(
        network=f"{config.name} {its.name}, {label}",
        boxes=Path(boxes).name if boxes else "ground truth",
        flip_test=flip_test,
        input_size=config.input_size,
    )
    return Evaluation(evaluate_coco(truth, results, measured, protocol=protocol), persons, found)


def _batch_of(network: GTPT | Engine) -> int:
    if isinstance(network, Engine):
        return CPU_BATCH
    return CPU_BATCH if next(network.parameters()).device.type == "cpu" else GPU_BATCH


def _subject(
    network: GTPT | Engine, keep_rates: Sequence[float] | str | None
) -> tuple[Crops2SimCC, GTPTConfig, Skeleton, str]:
    """What is measured as a function, its configuration and skeleton, and a label for the report."""
    if isinstance(network, Engine):
        if keep_rates is not None:
            raise InputError("an exported file always prunes, at the rates it has: measure its *.safetensors for others")
        return network, network.info.config, network.info.skeleton, type(network).__name__
    if network.skeleton is None:
        raise InputError("this network has no skeleton; set net.skeleton")
    label = f"keep rates {network.config.choose_keep_rates(keep_rates)}"
    return torch_network(network, keep_rates), network.config, network.skeleton, label


def evaluation_set(
    annotations: str | Path | Annotations,
    images: str | Path,
    boxes: str | Path | None,
    skeleton: Skeleton,
    input_size: tuple[int, int],
    labels: Skeleton | None = None,
) -> CropDataset:
    """Test-time crops of people, with the keypoints of `skeleton`; the annotations have those of `labels`."""
    labels = labels or skeleton
    if lacking := [name for name in labels.keypoints if name not in skeleton.keypoints]:
        raise InputError(
            f"skeleton {labels.name!r} has {', '.join(lacking)}, which a network of {skeleton.name!r} does not find: "
            f"measure it on keypoints that it finds"
        )
    persons = read_detections(boxes, annotations, labels) if boxes else read_coco(annotations, labels)
    return CropDataset(persons.in_skeleton(labels, skeleton), open_stores([images]), skeleton, input_size)


def results_of(
    persons: Persons, found: Estimates, sigmas: np.ndarray, input_size: tuple[int, int], category_id: int | str = 1
) -> list[dict[str, Any]]:
    """COCO results of estimated persons."""
    return official_results(
        persons.image_ids,
        found.keypoints,
        found.raw_scores,
        box_scores=persons.scores,
        sizes=boxes_to_crops(persons.boxes, input_size[0] / input_size[1])[1],
        sigmas=sigmas,
        category_id=category_id,
    )
