"""The page's runtime: onnxruntime-web in one version, known by its digests. It is too large for the package."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gtpt.core.errors import InputError
from gtpt.weights.fetch import damage, fetch, is_offline
from gtpt.weights.registry import WeightsFile
from gtpt.weights.store import cache_dir

logger = logging.getLogger(__name__)

NAME, VERSION = "onnxruntime-web", "1.30.0"
ARCHIVE = WeightsFile(
    name=f"{NAME}-{VERSION}.tgz",
    sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
    bytes=33_106_585,
    sources=(f"https://registry.npmjs.org/{NAME}/-/{NAME}-{VERSION}.tgz",),
)
FILES = {  # of its folder dist, with their sha256: WebAssembly alone, and WebGPU with WebAssembly for what WebGPU lacks
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
NPM_PATIENCE = 600  # seconds


def read_runtime(source: str | Path | None = None) -> Iterator[tuple[str, bytes]]:
    """The files of the runtime, one after the other, each checked by sha256.

    Args:
        source: the package as npm packs it (*.tgz), a folder with its files, or None: from the cache, else from the npm
            registry, with npm where that is installed (its settings hold) and over https where it is not.

    Yields:
        Names without folders, and contents.

    Raises:
        FileNotFoundError: no such source; or nothing in the cache and GTPT_OFFLINE is set.
        InputError: a file is missing, damaged or of another version.
        ConnectionError: the registry does not answer; says what else can be done.
    """
    path = _archive() if source is None else Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"no runtime at {path}: give {ARCHIVE.name} of the npm registry, or a folder with its files"
        )
    files = _of_folder(path) if path.is_dir() else _of_archive(path)
    missing = set(FILES)
    for name, content in files:
        digest = hashlib.sha256(content).hexdigest()
        if digest != FILES[name]:
            raise InputError(
                f"{path}: {name} has the sha256 {digest}; the page needs that of {NAME} {VERSION}, {FILES[name]}"
            )
        missing.discard(name)
        yield name, content
    if missing:
        raise InputError(f"{path} lacks {sorted(missing)} of {NAME} {VERSION}: `npm pack {NAME}@{VERSION}` gives all of it")


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in FILES:
        for place in (folder / name, folder / "dist" / name, folder / "package" / "dist" / name):
            if place.is_file():
                yield name, place.read_bytes()
                break


def _of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                content = archive.extractfile(member) if place.parent.name == "dist" and place.name in FILES else None
                if content is not None:
                    yield place.name, content.read()
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path} is no archive of npm: {error}") from error


def _archive() -> Path:
    """The archive in the cache, brought there if it is not."""
    target = cache_dir() / ARCHIVE.name
    if target.is_file() and not damage(target, ARCHIVE):
        return target
    if not is_offline() and (npm := shutil.which("npm")):
        try:
            return _with_npm(npm, target)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            logger.info("npm did not bring %s: %s", ARCHIVE.name, error)
    return fetch(ARCHIVE.sources, target, ARCHIVE, name=NAME)


def _with_npm(npm: str, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [npm, "pack", f"{NAME}@{VERSION}", "--pack-destination", folder, "--silent"]
        subprocess.run(command, check=True, capture_output=True, timeout=NPM_PATIENCE, cwd=folder)  # noqa: S603
        packed = Path(folder) / ARCHIVE.name
        if problem := damage(packed, ARCHIVE):
            raise InputError(f"npm gave another {ARCHIVE.name}: {problem}")
        os.replace(packed, target)
    return target
