"""Proof of learning: a network is trained on a few real people until it knows them by heart.

python benchmarks/overfit.py --data ../shared/data/pose17_train_coco.zip
python benchmarks/overfit.py --data crops.zip --people 16 model.input_size=[96,128] train.epochs=60

The same code as `gtpt train`, from an experiment file, with augmentation off; AP is measured on the same people. A bug in
targets, geometry, loss or decoding shows as a ceiling well below 1. The last line says what it knows by heart; those before
are with the flip test, which is hard on a network that never saw anybody in a mirror.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zipfile
from pathlib import Path

import yaml

from gtpt.evaluate import test as measure
from gtpt.train import load_experiment, train
from gtpt.train.checkpoints import FINAL

RECIPE = {
    "model": {"name": "gtpt-t", "input_size": [192, 256]},
    "train": {
        "epochs": 60,
        "batch_size": 16,
        "passes": "pruned",
        "optimizer": "muon",
        "lr": 1e-3,
        "warmup_steps": 20,
        "schedule": "cosine",
        "ema": 0.95,
        "guidance": 0.004,
        "convolutions": "kaiming",
        "accelerator": "auto",
        "validate_every": 10,
        "log_every": 4,
    },
}
NO_AUGMENTATION = {"half_body": 0, "scale": 0, "rotation_chance": 0, "flip": 0}


def some_people(archive: Path, count: int, folder: Path) -> Path:
    """An annotation file of the largest fully labelled people of a crop archive."""
    with zipfile.ZipFile(archive) as file:
        data = json.loads(file.read("annotations.json"))
    people = [a for a in data["annotations"] if min(a["keypoints"][2::3]) > 0]
    data["annotations"] = sorted(people, key=lambda a: -a["area"])[:count]
    used = {a["image_id"] for a in data["annotations"]}
    data["images"] = [i for i in data["images"] if i["id"] in used]
    path = folder / "people.json"
    path.write_text(json.dumps(data))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="zip with annotations.json in COCO form and crops")
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--out", type=Path, help="keep the run here, and resume it")
    parser.add_argument("overrides", nargs="*", help="key=value, as of gtpt train")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        source = {"annotations": str(some_people(arguments.data, arguments.people, out)), "images": str(arguments.data)}
        data = {"train": [source], "val": source, "cache": True, "workers": 0, "augment": NO_AUGMENTATION}
        (out / "experiment.yaml").write_text(yaml.safe_dump({**RECIPE, "data": data, "out": str(out / "run")}))
        start = time.perf_counter()
        train(load_experiment(out / "experiment.yaml", arguments.overrides), progress=False)
        seconds = time.perf_counter() - start
        print("| step | AP | AP .75 |\n|---:|---:|---:|")
        for line in map(json.loads, (out / "run" / "validation.jsonl").read_text().splitlines()):
            print(f"| {line['step']} | {line['AP']:.3f} | {line['AP .75']:.3f} |")
        final = measure(out / "run" / FINAL, source["annotations"], source["images"], flip=False)
        print(f"\nAP at the end without flip test, as nothing was mirrored: {final.ap:.3f}; {seconds:.0f} s of training.")


if __name__ == "__main__":
    main()
