"""The page of `gtpt web` and MediaPipe's pose in the same browser, on the same people: errors and milliseconds.

    python benchmarks/browser.py COCO_FOLDER --limit 40

COCO_FOLDER has annotations/person_keypoints_val2017.json and images/val2017. `npm pack` fetches MediaPipe into a
temporary folder; its models are in the archive. Both get the boxes of the ground truth: ours as boxes, MediaPipe,
which finds one person per picture itself, as a picture of that person with its surroundings. They take turns, person
by person. Without a graphics processor MediaPipe's WebGL runs on the CPU (SwiftShader), so its time says little about
a machine that has one.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from gtpt import load_skeleton
from gtpt.core.geometry import boxes_to_crops
from gtpt.evaluate.oks import keypoint_similarity
from gtpt.web import write_web
from gtpt.web.folder import HEADERS

MEDIAPIPE_PACKAGE = "@mediapipe/pose@0.5.1675469404"
# COCO's 17 among MediaPipe's 33 landmarks
LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
BROWSER_FLAGS = ("--headless", "--no-sandbox", "--disable-quic", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PAGE = """<!doctype html><title>MediaPipe</title><script src="package/pose.js"></script>"""
OPEN_OURS = """async () => {
  const {Engine} = await import('./js/engine.js');
  window.engine = new Engine(new URL('runtime/', location.href).href, () => {});
  await engine.open(await (await fetch('models/pose/gtpt_t_coco17.onnx')).arrayBuffer(), 'wasm');
  return [engine.facts.threads, engine.facts.network.inputSize.join('x')];
}"""
OURS = """async ([photo, box]) => {
  const bytes = Uint8Array.from(atob(photo), c => c.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes]), {colorSpaceConversion: 'none'});
  const begin = performance.now();
  const request = {boxes: [{box, score: 1}], threshold: 0.3, refine: false, kept: false};
  const {poses} = await engine.estimate(picture, request);
  return {ms: performance.now() - begin, points: [...poses.people[0].keypoints]};
}"""
OPEN_MEDIAPIPE = """async complexity => {
  window.pose = new Pose({locateFile: file => `package/${file}`});
  pose.setOptions({modelComplexity: complexity, staticImageMode: true, smoothLandmarks: false});
  pose.onResults(results => window.landmarks = results.poseLandmarks ?? null);
}"""
MEDIAPIPE = """async ([photo, [x, y, width, height]]) => {
  const bytes = Uint8Array.from(atob(photo), c => c.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes]), {colorSpaceConversion: 'none'});
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext('2d').drawImage(picture, -x, -y);
  window.landmarks = null;
  const begin = performance.now();
  await pose.send({image: canvas});
  const points = landmarks && landmarks.flatMap(p => [p.x * width + x, p.y * height + y]);
  return {ms: performance.now() - begin, points};
}"""


def fetch_mediapipe(folder: Path) -> Path:
    """The archive of its npm package, version pinned."""
    subprocess.run(["npm", "pack", "--silent", MEDIAPIPE_PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("mediapipe-pose-*.tgz"))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in HEADERS.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def people(coco: Path, limit: int) -> list[dict[str, Any]]:
    """Persons with at least 8 labelled keypoints."""
    data = json.loads((coco / "annotations" / "person_keypoints_val2017.json").read_text())
    names = {image["id"]: image["file_name"] for image in data["images"]}
    rows = [a for a in data["annotations"] if a.get("num_keypoints", 0) >= 8 and not a["iscrowd"]]
    return [{**row, "path": coco / "images" / "val2017" / names[row["image_id"]]} for row in rows[:limit]]


def similarity(points: list[float] | None, person: dict[str, Any], chosen: tuple[int, ...] | None) -> float:
    """Mean OKS of the labelled keypoints; 0 for somebody who was not found."""
    if points is None:
        return 0.0
    truth = np.array(person["keypoints"]).reshape(17, 3)
    found = np.array(points).reshape(-1, 2)[list(chosen or range(17))]
    sigmas = load_skeleton("coco17").sigmas
    return float(keypoint_similarity(found, truth[:, :2], np.array(person["area"]), sigmas)[truth[:, 2] > 0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path)
    parser.add_argument("--mediapipe", type=Path, help=f"an archive of npm pack {MEDIAPIPE_PACKAGE} that is here already")
    parser.add_argument("--complexity", type=int, default=0, help="0 lite, 1 full, 2 heavy")
    parser.add_argument("--limit", type=int, default=1000, help="of people")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        write_web(folder / "ours", detector=None)
        with tarfile.open(arguments.mediapipe or fetch_mediapipe(folder)) as archive:
            archive.extractall(folder / "mediapipe", filter="data")
        (folder / "mediapipe" / "index.html").write_text(PAGE)
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=list(BROWSER_FLAGS))
        with served(folder / "ours") as ours_url, served(folder / "mediapipe") as mediapipe_url:
            ours, mediapipe = browser.new_page(bypass_csp=True), browser.new_page()
            for tab, url in ((ours, ours_url), (mediapipe, mediapipe_url)):
                tab.set_default_timeout(0)
                tab.goto(url + ("site.json" if tab is ours else ""))
            threads, size = ours.evaluate(OPEN_OURS)
            mediapipe.evaluate(OPEN_MEDIAPIPE, arguments.complexity)
            rows = []
            for i, person in enumerate(people(arguments.coco, arguments.limit)):
                photo = base64.b64encode(person["path"].read_bytes()).decode()
                x, y, w, h = person["bbox"]
                center, surroundings = (a[0] for a in boxes_to_crops(np.array([person["bbox"]]), 0.75))
                view = [*(center - surroundings / 2).round().tolist(), *surroundings.round().tolist()]
                if i == 0:  # the first call compiles
                    ours.evaluate(OURS, [photo, [x, y, x + w, y + h]])
                    mediapipe.evaluate(MEDIAPIPE, [photo, view])
                mine = ours.evaluate(OURS, [photo, [x, y, x + w, y + h]])
                theirs = mediapipe.evaluate(MEDIAPIPE, [photo, view])
                rows.append(
                    (
                        similarity(mine["points"], person, None),
                        similarity(theirs["points"], person, LANDMARKS),
                        mine["ms"],
                        theirs["ms"],
                        theirs["points"] is not None,
                    )
                )
        browser.close()
    table = np.array(rows, dtype=float)
    print(
        f"{len(table)} people; ours {size} in WebAssembly, {threads} threads; MediaPipe complexity {arguments.complexity}"
    )
    print(f"mean OKS: ours {table[:, 0].mean():.3f}, MediaPipe {table[:, 1].mean():.3f} (found {int(table[:, 4].sum())})")
    found = table[table[:, 4] > 0]
    print(f"mean OKS of those whom MediaPipe found: ours {found[:, 0].mean():.3f}, MediaPipe {found[:, 1].mean():.3f}")
    print(f"median ms per person: ours {np.median(table[:, 2]):.0f}, MediaPipe {np.median(table[:, 3]):.0f}")
    print(f"median of the ratios MediaPipe / ours: {np.median(table[:, 3] / table[:, 2]):.1f}")


if __name__ == "__main__":
    main()
