"""Photos: from files or bytes to RGB uint8 (H, W, 3)."""

from __future__ import annotations

import io
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gtpt.core.errors import SourceError
from gtpt.core.geometry import ORIENTATIONS, turn_back, turn_upright
from gtpt.core.urls import without_secrets
from gtpt.io.arrays import CEILING, EXIF_ORIENTATION, FLOATS, depth_of, page_to_rgb, to_8_bit

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS_VARIABLE = "GTPT_MAX_PIXELS"
DEFAULT_MAX_PIXELS = 1 << 28  # 268 megapixels, 0.8 GB as RGB: above what any phone or camera makes
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
AVIF_BRANDS = frozenset((b"avif", b"avis"))
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8\xff", 0xDA, b"\xff\xd9"
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
RADIANCE = (b"#?", b"v/1\x01")  # HDR and EXR, whose floats are light, 1 as bright as a screen
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # none that is inside of a scan
CUT_OFF = "cut off, damaged or not an image; JPEG, PNG, WebP and TIFF work"

logger = logging.getLogger(__name__)
_pillow_settings = threading.Lock()


@dataclass(frozen=True, eq=False)
class StoredImage:
    """What a file of a photo holds.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, as stored.
        orientation: EXIF's number, 1 (as stored) to 8: how the pixels are meant to be seen.
        pictures: how many the file holds: more than one in an animation or a stack, of which `pixels` is the first.
    """

    pixels: np.ndarray
    orientation: int = 1
    pictures: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width, height as stored."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def upright(self) -> np.ndarray:
        """(H, W, 3) as meant to be seen."""
        return turn_upright(self.pixels, self.orientation)


def read_image(path: str | Path) -> np.ndarray:
    """Read a photo; any path, any kind that `decode_image` knows.

    Returns:
        (H, W, 3) uint8, RGB, upright.

    Raises:
        FileNotFoundError: no such file.
        SourceError: "cannot read image ...": empty, cut off, too large or not an image; a folder, pipe or device.
    """
    return decode_image(read_file(path), str(path))


def read_file(path: str | Path) -> bytes:
    """The content of a file of a photo; a pipe or device, which may never end, is a SourceError."""
    if not isinstance(path, (str, os.PathLike)):
        raise SourceError(
            f"a photo is read from a path, got {type(path).__name__}; bytes are for gtpt.io.images.decode_image"
        )
    name, path = without_secrets(str(path)), Path(path)
    if path.is_dir():
        raise SourceError(f"cannot read image {path}: it is a folder")
    if not path.exists():
        hint = "; gtpt.find and gtpt.predict read photos by their URL" if "://" in name else ""
        raise FileNotFoundError(f"no such image: {name}{hint}")
    if not path.is_file():
        raise SourceError(f"cannot read image {path}: it is a pipe or device; save the picture to a file first")
    return path.read_bytes()  # cv2.imread fails on non-ASCII paths on Windows


def decode_image(data: bytes, name: str = "from bytes", *, ignore_orientation: bool = False) -> np.ndarray:
    """Decode the content of an image file.

    Grey, palette, CMYK and 16-bit images are converted, transparency is dropped, the orientation of EXIF, AVIF and HEIC is
    applied. A 16-bit file whose brightest value fits into 8, 10, 12 or 14 bits is taken to have so many, as cameras and
    scanners write them, with a warning. A JPEG that lacks nothing but its end marker is read; one that was cut off in its
    pixels is an error.

    Args:
        data: the bytes of the file.
        name: what the error message calls it.
        ignore_orientation: leave pixels as stored.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        SourceError: empty, cut off, not an image, HEIC without the `heif` extra, or too large: more than 268 megapixels, a
            limit that the environment variable GTPT_MAX_PIXELS moves.
    """
    stored = decode_stored(data, name)
    return stored.pixels if ignore_orientation else stored.upright


def decode_stored(data: bytes, name: str = "from bytes") -> StoredImage:
    """As `decode_image`, but the pixels as stored, and how they are meant to be seen."""
    if not data:
        raise SourceError(f"cannot read image {name}: it is empty")
    with open_header(data, name) as header:
        orientation, pictures = _orientation(header, data), count_pictures(header)
        if header is not None and header.format in ("AVIF", "HEIF"):  # OpenCV knows nothing of how these are turned
            pixels = _by_pillow(header, name)
        else:
            pixels = _by_opencv(_whole_jpeg(data, name), name)
            if pixels is None and header is not None:
                pixels = _by_pillow(header, name)
            elif header is not None and header.format == "TIFF":  # OpenCV turns it, asked or not
                pixels = turn_back(pixels, orientation) if pixels is not None else None
    if pixels is None:
        raise SourceError(f"cannot read image {name}: {CUT_OFF}")
    return StoredImage(pixels, orientation, pictures)


@contextmanager
def open_header(data: bytes, name: str) -> Iterator[Image | None]:
    """What Pillow knows of a picture before its pixels are decoded; None for what it does not know.

    Raises:
        SourceError: more pixels than allowed, or HEIC without the `heif` extra.
    """
    image = _open_heif(data, name) if is_heif(data) else _open_lazily(data)
    if image is None:
        yield None
        return
    with image:
        check_pixels(image.size, name)
        yield image


def check_pixels(size: tuple[int, int], name: str) -> None:
    """SourceError for a picture that is larger than allowed, before memory is taken for it."""
    limit = max_pixels()
    if size[0] * size[1] > limit:
        remedy = f": {PIXELS_VARIABLE} in the environment moves it" if size[0] * size[1] <= CEILING else ""
        raise SourceError(
            f"cannot read image {name}: {size[0]}x{size[1]} pixels are too large, the limit is {limit:,} pixels{remedy}"
        )


def max_pixels() -> int:
    """The largest picture that is decoded: GTPT_MAX_PIXELS, or 268 megapixels; at most 715, which OpenCV can bear."""
    text = os.environ.get(PIXELS_VARIABLE, "")
    if not text:
        return DEFAULT_MAX_PIXELS
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text)):
        raise SourceError(f"{PIXELS_VARIABLE} must be a number of pixels, at most {CEILING}, got {text[:40]!r}")
    return min(int(text), CEILING)


def is_heif(data: bytes) -> bool:
    """Whether this is HEIC or another HEIF that Pillow needs pillow-heif for, whatever the file is called."""
    if data[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, size, 4))}
    return bool(brands & HEIF_BRANDS) and not brands & AVIF_BRANDS


def count_pictures(header: Image | None) -> int:
    """How many pictures of the same kind a file holds, an animation or a stack; not previews, thumbnails, depth maps."""
    if header is None or header.format in ("MPO", "ICO", "ICNS", "PSD"):
        return 1
    if header.format == "HEIF":
        return int(header.info.get("pictures", 1))
    try:
        return int(getattr(header, "n_frames", 1))
    except Exception:  # a decoder's complaint about damaged data; the first picture may be sound
        return 1


def _open_lazily(data: bytes) -> Image | None:
    from PIL import Image

    # Pillow's own limit is lower and cannot be given for one call; ours is checked right afterwards
    with _pillow_settings:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data))
        except Exception:  # any kind, for damaged data: SyntaxError, struct.error, RuntimeError, ...
            return None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open_heif(data: bytes, name: str) -> Image | None:
    try:
        import pillow_heif
    except ImportError:
        raise SourceError(
            f'cannot read image {name}: it is HEIC/HEIF, which needs pillow-heif: pip install "gtpt[heif]"'
        ) from None
    try:
        content = pillow_heif.open_heif(data)
        check_pixels(content.size, name)
        image = content.to_pillow()
        image.info["pictures"] = len(content)  # not those that belong to one, such as depth maps
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"cannot read image {name}: {CUT_OFF} (HEIC/HEIF: {error})") from error
    image.format = "HEIF"
    return image


def _orientation(header: Image | None, data: bytes) -> int:
    """EXIF's number; 1 where there is none or none that exists. HEIC comes upright from its decoder."""
    if header is None or header.format == "HEIF":
        return 1
    from PIL import Image

    try:
        if header.format == "TIFF":
            number = header.tag_v2.get(EXIF_ORIENTATION, 1)  # type: ignore[attr-defined]
        else:
            if header.format == "PNG" and "exif" not in header.info and b"eXIf" in data:
                header.load()  # it may come after the pixels
            exif = Image.Exif()
            exif.load(header.info.get("exif") or b"")
            number = exif.get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF
        return 1
    return number if number in ORIENTATIONS else 1


def _by_opencv(data: bytes, name: str) -> np.ndarray | None:
    """RGB as stored (of TIFF upright), or None."""
    image = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH, name)
    if image is not None and image.dtype == np.uint16 and depth_of(image) < 16:
        image = to_8_bit(image, name)
    elif image is not None and image.dtype.kind == "f" and not data.startswith(RADIANCE):
        raise SourceError(f"cannot read image {name}: it {FLOATS}")
    elif image is not None and image.dtype != np.uint8:
        image = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, name)
    if image is None:
        return None
    check_pixels((image.shape[1], image.shape[0]), name)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _imdecode(data: bytes, flags: int, name: str) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError, RuntimeError, SystemError) as error:
        too_large = isinstance(error, MemoryError) or "PIXELS" in str(error) or "Insufficient memory" in str(error)
        reason = "it is too large to decode" if too_large else f"OpenCV says {str(error).strip()}"
        raise SourceError(f"cannot read image {name}: {reason}") from error


def _by_pillow(header: Image, name: str) -> np.ndarray | None:
    try:
        return page_to_rgb(header, f"cannot read image {name}: it")[0]
    except SourceError:
        raise
    except Exception:  # of any kind, for damaged data
        return None


def _whole_jpeg(data: bytes, name: str) -> bytes:
    """A JPEG with its end marker, since OpenCV from 4.11 on refuses one without; other data as they are.

    Whether the pixels are complete is seen by what would come next: it must change nothing. Older versions fill what is
    missing with grey.
    """
    if not data.startswith(JPEG_START):
        return data
    scan = _first_scan(data)
    if scan is None:
        return data
    if data.find(JPEG_END, scan) >= 0:
        if _lacks_scans(data):
            logger.warning("%s: some of the scans of a progressive JPEG are missing: it is coarse, and perhaps grey", name)
        return data
    data = data.removesuffix(b"\xff")  # half a marker
    noise = bytes((73 * i + 157) % 254 + 1 for i in range(100))
    noise += b"".join(bytes((0xFF, restart)) + noise for restart in range(0xD0, 0xD8))  # the scan may break off between two
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    with_end, with_noise = (_imdecode(data + more + JPEG_END, flags, name) for more in (b"", noise))
    same = with_end is not None and with_noise is not None and np.array_equal(with_end, with_noise)
    if not same or _lacks_scans(data):
        raise SourceError(f"cannot read image {name}: {CUT_OFF}")
    return data + JPEG_END


def _lacks_scans(data: bytes) -> bool:
    """Whether a progressive JPEG, whose scans refine all of the picture, ends before it has every bit of it."""
    precision: dict[int, np.ndarray] = {}  # component -> the lowest bit known of each coefficient
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != JPEG_END[1]:
        marker, end = data[position + 1], position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : end]
        if marker in JPEG_FRAMES:
            if marker not in JPEG_PROGRESSIVE:
                return False
            precision = {number: np.full(64, 255) for number in segment[6::3]}
        elif marker == JPEG_SCAN and segment:
            first, last, bits = (segment[1 + 2 * segment[0] :] + bytes(3))[:3]
            for number in segment[1 : 1 + 2 * segment[0] : 2]:
                if number in precision:
                    precision[number][first : last + 1] = bits & 15
            following = MARKER.search(data, end)
            end = following.start() if following else len(data)
        position = end if marker != 0xFF else position + 1
    return any(lowest.any() for lowest in precision.values())


def _first_scan(data: bytes) -> int | None:
    """Where the first scan of a JPEG begins, behind thumbnails that have an end marker of their own."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == JPEG_SCAN:
            return position
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
