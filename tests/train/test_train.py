"""`train` as a whole: it learns, on one process or two, and says early what cannot work."""

import json
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gtpt import PoseEstimator
from gtpt.core.calibration import Calibration
from gtpt.core.errors import InputError
from gtpt.evaluate import fit_isotonic, judge
from gtpt.evaluate.run import evaluate_network
from gtpt.evaluate.run import test as evaluate
from gtpt.model import build, load, save
from gtpt.model.checkpoint import read_header
from gtpt.train.checkpoints import BEST, LAST, CheckpointKeeper
from gtpt.train.config import load_experiment
from gtpt.train.module import PoseTraining
from gtpt.train.run import _alone_in, train, training_set

from . import frozen_norms

pytestmark = pytest.mark.integration


def gradients(out: Path) -> list[np.ndarray]:
    """Of the first step, from Adam's first moment, which is a tenth of them."""
    state = torch.load(out / LAST, weights_only=True)["optimizer_states"][0]["state"]
    return [state[i]["exp_avg"].numpy() * 10 for i in sorted(state)]


def torchrun(nodes: int, *arguments: str) -> list[str]:
    """One process on each of several machines, all of which are this one: what stderr of each says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", "--nproc-per-node=1"),
                *(f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}", *arguments),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(nodes)
    ]
    said = [agent.communicate(timeout=300)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * nodes, "\n".join(said)
    return said


@pytest.mark.parametrize("how", ["devices", "nodes"])
def test_two_processes_make_the_step_of_one(how, experiment_file, figures, tmp_path):
    """Two processes with two persons each have the mean gradient of one with four; see frozen_norms.py on BatchNorm."""
    annotations = json.loads((figures / "annotations.json").read_text())
    annotations["annotations"] = annotations["annotations"][:4]
    (tmp_path / "four.json").write_text(json.dumps(annotations))
    source = f"[{{annotations: {tmp_path / 'four.json'}, images: {figures / 'images'}}}]"
    common = [str(experiment_file), f"data.train={source}", "data.val=null", "train.epochs=1"]
    both = [*common, f"train.{how}=2", "train.batch_size=2", f"out={tmp_path / 'two'}"]
    if how == "nodes":
        torchrun(2, frozen_norms.__file__, *both)
    else:
        done = subprocess.run([sys.executable, frozen_norms.__file__, *both], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    frozen_norms.train_fixed(*common, f"out={tmp_path / 'one'}")
    one, two = gradients(tmp_path / "one"), gradients(tmp_path / "two")
    size = np.sqrt(np.mean([np.square(g).mean() for g in one]))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * size)
    assert read_header(tmp_path / "one/final.safetensors")["step"] == 1
    assert read_header(tmp_path / "two/final.safetensors")["step"] == 1  # not 2: they shared the persons
    alone = load_experiment(experiment_file, [*common[1:], "train.epochs=2", f"out={tmp_path / 'two'}"])
    with pytest.raises(ValueError, match=r"made with 2 x 2 persons in a step .*, these settings give 1 x 4"):
        train(alone, progress=False)


@pytest.mark.parametrize(
    ("started", "settings", "message"),
    [
        ({}, ["train.nodes=2"], r"start the command on each machine"),
        ((8, 16), ["train.nodes=2"], r"8 processes on each of 2 machines.*give train\.devices=8 train\.nodes=2"),
        ((1, 2), [], r"1 processes on each of 2 machines.*train\.devices=1 train\.nodes=2"),
    ],
)
def test_processes_that_nobody_started_are_not_waited_for(started, settings, message, experiment, monkeypatch):
    if started:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(started[0]))
        monkeypatch.setenv("WORLD_SIZE", str(started[1]))
    with pytest.raises(ValueError, match=message):
        train(experiment(*settings), progress=False)


def test_machines_that_see_different_folders_are_refused(experiment):
    module = PoseTraining(build("gtpt-t", input_size=(48, 64)), experiment().train, None)
    answers = {False: True, True: False}  # some have a checkpoint, not all
    strategy = SimpleNamespace(reduce_boolean_decision=lambda _, **how: answers[how["all"]])
    module._trainer = SimpleNamespace(strategy=strategy, ckpt_path=None)
    with pytest.raises(ValueError, match="a disk that all of them share"):
        module.setup("fit")


def test_two_passes_share_the_tokens(experiment):
    """Both passes learn, and the loss is the sum of its parts."""
    setup = experiment("train.guidance=0")
    dataset = training_set(setup)
    torch.manual_seed(0)
    module = PoseTraining(build("gtpt-t", input_size=(48, 64)), setup.train, dataset)
    batch = next(iter(make_loader(dataset)))
    loss = module.losses(batch)
    torch.testing.assert_close(loss.total, loss.entire + loss.pruned + loss.distill)
    alone = {}
    for passes in ("pruned", "entire"):
        module.config = setup.train.model_copy(update={"passes": passes})
        module.eval()
        alone[passes] = module.losses(batch).total.item()
    module.config = setup.train
    together = module.losses(batch)
    assert together.pruned.item() == pytest.approx(alone["pruned"], rel=1e-5)
    assert together.entire.item() == pytest.approx(alone["entire"], rel=1e-5)
    module.config = setup.train.model_copy(update={"guidance": 0.01})
    assert module.losses(batch).total > together.total


def test_random_keep_rates_follow_seed_and_step(experiment, monkeypatch):
    """Each step has rates of its own between those of the model and 1, and the same again after a resume."""
    setup = experiment("train.keep_rates=random")
    dataset = training_set(setup)
    module = PoseTraining(build("gtpt-t", input_size=(48, 64)), setup.train, dataset)
    lowest, used, encode = module.net.config.keep_rates, [], module.net.encode
    monkeypatch.setattr(module.net, "encode", lambda tokens, rates: used.append(rates) or encode(tokens, rates))
    batch = next(iter(make_loader(dataset)))
    for step in (0, 1, 2, 1):
        monkeypatch.setattr(PoseTraining, "global_step", step)
        module.losses(batch)
    pruned = used[::2]
    assert set(used[1::2]) == {"entire"} and pruned[1] == pruned[3] and len(set(pruned)) == 3
    for rates in pruned:
        module.net.config.check_keep_rates(rates)
        assert all(low <= rate <= 1 for low, rate in zip(lowest, rates, strict=True)) and rates != lowest
    module.config = setup.train.model_copy(update={"seed": setup.train.seed + 1})
    assert module._keep_rates() not in pruned
    module.config = setup.train.model_copy(update={"keep_rates": "fixed"})
    assert module._keep_rates() == lowest


@pytest.mark.parametrize("passes", ["pruned", "entire"])
def test_a_single_pass_is_logged_under_its_name(experiment, passes):
    setup = experiment(f"train.passes={passes}", "train.epochs=1", "train.log_every=1")
    train(setup, progress=False)
    header, *rows = (line.split(",") for line in (setup.out / "logs/run0/metrics.csv").read_text().splitlines())
    assert [name for name in header if name.startswith("loss/")] == [f"loss/{passes}"]
    part, total = header.index(f"loss/{passes}"), header.index("loss")
    assert all(float(row[part]) == pytest.approx(float(row[total])) for row in rows)


def test_dense_heads_learn_and_are_not_kept(experiment):
    """They have gradients of their own, change the stem's, and the weights that are saved do not know of them."""
    setup = experiment("train.dense=0.002", "train.epochs=1", "train.sigma=8")
    module = PoseTraining(build("gtpt-t", input_size=(48, 64)), setup.train, training_set(setup))
    batch = next(iter(make_loader(module.dataset)))
    total = module.losses(batch).total
    total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.dense.parameters())
    module.dense.from_tokens.bias.data[:1] += 100  # shouts a wrong answer
    assert module.losses(batch).total > total
    saved = load(train(setup, progress=False)).state_dict()
    assert not [name for name in saved if "from_" in name] and len(saved) == len(module.net.state_dict())


def make_loader(dataset):
    from torch.utils.data import DataLoader

    from gtpt.data.dataset import Collate, EpochBatches

    return DataLoader(dataset, batch_sampler=EpochBatches(len(dataset), 4), collate_fn=Collate((48, 64), 2.0))


def test_bf16(experiment):
    """Weights and average stay float32 and finite."""
    net = load(train(experiment("train.precision=bf16", "train.epochs=1"), progress=False))
    assert all(v.dtype != torch.bfloat16 and torch.isfinite(v.float()).all() for v in net.state_dict().values())


def test_clipping(experiment, tmp_path):
    options = ("train.epochs=1", "train.batch_size=14")
    sizes = {}
    for clip in (0, 1e-6):
        setup = experiment(*options, f"train.clip={clip}", f"out={tmp_path / str(clip)}")
        train(setup, progress=False)
        sizes[clip] = np.sqrt(sum(np.square(g).sum() for g in gradients(setup.out)))
    assert sizes[0] > 1e-5 and sizes[1e-6] == pytest.approx(1e-6, rel=1e-2)


def test_tiny_numbers_are_flushed(experiment, monkeypatch):
    halves = []
    monkeypatch.setattr(
        CheckpointKeeper, "on_train_batch_end", lambda *_: halves.append(torch.tensor([1e-39]).mul(0.5).item())
    )
    train(experiment("train.epochs=1"), progress=False)
    assert halves == [0.0] * 4


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named(experiment, figures, tmp_path, workers):
    """In one line, also where a loader process read it."""
    shutil.copytree(figures, tmp_path / "set")
    image = tmp_path / "set/images/009.png"
    image.write_bytes(image.read_bytes()[:100])
    source = f"[{{annotations: {tmp_path}/set/annotations.json, images: {tmp_path}/set/images}}]"
    with pytest.raises(ValueError, match=r"^cannot read image .*/009\.png: cut off, damaged or not an image.*$"):
        train(experiment(f"data.train={source}", f"data.workers={workers}"), progress=False)


def test_starts_from_other_weights(experiment, tmp_path):
    body = build("gtpt-t", input_size=(48, 64))
    with torch.no_grad():
        body.head_x[1].bias += 3
    save(body, tmp_path / "body.safetensors")
    options = (f"train.init={tmp_path / 'body.safetensors'}", "train.epochs=1", "train.lr=1e-9")
    net = load(train(experiment(*options), progress=False))
    torch.testing.assert_close(net.head_x[1].bias, body.head_x[1].bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["gtpt-s", "gtpt-b"])
def test_other_sizes_train(experiment, name):
    final = train(experiment(f"model.name={name}", "train.epochs=1", "train.validate_every=1"), progress=False)
    net = load(final)
    assert net.config.name == name and all(p.isfinite().all() for p in net.parameters())


def test_whole_body_from_body_weights(experiment, shared, tmp_path, caplog):
    """The paper's curriculum : 133 points start from a 17-point checkpoint, train, and are tested part by part."""
    save(build("gtpt-t", input_size=(108, 144)), tmp_path / "body.safetensors")
    sample = shared / "data" / "wholebody_sample"
    annotations, images = sample / "annotations/coco_wholebody_val_v1.0.json", sample / "images/val2017"
    source = json.dumps({"annotations": str(annotations), "images": str(images)})
    setup = experiment(
        "model={name: gtpt-t, skeleton: coco_wholebody133, input_size: [108, 144], keep_rates: [1, 1, 1, 0.9]}",
        f"data.train=[{source}]",
        f"data.val={source}",
        f"train.init={tmp_path / 'body.safetensors'}",
        "train.epochs=1",
        "train.batch_size=8",
    )
    with caplog.at_level("INFO"):
        final = train(setup, progress=False)
    assert "left fresh: part_token, fine_keypoint_token" in caplog.text
    report = evaluate(final, annotations, images, flip=False)
    assert list(report.figures) == ["body", "foot", "face", "left_hand", "right_hand", "hand", "whole"]
    assert report.persons == 24


def test_validation_keeps_the_best(experiment):
    best = train(experiment("train.validate_every=2", "train.epochs=3"), progress=False)
    lines = [json.loads(line) for line in (best.parent / "validation.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]  # the last epoch is always measured
    header = read_header(best)
    assert best.name == BEST and header["AP"] == max(line["AP"] for line in lines)


def test_validation_calibrates_the_score(experiment, figures, tmp_path):
    """The table is fitted to the people that were measured, kept with the weights, and does not move what they find."""
    setup = experiment("train.validate_every=1", "train.epochs=1")
    best = train(setup, progress=False)
    table = read_header(best)["calibration"]
    assert min(table["calibrated"]) >= 0 and max(table["calibrated"]) <= 1
    estimator = PoseEstimator(best, engine="torch")
    assert estimator.calibration == Calibration.from_dict(table)
    assert read_header(best.with_name("final.safetensors"))["calibration"] == table  # of the same weights
    _, persons, found = evaluate_network(load(best), figures / "annotations.json", figures / "images")
    raw, right = judge(found, persons, estimator.skeleton.sigmas)
    assert estimator.calibration == fit_isotonic(raw, right)
    assert estimator.calibration(raw).mean() == pytest.approx(right.mean(), abs=0.01)

    rows = [{"image_id": i, "category_id": 7, "bbox": [10, 10, 50, 80], "score": 0.5} for i in range(14)]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    detected = experiment(
        "train.validate_every=1", "train.epochs=1", f"data.boxes={tmp_path / 'boxes.json'}", f"out={tmp_path / 'boxes'}"
    )
    assert "calibration" not in read_header(train(detected, progress=False))  # whose box is whose is not known


def test_validation_on_people_with_fewer_keypoints(experiment, figures, tmp_path):
    """A network of 23 points learns from labels of 17 and is measured on them; what it lacks is said at once."""
    source = {"annotations": str(figures / "annotations.json"), "images": str(figures / "images"), "skeleton": "coco17"}
    options = [f"data.train=[{json.dumps(source)}]", f"data.val={json.dumps(source)}", "train.validate_every=1"]
    feet = ("model.skeleton=coco_feet23", "model.keep_rates=[1, 1, 1, 1]", "train.epochs=1")
    best = train(experiment(*feet, *options), progress=False)
    (line,) = map(json.loads, (best.parent / "validation.jsonl").read_text().splitlines())
    report = evaluate(best, figures / "annotations.json", figures / "images", skeleton="coco17")
    assert line["AR"] == report.figures["body"]["AR"] and report.skeleton == "coco17"
    assert read_header(best)["calibration"]
    face = {"name": "face", "keypoints": ["nose", "left_eye", "right_eye"]}
    (tmp_path / "face.yaml").write_text(json.dumps(face))
    with pytest.raises(InputError, match=r"'coco17' has left_ear, .* which a network of 'face' does not find"):
        train(experiment(f"model.skeleton={tmp_path / 'face.yaml'}", *options, f"out={tmp_path / 'face'}"), progress=False)
    assert not (tmp_path / "face" / "last.ckpt").exists()


def test_what_cannot_work_is_said_before_work_starts(experiment, figures, tmp_path):
    image = {"annotations": str(figures / "annotations.json"), "images": str(tmp_path)}
    whole = "model.skeleton=coco_wholebody133"
    nobody = json.loads((figures / "annotations.json").read_text()) | {"annotations": []}
    (tmp_path / "nobody.json").write_text(json.dumps(nobody))
    for change, error, message in (
        ("data.train=[]", ValueError, "names no training data"),
        (f"data.train=[{image}]", FileNotFoundError, r"has no 000\.png, which .*annotations\.json names"),
        (f"data.val={image | {'images': 'nowhere'}}", FileNotFoundError, "nowhere"),
        (
            f"data.train=[{image | {'annotations': str(tmp_path / 'nobody.json')}}]",
            ValueError,
            "no usable person in .*nobody",
        ),
        (f"data.val={image}", FileNotFoundError, r"has no 000\.png, which .*annotations\.json names"),
        (f"data.val={image | {'annotations': str(tmp_path / 'nobody.json')}}", ValueError, "no person of the ground truth"),
        ("data.boxes=boxes.json", FileNotFoundError, r"boxes\.json"),
        (whole, ValueError, "annotation 1 has 17 keypoints, coco_wholebody133 has 133"),
        ("train.accelerator=gpu", ValueError, "PyTorch sees no GPU"),
        ("train.init=nothing.safetensors", FileNotFoundError, r"nothing\.safetensors"),
        ("model.input_size=[50, 64]", ValueError, "multiples of 12 and 16"),
    ):
        if "gpu" in change and torch.cuda.is_available():
            continue
        with pytest.raises(error, match=message):
            train(experiment(change), progress=False)
    assert not (experiment().out / LAST).exists()


@pytest.fixture(scope="module")
def real_crops(shared, tmp_path_factory) -> dict[str, str]:
    """Four large, fully labelled people of the crop archive, as a source."""
    archive = shared / "data" / "pose17_train_coco.zip"
    with zipfile.ZipFile(archive) as file:
        data = json.loads(file.read("annotations.json"))
    people = [a for a in data["annotations"] if min(a["keypoints"][2::3]) > 0 and a["area"] > 9000]
    data["annotations"] = people[:: len(people) // 4][:4]
    path = tmp_path_factory.mktemp("real") / "four.json"
    path.write_text(json.dumps(data))
    return {"annotations": str(path), "images": str(archive)}


def test_learns_real_people_by_heart(experiment, real_crops):
    """GTPT-T finds the joints of four people it was trained on: the whole path from file to AP, in 100 steps.

    Measured without the flip test, since it never saw anybody in a mirror. Untrained networks have an AP of 0.
    """
    final = train(
        experiment(
            "model.simcc_split=4",
            f"data.train={json.dumps([real_crops] * 5)}",
            "data.augment={half_body: 0, scale: 0, rotation_chance: 0, flip: 0}",
            "data.cache=true",
            "train.epochs=20",
            "train.optimizer=muon",
            "train.lr=0.004",
            "train.schedule=cosine",
            "train.warmup_steps=10",
            "train.ema=0.9",
            "train.guidance=0.004",
            "train.passes=pruned",
            "train.log_every=1",
        ),
        progress=False,
    )
    header, *rows = (line.split(",") for line in (final.parent / "logs/run0/metrics.csv").read_text().splitlines())
    losses = [float(row[header.index("loss")]) for row in rows if row[header.index("loss")]]
    assert len(losses) == 100 and losses[-1] < 0.4 * losses[0]
    report = evaluate_network(load(final), real_crops["annotations"], real_crops["images"], flip_test=False).report
    assert report.ap > 0.85


def test_two_trainings_in_one_folder(experiment):
    """The second one says so and changes nothing; when the first one is done, it goes on from there."""
    setup = experiment("train.epochs=1")
    with _alone_in(setup.out):
        with pytest.raises(ValueError, match=r"another training is running in .*out: .* set another `out=`"):
            train(setup, progress=False)
        assert [path.name for path in setup.out.iterdir()] == ["logs"]
    assert train(setup, progress=False).is_file()
