"""A digest at the end of an ONNX file, so that a byte that changed on a disk or on the way is noticed.

An ONNX file is a message of Protocol Buffers, where entries may follow in any order: one more entry of the metadata, with
the sha256 of everything before it, leaves it a file that every tool reads. No library is needed to check it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from gtpt.core.errors import WeightsError

# field 14 (metadata_props) of 74 bytes: field 1 (key) of 6 bytes, field 2 (value) of 64
_START = b"\x72\x4a\x0a\x06sha256\x12\x40"
_LENGTH = len(_START) + 64
_SEAL = re.compile(re.escape(_START) + rb"[0-9a-f]{64}")


def seal(path: Path) -> None:
    """Append the digest of an ONNX file to it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("ab") as file:
        file.write(_START + digest.encode())


def check_seal(path: Path) -> None:
    """WeightsError if a file has a digest and is not as it was written; files without one pass."""
    content = memoryview(path.read_bytes())
    end = bytes(content[-_LENGTH:])
    if _SEAL.fullmatch(end) and hashlib.sha256(content[:-_LENGTH]).hexdigest() != end[-64:].decode():
        raise WeightsError(
            f"{path} is not as it was written (its sha256 differs): copy it again or repeat `gtpt export`; a file that was "
            f"changed on purpose must lose its metadata entry 'sha256'"
        )
