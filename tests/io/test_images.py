"""Photos as cameras, phones, scanners and broken disks make them: right, or refused with the reason."""

from __future__ import annotations

import io
import logging
import os
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from gtpt.core.errors import SourceError
from gtpt.core.geometry import turn_back, turn_boxes, turn_upright
from gtpt.data.images import FileStore
from gtpt.io import arrays
from gtpt.io.arrays import as_rgb
from gtpt.io.images import decode_image, decode_stored, read_image

UPRIGHT = {  # EXIF's own words: where the first row and the first column of what is stored belong
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def corner() -> np.ndarray:
    """96 x 64, blue, red in the top left: no two orientations look alike."""
    image = np.full((64, 96, 3), (20, 30, 210), np.uint8)
    image[:32, :32] = (220, 20, 20)
    return image


def noise(height: int = 64, width: int = 96) -> np.ndarray:
    rough = np.random.default_rng(5).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: np.ndarray, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **settings)
    return file.getvalue()


class Tensor:
    """As a library has it that does not let numpy at its values."""

    ndim = 3

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise self.error


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.median(np.abs(a.astype(int) - b)) <= 4


# --- which way is up ---


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif"])
def test_every_orientation_of_every_format(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(corner(), kind, exif=exif, **({} if kind in ("png", "tiff") else {"quality": 95}))
    stored = decode_stored(data)
    assert stored.orientation == orientation and stored.size == (96, 64)
    assert alike(stored.pixels, corner()) and alike(decode_image(data, ignore_orientation=True), corner())
    assert alike(decode_image(data), UPRIGHT[orientation](corner()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_pictures_and_boxes_agree(orientation: int) -> None:
    stored = np.zeros((40, 70), np.uint8)
    stored[5:17, 20:28] = 1
    upright = turn_upright(stored, orientation)
    assert np.array_equal(upright, UPRIGHT[orientation](stored)) and upright.flags.c_contiguous
    assert np.array_equal(turn_back(upright, orientation), stored)
    rows, columns = np.nonzero(upright)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert turn_boxes(np.array([[20, 5, 28, 17]]), orientation, (70, 40)).tolist() == [seen]


@pytest.mark.parametrize("number", [0, 9, 77])
def test_an_orientation_that_does_not_exist_turns_nothing(number: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    assert alike(decode_image(encoded(corner(), "jpeg", exif=exif)), corner())


# --- JPEG without its end ---


def jpeg(**settings) -> bytes:
    return encoded(noise(), "jpeg", quality=90, **settings)


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_blocks": 4}], ids=str)
@pytest.mark.parametrize("left", [b"", b"\xff"], ids=["no marker", "half a marker"])
def test_a_jpeg_without_its_end_marker_is_whole(settings: dict, left: bytes) -> None:
    whole = jpeg(**settings)
    assert whole.endswith(b"\xff\xd9")
    assert np.array_equal(decode_image(whole[:-2] + left), decode_image(whole))


def test_a_thumbnail_with_an_end_marker_does_not_make_a_jpeg_whole() -> None:
    exif = Image.Exif()
    exif[0x9286] = b"ASCII\0\0\0" + encoded(noise(16, 16), "jpeg")
    whole = jpeg(exif=exif)
    assert whole.count(b"\xff\xd9") == 2
    assert np.array_equal(decode_image(whole[:-2]), decode_image(whole))
    with pytest.raises(SourceError, match="cut off"):
        decode_image(whole[:-40])


@pytest.mark.parametrize("settings", [{}, {"restart_marker_blocks": 4}], ids=str)
def test_a_jpeg_that_lacks_pixels_is_never_filled_with_grey(settings: dict) -> None:
    whole = jpeg(**settings)
    right = decode_image(whole)
    for length in range(len(whole) // 3, len(whole) - 2, 37):
        with pytest.raises(SourceError, match="cut off"):
            decode_image(whole[:length])
    for length in range(len(whole) - 8, len(whole)):
        try:
            assert np.array_equal(decode_image(whole[:length]), right)
        except SourceError as error:
            assert "cut off" in str(error)


# --- 16 bits ---


@pytest.mark.parametrize("depth", [8, 10, 12, 14])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("grey", [False, True])
def test_few_bits_in_a_16_bit_file_are_not_black(
    depth: int, suffix: str, grey: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arrays, "_warned", set())
    image = noise()
    image[0, 0] = 255
    image = image[..., :1] if grey else image
    data = cv2.imencode(suffix, image[..., ::-1].astype(np.uint16) << (depth - 8))[1].tobytes()
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(decode_image(data, "x"), np.broadcast_to(image, (64, 96, 3)))
    assert f"taken for {depth} bits" in caplog.text
    assert np.array_equal(as_rgb(image.astype(np.uint16) << (depth - 8)), np.broadcast_to(image, (64, 96, 3)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_full_16_bit_file_keeps_its_high_byte(suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 65535, (40, 30, 3), dtype=np.uint16)
    data = cv2.imencode(suffix, values[..., ::-1])[1].tobytes()
    assert np.abs(decode_image(data).astype(int) - (values >> 8)).max() <= (suffix == ".tif")  # which OpenCV rounds
    assert np.array_equal(decode_image(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
    assert np.array_equal(as_rgb(values), (values >> 8).astype(np.uint8))


# --- HEIC ---


def heic(**settings) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    try:
        heif.from_pillow(Image.fromarray(corner())).save(file, quality=90, **settings)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        pytest.skip(f"this pillow-heif does not write HEIC: {error}")
    return file.getvalue()


@pytest.mark.parametrize("name", ["x.heic", "x.hif", "x.jpg"])
def test_heic_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(heic())
    assert alike(read_image(tmp_path / name), corner())
    assert alike(FileStore(tmp_path).read_image(name), corner())


def test_without_pillow_heif_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(SourceError, match=r'x\.heic: it is HEIC/HEIF, which needs pillow-heif: pip install "gtpt\[heif\]"'):
        decode_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "x.heic")


# --- too large, damaged, no files ---


def png_of(width: int, height: int) -> bytes:
    """A sound black-and-white PNG, about 8000 times smaller than its pixels."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj()
    row = bytes(1 + width // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")


def test_pixels_are_limited_before_they_are_decoded() -> None:
    data = png_of(32_000, 32_000)
    assert len(data) < 130_000
    with pytest.raises(SourceError, match=r"32000x32000 pixels are too large, the limit is 268,435,456 pixels"):
        decode_image(data, "huge.png")


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif", "gif", "bmp"])
def test_the_limit_can_be_moved(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(corner(), kind)
    monkeypatch.setenv("GTPT_MAX_PIXELS", str(96 * 64 - 1))
    with pytest.raises(SourceError, match=r"96x64 pixels are too large, .* 6,143 pixels: GTPT_MAX_PIXELS"):
        decode_image(data)
    monkeypatch.setenv("GTPT_MAX_PIXELS", str(96 * 64))
    assert decode_image(data).shape == (64, 96, 3)
    monkeypatch.setenv("GTPT_MAX_PIXELS", "9" * 15)
    with pytest.raises(SourceError, match=r"the limit is 715,827,882 pixels$"):  # beyond which OpenCV crashes
        decode_image(png_of(32_000, 32_000))


@pytest.mark.parametrize("value", ["many", "0", "-5", "1e9", "9" * 400])
def test_a_limit_that_is_no_number_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTPT_MAX_PIXELS", value)
    with pytest.raises(SourceError, match="GTPT_MAX_PIXELS must be a number of pixels"):
        decode_image(encoded(corner(), "png"))


def test_an_array_beyond_what_opencv_bears_is_refused() -> None:
    with pytest.raises(SourceError, match="at most 715,827,882 pixels"):
        as_rgb(np.broadcast_to(np.zeros(1, np.uint8), (30_000, 30_000, 3)))


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif", "gif"])
def test_damage_anywhere_is_a_named_error_or_a_picture(kind: str) -> None:
    data = bytearray(encoded(noise(), kind))
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = data.copy()
        at = int(rng.integers(0, len(data)))
        broken[at : at + int(rng.integers(1, 40))] = rng.bytes(int(rng.integers(0, 40)))
        try:
            assert decode_image(bytes(broken), "the file").dtype == np.uint8
        except SourceError as error:
            assert "the file" in str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_refused_before_they_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(SourceError, match="it is a pipe or device"):
            read_image(path)
        with pytest.raises(SourceError, match="it is a pipe or device"):
            FileStore(path.parent).read_image(path.name)


def test_a_progressive_jpeg_without_its_last_scans(caplog: pytest.LogCaptureFixture) -> None:
    """It decodes, coarse: without an end marker it was cut off, with one somebody may have meant it."""
    target = io.BytesIO()
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(picture).save(target, "JPEG", progressive=True)
    data = target.getvalue()
    whole = decode_image(data)
    np.testing.assert_array_equal(decode_image(data[:-2]), whole)  # the marker alone is missing
    tables = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xc4"]
    for cut in tables[3:]:
        with pytest.raises(SourceError, match="cut off"):
            decode_image(data[:cut])
    assert not caplog.records
    decode_image(data[: tables[-1]] + b"\xff\xd9", "coarse.jpg")
    assert "coarse.jpg: some of the scans" in caplog.text


# --- what a user has in memory ---


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LA", "1", "L"])
def test_images_of_pillow_say_what_their_colours_are(mode: str) -> None:
    image = Image.fromarray(noise()).convert(mode)
    expected = np.array(image.convert("RGB"))
    assert np.array_equal(as_rgb(image), expected) and np.array_equal(as_rgb(image, bgr=True), expected)


def test_images_of_pillow_that_say_too_little_are_refused() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(io.BytesIO(encoded(corner(), "JPEG", exif=exif)))
    with pytest.raises(SourceError, match=r"image 3 has the EXIF orientation 6.*exif_transpose"):
        as_rgb(turned, "image 3")
    assert as_rgb(ImageOps.exif_transpose(turned)).shape == (96, 64, 3)
    with pytest.raises(SourceError, match="floating-point"):
        as_rgb(Image.new("F", (4, 4)))
    cut = encoded(noise(), "PNG")
    with pytest.raises(SourceError, match="cannot be read"):
        as_rgb(Image.open(io.BytesIO(cut[: len(cut) // 2])))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, r"None, which cv2\.imread gives"),
        ("photo.jpg", r"the path 'photo\.jpg': read it with gtpt\.read_image"),
        (b"\xff\xd8", r"bytes: gtpt\.io\.images\.decode_image"),
        (Tensor(RuntimeError("in training")), "got Tensor: in training"),
        (Tensor(TypeError("on cuda:0")), "got Tensor: on cuda:0"),
    ],
)
def test_what_is_no_image_is_said_by_its_name(image: object, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        as_rgb(image, "image 3")


def test_sixteen_bits_of_the_other_byte_order() -> None:
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    assert np.array_equal(as_rgb(values.astype(">u2")), as_rgb(values.astype("<u2")))


def test_a_photo_is_read_from_a_path() -> None:
    for other in (None, b"bytes", io.BytesIO()):
        with pytest.raises(SourceError, match=f"from a path, got {type(other).__name__}"):
            read_image(other)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"http://host/a\.jpg; gtpt\.find and gtpt\.predict"):
        read_image("http://me:secret@host/a.jpg")


@pytest.mark.parametrize("channels", [1, 3])
def test_tiffs_of_floats_are_refused(channels: int) -> None:
    values = np.squeeze(noise()[..., :channels]).astype(np.float32) / 255
    with pytest.raises(SourceError, match=r"floats\.tif: it has floating-point values"):
        decode_image(cv2.imencode(".tif", values)[1].tobytes(), "floats.tif")


def test_tiffs_of_32_bits_hold_8_or_16() -> None:
    grey = noise()[..., 0].astype(np.int32)
    for factor in (1, 16, 257):
        assert np.array_equal(decode_image(encoded(grey * factor, "TIFF"))[..., 0], grey)
    for values in (grey * 1000, grey - 300):
        with pytest.raises(SourceError, match=r"0\.\.65535"):
            decode_image(encoded(values, "TIFF"))
