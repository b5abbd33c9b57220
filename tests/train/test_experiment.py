"""Experiment files: what is wrong is said before any work starts, with the key and what is allowed."""

from pathlib import Path

import pytest
import yaml

from gtpt.data.augment import AugmentConfig
from gtpt.data.config import DataConfig, Source, TrainSource
from gtpt.train.config import Experiment, _keys_beside, load_experiment

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "mine.yaml"
        path.write_bytes(text.encode(errors="surrogatepass"))
        return path

    return make


def test_defaults_are_the_official_recipe(write):
    experiment = load_experiment(write(""))
    train, augment = experiment.train, experiment.data.augment
    assert (train.epochs, train.batch_size, train.lr, train.optimizer) == (300, 64, 1e-3, "adam")
    assert (train.milestones, train.ema, train.seed, train.weight_decay) == ((200, 260), "official", 42, 0)
    assert (train.passes, train.guidance, train.convolutions, train.precision) == ("both", 0, "official", "32")
    assert (augment.half_body, augment.scale, augment.rotation, augment.rotation_chance) == (0.3, 0.35, 45, 0.6)
    assert augment.color == augment.cutout == augment.blur == augment.shift == 0 and augment.flip == 0.5
    assert experiment.out == Path("runs/mine")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_shipped_files(path):
    experiment = load_experiment(path)
    assert Experiment.model_validate(yaml.safe_load(yaml.safe_dump(experiment.model_dump(mode="json")))) == experiment
    if path.parent.name.startswith("coco"):
        assert experiment.train.devices * experiment.train.batch_size == 256
        official = load_experiment(path, ["train.devices=1", "train.accelerator=auto"]).train
        assert official == type(official)()  # nothing but the defaults


def test_shipped_files_do_not_share_a_folder():
    outs = [load_experiment(path).out for path in CONFIGS]
    assert len(set(outs)) == len(outs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: {}", r"unknown key 'modle': did you mean 'model'\? known here: out, model, data, train"),
        ("train: {learning_rate: 1}", r"unknown key 'train\.learning_rate': .*lr, weight_decay"),
        ("data: {augment: {flipp: 1}}", r"data\.augment\.flipp': did you mean 'flip'"),
        ("data: {train: [{annotation: a, images: b}]}", r"data\.train\.0\.annotation': did you mean 'annotations'"),
        ("data: {val: {annotations: a, picture: c}}", r"data\.val\.picture'.*\n?.*known here: annotations, images"),
        ("model: {name: gtpt-x}", r"model\.name: .*'gtpt-t', 'gtpt-s' or 'gtpt-b', got 'gtpt-x'"),
        ("train: {lr: -1}", r"train\.lr: .*greater than 0, got -1"),
        ("train: {batch_size: 1}", r"train\.batch_size: .*greater than or equal to 2"),
        ("train: {ema: 1.0}", r"train\.ema.*less than 1"),
        ("train: {epochs: many}", r"train\.epochs: .*valid integer.*'many'"),
        ("train: {seed: -1}", r"train\.seed"),
        ("- 1\n- 2", "an experiment is a mapping"),
        ("train: [", "is not YAML"),
        ("\ud800", "is not YAML: .*invalid"),
    ],
)
def test_mistakes_are_named(write, text, message):
    with pytest.raises(ValueError, match=message) as error:
        load_experiment(write(text))
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("location", "known"),
    [
        (("x",), list(Experiment.model_fields)),
        (("data", "x"), list(DataConfig.model_fields)),
        (("data", "train", 0, "x"), list(TrainSource.model_fields)),  # a tuple[TrainSource, ...]
        (("data", "val", "x"), list(Source.model_fields)),  # a Source | None
        (("data", "augment", "x"), list(AugmentConfig.model_fields)),
    ],
)
def test_keys_of_a_section(monkeypatch, location, known):
    """Also in Python 3.10, where a tuple[...] passes for a class until `issubclass` looks at it."""
    assert _keys_beside(location) == known
    monkeypatch.setattr(
        "gtpt.train.config.isinstance", lambda t, kind: isinstance(getattr(t, "__origin__", t), kind), raising=False
    )
    assert _keys_beside(location) == known


@pytest.mark.parametrize(("given", "precision"), [("32", "32"), ("'32'", "32"), ("bf16", "bf16")])
def test_precision_may_be_a_number(write, given, precision):
    path = write(f"train: {{precision: {given}}}")
    assert load_experiment(path).train.precision == precision
    assert load_experiment(path, [f"train.precision={given}"]).train.precision == precision
    for wrong in ("16", "true", "32.0"):
        with pytest.raises(ValueError, match=r"train\.precision: .*'32' or 'bf16'"):
            load_experiment(path, [f"train.precision={wrong}"])


def test_all_mistakes_at_once(write):
    with pytest.raises(ValueError) as error:
        load_experiment(write("train: {lr: 0, epochs: 0}\ndatas: 1"))
    assert all(key in str(error.value) for key in ("train.lr", "train.epochs", "datas"))


def test_overrides(write):
    path = write("train:\n  lr: 0.01\ndata:\n")  # an empty section is one with defaults
    overrides = ["train.lr=1e-4", "model.input_size=[96, 128]", "data.augment.flip=0", "out=x/y", "data.val=null"]
    experiment = load_experiment(path, overrides)
    assert experiment.train.lr == 1e-4 and experiment.model.input_size == (96, 128)
    assert experiment.data.augment.flip == 0 and experiment.out == Path("x/y") and experiment.data.val is None
    for wrong, message in (
        ("train.lr", "must look like"),
        ("=3", "must look like"),
        ("train.lr.x=3", "'lr' is no section"),
        ("train.lr=[1", "the value is not YAML"),
        ("train.lrr=3", "did you mean 'lr'"),
    ):
        with pytest.raises(ValueError, match=message):
            load_experiment(path, [wrong])
    with pytest.raises(FileNotFoundError, match="no configuration at"):
        load_experiment(path.with_name("other.yaml"))
