"""An experiment as one YAML file: unknown keys and impossible values are errors before any work starts."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from gtpt.core.errors import InputError
from gtpt.core.simcc import SIGMA
from gtpt.core.text import parse_yaml, read_yaml
from gtpt.data.config import DataConfig, Strict

Count = Annotated[int, Field(lt=2**31)]  # YAML has numbers of any length


class ModelConfig(Strict):
    """Which network.

    Attributes:
        name: "gtpt-t", "gtpt-s" or "gtpt-b".
        skeleton: built-in name or YAML file.
        input_size: width, height of the crops.
        simcc_split: bins per pixel.
        keep_rates: instead of the official ones of the skeleton.
    """

    name: Literal["gtpt-t", "gtpt-s", "gtpt-b"] = "gtpt-t"
    skeleton: str = "coco17"
    input_size: tuple[Count, Count] = (192, 256)
    simcc_split: float = Field(default=2.0, gt=0)
    keep_rates: tuple[float, float, float, float] | None = None


def _as_text(value: Any) -> Any:
    """In YAML, and so on the command line, 32 is a number."""
    return str(value) if type(value) is int else value


class TrainConfig(Strict):
    """How to learn; the defaults are the official recipe.

    Attributes:
        epochs: passes over the training set.
        batch_size: persons per process and step (official: 64 on each of 4 GPUs).
        passes: "both" (global perceived loss), or one pass alone, which is cheaper: "pruned", "entire".
        keep_rates: of the pruned pass: "fixed" (official) to those of the model, or "random" in each step between those and
            1, so that one network serves several.
        convolutions: "official" draws them tiny, N(0, 0.001), and it takes thousands of steps until they have grown;
            "kaiming" (ours) draws them at their usual size. Without effect on what `init` takes over.
        guidance: weight of a loss that shows keypoint tokens where to look (ours; 0 is official, 0.002 is about as strong
            as the rest); it shortens short trainings.
        dense: weight of a loss that reads keypoint maps straight from stem and visual tokens (ours; 0 is official, 0.002 is
            about as strong as the rest); its heads are not kept.
        teacher: share of a source's teacher in the targets of labelled keypoints (ours); keypoints without a label take the
            teacher's alone, where it is sure.
        sigma: of the Gaussian targets, in bins (official: 4); wider ones are easier for a young network.
        optimizer: "adam" (official), "adamw", or "muon" (orthogonalised steps for matrices, AdamW for the rest).
        lr, weight_decay: of the optimizer.
        clip: largest norm of the gradient; 0 for none (official).
        schedule: "steps" (official: x 0.1 at `milestones`, each one epoch early as in the official code) or "cosine".
        milestones: epochs, for "steps".
        warmup_steps: linear start of the learning rate.
        ema: "official" (momentum from 0.996 to 1 on a half cosine) or a constant momentum in (0, 1).
        precision: "32" (also as a number) or "bf16" (autocast).
        init: checkpoint to start from; what fits is taken over, also from 17 to 133 keypoints or another input size.
        seed: of weights, order and augmentation.
        accelerator, devices: "auto", "cpu" or "gpu", and how many in each machine.
        nodes: machines; torchrun or SLURM starts the command on each, see docs/training.md.
        validate_every: epochs between figures on `data.val`; 0 never.
        checkpoint_every: steps between resumable checkpoints (also one after each epoch).
        log_every: steps between log lines.
    """

    epochs: Count = Field(default=300, ge=1)
    batch_size: Count = Field(default=64, ge=2)
    passes: Literal["both", "pruned", "entire"] = "both"
    keep_rates: Literal["fixed", "random"] = "fixed"
    convolutions: Literal["official", "kaiming"] = "official"
    guidance: float = Field(default=0.0, ge=0)
    dense: float = Field(default=0.0, ge=0)
    teacher: float = Field(default=0.5, ge=0, le=1)
    sigma: float = Field(default=SIGMA, gt=0)
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=0.0, ge=0)
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: tuple[Count, ...] = (200, 260)
    warmup_steps: Count = Field(default=0, ge=0)
    ema: Literal["official"] | Annotated[float, Field(gt=0, lt=1)] = "official"
    precision: Annotated[Literal["32", "bf16"], BeforeValidator(_as_text)] = "32"
    init: Path | None = None
    seed: int = Field(default=42, ge=0, lt=2**32)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count = Field(default=1, ge=1)
    nodes: Count = Field(default=1, ge=1)
    validate_every: Count = Field(default=5, ge=0)
    checkpoint_every: Count = Field(default=1000, ge=1)
    log_every: Count = Field(default=50, ge=1)


class Experiment(Strict):
    """The whole file; `out` gets checkpoints, logs and the resolved configuration."""

    out: Path
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()


def load_experiment(path: str | Path, overrides: list[str] | None = None) -> Experiment:
    """Read a YAML file and apply `section.key=value` overrides (values are YAML too).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, an unknown key, a value that is not allowed, an override without "=".
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration at {path}")
    data = read_yaml(path) or {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: an experiment is a mapping with the keys {', '.join(Experiment.model_fields)}")
    data = {"out": f"runs/{path.stem}", **{key: value for key, value in data.items() if value is not None}}
    for override in overrides or ():
        _apply(data, override)
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise InputError(_explain(error, path)) from None


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise InputError(f"override {override!r} must look like train.lr=0.001")
    *parents, leaf = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise InputError(f"override {override!r}: {parent!r} is no section")
    data[leaf] = parse_yaml(value, f"override {override!r}: the value")


def _explain(error: ValidationError, path: Path) -> str:
    lines = [f"{path}:"]
    for problem in error.errors():
        where = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = _keys_beside(problem["loc"])
            near = get_close_matches(str(problem["loc"][-1]), known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            lines.append(f"  unknown key {where!r}: {hint}known here: {', '.join(known)}")
        else:
            lines.append(f"  {where}: {problem['msg']}, got {problem['input']!r:.60}")
    return "\n".join(lines)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section of an unknown key knows."""
    section: Any = Experiment
    for part in location[:-1]:
        kind = section.model_fields[part].annotation if isinstance(part, str) else section
        # In Python 3.10 tuple[int, ...] is an instance of type, and issubclass refuses it.
        plain = (t for t in (kind, *get_args(kind)) if get_origin(t) is None and isinstance(t, type))
        section = next(t for t in plain if issubclass(t, BaseModel))
    return list(section.model_fields)
