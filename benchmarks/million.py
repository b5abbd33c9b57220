"""What a million photos cost with `gtpt batch`, from some hundred: CPU hours, bytes read and written, photos per second.

    python benchmarks/million.py --photos 300 --workers 1 2

The photos are copies of the demo photos, each with one person, in a folder here. Beside `gtpt batch`, as many calls
of `gtpt predict --shard`, which share nothing, do the same work: what Ray costs is the difference. Start-up is left out of
both speeds, as a million photos pay it once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
GTPT = [sys.executable, "-c", "from gtpt.cli import main; main()"]
MILLION = 1_000_000


def copies(folder: Path, count: int) -> None:
    folder.mkdir()
    demo = sorted(PHOTOS.glob("*.jpg"))
    for i in range(count):
        shutil.copyfile(demo[i % len(demo)], folder / f"{i:06d}.jpg")


def batch(photos: Path, out: Path, workers: int, detector: str) -> dict[str, Any]:
    """Sums over the parts of a run."""
    command = [*GTPT, "batch", str(photos), str(out), "--workers", str(workers), "--detector", detector, "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = json.loads((out / "manifest.json").read_text())["parts"].values()
    return {name: sum(part[name] for part in parts) for name in ("images", "people", "cpu", "seconds", "read", "bytes")}


def processes(photos: Path, out: Path, count: int, detector: str) -> float:
    """Photos per second of so many calls of `gtpt predict` at once, start-up left out as well."""

    def start(folder: Path, *shard: str) -> subprocess.Popen[bytes]:
        options = ["-o", str(out), "--no-draw", "--threads", "1", "--detector", detector, "--json", *shard]
        return subprocess.Popen([*GTPT, "predict", str(folder), *options], stdout=subprocess.DEVNULL)

    def seconds(running: list[subprocess.Popen[bytes]], begin: float) -> float:
        assert all(process.wait() == 0 for process in running)
        return time.perf_counter() - begin

    few = photos.parent / "few"
    if not few.exists():
        copies(few, count)
    shards = [("--shard", f"{i + 1}/{count}") for i in range(count)]
    warm, whole = (
        seconds([start(folder, *shard) for shard in shards], begin)
        for folder in (few, photos)
        for begin in [time.perf_counter()]
    )
    return (len(list(photos.iterdir())) - count) / max(whole - warm, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--detector", default="yolox-nano", help="registered name, YOLOX *.onnx, or whole-image")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gtpt-million-") as temporary:
        folder = Path(temporary)
        copies(folder / "in", arguments.photos)
        print("| workers | photos/s | as many processes, photos/s | CPU hours | GB read | GB written |")
        print("|---:|---:|---:|---:|---:|---:|")
        for workers in arguments.workers:
            done = batch(folder / "in", folder / f"out{workers}", workers, arguments.detector)
            alone = processes(folder / "in", folder / f"one{workers}", workers, arguments.detector)
            each = MILLION / done["images"]
            cells = (
                f"{done['images'] / done['seconds'] * workers:.1f}",
                f"{alone:.1f}",
                f"{done['cpu'] * each / 3600:.1f}",
                f"{done['read'] * each / 1e9:.1f}",
                f"{done['bytes'] * each / 1e9:.2f}",
            )
            print(f"| {workers} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
