"""`write_web`: the page, the runtime and the weights in one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from gtpt.core.errors import InputError, WeightsError
from gtpt.detect import DEFAULT_DETECTOR, YoloxDetector
from gtpt.engines import open_engine
from gtpt.engines.kept import with_named_choices
from gtpt.estimator import DEFAULT_WEIGHTS, MIN_SCORE
from gtpt.model.config import GTPTConfig
from gtpt.web.runtime import NAME, VERSION, read_runtime
from gtpt.weights import load_registry, resolve

SITE = Path(__file__).parent / "site"
INDEX = "site.json"  # what the page reads first, and the mark of a folder of ours
WORKER = "sw.js"
HEADERS = {  # isolate the page, which threads of WebAssembly need
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOTICE = f"""What this folder holds, and under which licences:

index.html, js/, style.css, icon.svg   gtpt {version("gtpt")}, Apache-2.0
runtime/                               {NAME} {VERSION}, MIT, Copyright (c) Microsoft Corporation
models/                                the weights; for registered ones:
"""


@dataclass(frozen=True)
class WebFolder:
    """What was written.

    Attributes:
        path: of the folder.
        bytes: of all its files.
        pose: name of the pose network in it.
        detector: name of the person detector in it, or None.
    """

    path: Path
    bytes: int
    pose: str
    detector: str | None


def write_web(
    folder: str | Path,
    *,
    weights: str | Path = DEFAULT_WEIGHTS,
    detector: str | Path | None = DEFAULT_DETECTOR,
    runtime: str | Path | None = None,
) -> WebFolder:
    """Write a folder that finds poses in a browser, offline, served by any static host.

    Args:
        folder: new, empty, or written by this function before; then its files are replaced.
        weights: of the pose: registered name, or an *.onnx of `gtpt export` (uint8 crops, SimCC logits).
        detector: registered name or YOLOX *.onnx; None: people of the page give one, draw boxes, or take the whole picture.
        runtime: onnxruntime-web as a *.tgz of npm or a folder; None brings the pinned version (`gtpt.web.runtime`).

    Raises:
        FileNotFoundError, ConnectionError: weights, detector or runtime that are nowhere.
        InputError: a folder with other things in it, a file that the page cannot run.
        OSError: a place that cannot be written.
    """
    folder = Path(folder)
    _check_folder(folder)
    pose = resolve(weights, format="onnx", task="pose")
    network = open_engine(pose, "onnxruntime", threads=1)  # refuse now what the page would refuse later
    models = {"pose": pose}
    if detector is not None:
        models["detector"] = resolve(detector, format="onnx", task="detector")
        YoloxDetector(models["detector"], threads=1)

    brought = dict(read_runtime(runtime))

    entries = {role: f"models/{role}/{path.name}" for role, path in models.items()}  # files of one name are two
    names = {"pose": str(weights), "detector": str(detector)}
    shown = {role: {"file": entries[role], "name": Path(names[role]).name} for role in models}
    site = {
        "gtpt": version("gtpt"),
        "runtime": "runtime/",
        NAME: VERSION,
        "min_score": MIN_SCORE,
        "detector": None,
        **shown,
    }
    written = _Writer(folder)
    written.add(INDEX, json.dumps(site, indent=1).encode())  # first: a folder that was not finished is still ours
    for name, content in brought.items():
        # many hosts do not know that *.mjs is JavaScript, and browsers run nothing of an unknown kind
        written.add(f"runtime/{name.removesuffix('.mjs')}.js" if name.endswith(".mjs") else f"runtime/{name}", content)
    for role, path in models.items():
        content = path.read_bytes()
        written.add(entries[role], _telling(content, network.info.config) if role == "pose" else content)
    for path in sorted(SITE.rglob("*")):
        if path.is_file() and path.name != WORKER:
            written.add(path.relative_to(SITE).as_posix(), path.read_bytes())
    written.add("NOTICE.txt", (NOTICE + _licences(names.values())).encode())
    written.add("_headers", _headers_file().encode())
    core = [name for name in written.digests if not name.startswith(("runtime/", "_", "NOTICE"))]
    worker = (SITE / WORKER).read_text(encoding="utf-8")
    worker = worker.replace("__DIGEST__", written.digest()).replace("__FILES__", json.dumps(core))
    written.add(WORKER, worker.encode())
    return WebFolder(folder, written.bytes, shown["pose"]["name"], names["detector"] if detector is not None else None)


class _Writer:
    """Files of a folder, with their digests."""

    def __init__(self, folder: Path):
        self.folder, self.digests, self.bytes = folder, dict[str, str](), 0

    def add(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.digests[name] = hashlib.sha256(content).hexdigest()
        self.bytes += len(content)

    def digest(self) -> str:
        """Of everything so far: another content, another cache of the page."""
        return hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()[:16]


def _telling(model: bytes, config: GTPTConfig) -> bytes:
    """The network with outputs for the pictures of what it kept; as it is where its graph is of somebody else's making."""
    try:
        return with_named_choices(model, config)
    except WeightsError:
        return model


def _check_folder(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not _is_ours(folder):
        raise InputError(f"{folder} holds other files; give a new or an empty folder, or one that `gtpt web` wrote")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder")


def _is_ours(folder: Path) -> bool:
    try:
        return "gtpt" in json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _licences(names: Iterable[str]) -> str:
    registry = load_registry()
    known = [registry[name] for name in names if name in registry]
    return "".join(f"  {entry.file('onnx').name}: {entry.licence}\n" for entry in known)


def _headers_file() -> str:
    """The form that Netlify and Cloudflare Pages read; elsewhere the service worker adds them."""
    return "/*\n" + "".join(f"  {name}: {value}\n" for name, value in HEADERS.items())
