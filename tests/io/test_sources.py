"""Photos, folders, videos, streams and cameras come out as upright RGB frames; what is broken is skipped and counted."""

from __future__ import annotations

import struct
import threading
import tracemalloc
import zlib
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from gtpt.io.arrays import as_rgb
from gtpt.io.images import decode_image, read_image
from gtpt.io.sources import Selection, Skipped, open_source
from gtpt.io.sources.camera import _camera_frames

from ..silence import write_silence

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")

RED, GREEN, BLUE = (200, 40, 30), (20, 180, 60), (30, 50, 210)


def picture(width: int = 80, height: int = 60) -> np.ndarray:
    """Red left half, green right half, blue patch in the top left corner: no two orientations look alike."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = RED, GREEN
    image[: height // 4, : width // 4] = BLUE
    return image


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 4) -> bool:
    """Alike but for lossy coding (which smears colour at edges)."""
    return a.shape == b.shape and float(np.median(np.abs(a.astype(int) - b.astype(int)))) <= tolerance


def video(
    path: Path,
    times: list[float],
    *,
    size: tuple[int, int] = (80, 60),
    rotation: int = 0,
    gop: int = 10,
    fmt: str | None = None,
) -> Path:
    """A video whose frame i has the brightness 2 * i in its right half, at exactly the given times."""
    with av.open(str(path), "w", format=fmt) as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "10", "crf": "12", "preset": "veryfast", "bf": "3"})
        stream.width, stream.height = size
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 90000)
        if rotation:
            stream.set_display_rotation(rotation)
        for i, seconds in enumerate(times):
            image = picture(*size)
            image[:, size[0] // 2 :] = 2 * i
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(seconds * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def brightness(image: np.ndarray) -> float:
    """The i of a frame of `video`."""
    return float(np.median(image[:, image.shape[1] * 3 // 4 :])) / 2


STEADY = [i / 30 for i in range(60)]
UNEVEN = [round(i / 30 + (0.2 if i > 20 else 0) + 0.011 * (i % 3), 5) for i in range(60)]


# --- photos ---


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "avif"])
def test_read_image_keeps_rgb_order_and_size(tmp_path, suffix):
    path = tmp_path / f"Größe 写真.{suffix}"
    Image.fromarray(picture()).save(path, quality=95)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    assert close(image, picture())


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    source = Image.fromarray(picture())
    if mode == "I;16":
        expected = np.repeat(np.asarray(source.convert("L"))[..., None], 3, axis=2)
        source = Image.fromarray(np.asarray(source.convert("L")).astype(np.uint16) * 257)
    else:
        source = source.convert(mode)
        expected = np.asarray(source.convert("RGB"))
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    source.save(path, quality=95)
    assert close(read_image(path), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(picture()).save(tmp_path / "x.jpg", exif=exif, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "x.jpg")))
    assert close(read_image(tmp_path / "x.jpg"), upright)


def bomb() -> bytes:
    """A PNG of 300 bytes that claims 3.6 gigapixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(99))) + part(b"IEND", b"")


def damaged_files() -> dict[str, tuple[bytes, str]]:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    png = cv2.imencode(".png", noise)[1].tobytes()
    return {
        "empty.jpg": (b"", "it is empty"),
        "text.png": (b"hello, I am no image", "cut off, damaged or not an image"),
        "cut.png": (png[: len(png) // 2], "cut off, damaged or not an image"),
        "head.jpg": (cv2.imencode(".jpg", noise)[1].tobytes()[:90], "cut off, damaged or not an image"),
        "bomb.png": (bomb(), "too large"),
    }


@pytest.mark.parametrize("name", damaged_files())
def test_damaged_image_is_named_in_the_error(tmp_path, name):
    data, reason = damaged_files()[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"cannot read image .*{name}.*{reason}"):
        read_image(tmp_path / name)
    with pytest.raises(ValueError, match=f"cannot read image.*{reason}"):
        open_source(tmp_path / name)


def test_missing_image_and_folder_as_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ValueError, match="it is a folder"):
        read_image(tmp_path)


def test_decode_image_takes_the_bytes_of_an_upload():
    assert close(decode_image(cv2.imencode(".png", picture()[..., ::-1])[1].tobytes()), picture(), 0)


def test_as_rgb_converts_what_is_unambiguous():
    rgb = picture()
    assert np.shares_memory(as_rgb(rgb), rgb) and np.array_equal(as_rgb(rgb), rgb)
    assert np.array_equal(as_rgb(rgb.astype(np.uint16) * 257), rgb)
    assert np.array_equal(as_rgb(np.dstack([rgb, rgb[..., 0]])), rgb)
    for grey in (rgb[..., 1], rgb[..., 1:2]):
        assert np.array_equal(as_rgb(grey), np.repeat(rgb[..., 1:2], 3, axis=2))
    assert as_rgb(rgb[:, ::-1]).flags.c_contiguous


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), "multiply an image in 0..1 by 255"),
        (np.zeros((4, 5, 3), bool), "uint8"),
        (np.zeros((3, 40, 50), np.uint8), "transpose"),
        (np.zeros((4, 5, 2), np.uint8), r"\(4, 5, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), "must have pixels"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        ("photo.jpg", "must be an array"),
    ],
)
def test_as_rgb_says_what_is_wrong(image, message):
    with pytest.raises(ValueError, match=message):
        as_rgb(image)


# --- folders and lists ---


def test_folder_in_natural_order_skips_and_counts_the_rest(tmp_path):
    for name in ("img10.png", "img2.PNG", "img1.jpg"):
        Image.fromarray(picture()).save(tmp_path / name)
    (tmp_path / "img3.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "more").mkdir()
    with open_source(tmp_path) as source:
        assert (source.kind, source.fps, source.frame_count) == ("folder", None, 4)
        frames = list(source)
    assert [f.name for f in frames] == ["img1.jpg", "img2.PNG", "img10.png"]
    assert [f.index for f in frames] == [0, 1, 3]
    assert np.all(np.diff([f.time for f in frames]) > 0)
    assert source.skipped.count == 3
    assert sorted(name for name, _ in source.skipped.items) == ["img3.jpg", "more", "notes.txt"]


def test_stride_over_a_list_and_single_image(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in (3, 1, 2)]
    for path in paths:
        Image.fromarray(picture()).save(path)
    with open_source(paths, stride=2) as source:
        assert source.frame_count == 2
        assert [(f.index, f.name) for f in source] == [(0, "3.png"), (2, "2.png")]
    with open_source(str(paths[0])) as source:
        assert source.kind == "image"
        (frame,) = source
    assert close(frame.image, picture(), 0) and (frame.index, frame.time) == (0, 0.0)


def test_errors_come_before_any_work(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "text.xyz").write_text("hello " * 50)
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "no.mp4", {}, FileNotFoundError, "no such file or folder"),
        ([tmp_path / "a.png", tmp_path / "b.png"], {}, FileNotFoundError, r"b\.png"),
        (tmp_path / "text.xyz", {}, ValueError, "cannot open .*text.xyz as image or video"),
        (tmp_path / "empty", {}, ValueError, "no frames in .*empty"),
        ([], {}, ValueError, "no frames in the list of 0 files"),
        (None, {}, ValueError, "NoneType"),
        (99, {}, ValueError, "cannot open camera 99"),
        ("99", {}, ValueError, "cannot open camera 99"),
        ("http://127.0.0.1:9/video.mp4", {}, ValueError, "cannot open http.* as stream"),
        (tmp_path / "a.png", {"start": 1.0}, ValueError, "photos have none"),
        (tmp_path / "a.png", {"stride": 0}, ValueError, "stride must be .* at least 1"),
        (tmp_path / "a.png", {"stride": 1.5}, ValueError, "stride"),
        (tmp_path / "a.png", {"start": -1.0}, ValueError, "start must be seconds"),
        (tmp_path / "a.png", {"end": float("nan")}, ValueError, "end must be seconds"),
        (tmp_path / "a.png", {"start": 2.0, "end": 2.0}, ValueError, "end must lie after start"),
    ]
    for source, options, error, message in cases:
        with pytest.raises(error, match=message):
            open_source(source, **options)


def test_video_without_picture_or_before_its_end(tmp_path):
    write_silence(tmp_path / "sound.mp4")
    with pytest.raises(ValueError, match=r"no video stream in .*sound"):
        open_source(tmp_path / "sound.mp4")
    with pytest.raises(ValueError, match=r"no frames in .* between start=10 and end=None"):
        open_source(video(tmp_path / "short.mp4", STEADY), start=10)


# --- videos ---


@pytest.mark.parametrize("times", [STEADY, UNEVEN], ids=["steady", "uneven"])
def test_video_keeps_frame_times_also_uneven_ones(tmp_path, times):
    with open_source(video(tmp_path / "x.mp4", times)) as source:
        assert source.kind == "video" and source.fps == pytest.approx(len(times) / (times[-1] + 1 / 30), rel=0.02)
        assert source.frame_count == 60
        frames = list(source)
    assert [f.index for f in frames] == list(range(60))
    assert [f.time for f in frames] == pytest.approx(times, abs=2e-5)
    assert [brightness(f.image) for f in frames] == pytest.approx(range(60), abs=2)
    assert source.skipped.count == 0


@pytest.mark.parametrize(("start", "end", "stride"), [(0.5, 1.2, 1), (0.0, None, 7), (1.0, None, 4), (None, 0.3, 2)])
@pytest.mark.parametrize("times", [STEADY, UNEVEN], ids=["steady", "uneven"])
def test_start_end_stride_give_the_same_frames_as_the_whole_video(tmp_path, times, start, end, stride):
    path = video(tmp_path / "x.mp4", times)
    with open_source(path) as source:
        whole = [(f.index, f.time) for f in source if (start or 0) <= f.time < (end or 99)][::stride]
    with open_source(path, start=start, end=end, stride=stride) as source:
        assert source.frame_count == pytest.approx(len(whole), abs=4)
        frames = list(source)
    assert [(f.index, f.time) for f in frames] == whole
    assert [brightness(f.image) for f in frames] == pytest.approx([i for i, _ in whole], abs=2)


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write a rotation")
@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_display_rotation_is_applied_as_opencv_does(tmp_path, rotation):
    path = video(tmp_path / "x.mp4", STEADY[:3], rotation=rotation)
    upright = cv2.VideoCapture(str(path)).read()[1][..., ::-1]
    with open_source(path) as source:
        image = next(source).image
    assert image.flags.c_contiguous
    assert close(image, upright) and not close(image, picture())


def test_broken_frames_are_skipped_and_counted(tmp_path):
    path = video(tmp_path / "x.mp4", STEADY)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for position, size in packets[33:36]:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source)
    assert len(frames) == 57 and source.skipped.count == 3
    assert "cannot decode" in source.skipped.items[0][1]
    assert np.all(np.diff([f.time for f in frames]) > 0)
    assert frames[-1].index == 59 and brightness(frames[-1].image) == pytest.approx(59, abs=2)


def test_a_frame_that_lost_a_piece_is_skipped_and_counted(tmp_path):
    path = video(tmp_path / "x.ts", STEADY, fmt="mpegts", size=(640, 480))
    data = path.read_bytes()
    pieces = [data[i : i + 188] for i in range(0, len(data), 188)]
    inner = [i for i, p in enumerate(pieces) if p[1:3] == b"\x01\x00"]  # of the video, and not the first of a frame
    del pieces[inner[len(inner) // 2]]
    path.write_bytes(b"".join(pieces))
    with open_source(path) as source:
        frames = list(source)
    assert source.skipped.count >= 1 and len(frames) == 60 - source.skipped.count
    assert frames[-1].index == 59 and frames[-1].time == pytest.approx(STEADY[-1], abs=1e-3)


def test_video_in_constant_memory(tmp_path):
    path = video(tmp_path / "x.mp4", [i / 30 for i in range(90)], size=(640, 480))
    with open_source(path) as source:
        next(source)
        tracemalloc.start()
        count = sum(1 for _ in source)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 89
    assert peak < 6 * 640 * 480 * 3  # a few frames, not 89


def test_close_ends_the_frames(tmp_path):
    source = open_source(video(tmp_path / "x.mp4", STEADY))
    next(source)
    source.close()
    assert list(source) == []


# --- streams and cameras ---


@pytest.fixture
def server(tmp_path):
    """An HTTP server of one video that declares its full size but can break off in the middle."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = (tmp_path / "x.ts").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2 // 188 * 188] if "cut" in self.path else data)

        def log_message(self, *_):
            pass

    video(tmp_path / "x.ts", [i / 30 + 5 for i in range(60)], fmt="mpegts")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_stream_counts_time_from_its_first_frame(server):
    with open_source(f"{server}/live.ts") as source:
        frames = list(source)
    assert source.kind == "stream"
    assert [f.time for f in frames] == pytest.approx(STEADY, abs=1e-4)
    assert source.skipped.count == 0


def test_stream_that_breaks_off_ends_with_a_reason(server):
    with open_source(f"{server}/cut.ts") as source:
        frames = list(source)
    assert 20 <= len(frames) < 60
    assert source.skipped.count >= 1
    assert source.skipped.items[-1][0] == "stream" and "ended early" in source.skipped.items[-1][1]


def test_unplugged_camera_ends_with_a_reason(tmp_path):
    capture = cv2.VideoCapture(str(video(tmp_path / "x.mp4", STEADY)))  # ends, as a camera does when unplugged
    skipped = Skipped()
    frames = list(_camera_frames(capture, Selection(4, None, None), skipped))
    assert [f.index for f in frames] == list(range(0, 60, 4))
    assert np.all(np.diff([f.time for f in frames]) > 0)
    assert brightness(frames[5].image) == pytest.approx(20, abs=2)
    assert close(frames[0].image[:, :40], picture()[:, :40])  # RGB, not OpenCV's BGR
    assert skipped.count == 1 and "unplugged" in skipped.items[0][1]


@pytest.mark.integration
def test_real_video_and_real_photos(shared):
    with open_source(shared / "data/video/pose2sim_SinglePerson_cam01.mp4", start=1, end=1.2, stride=3) as source:
        frames = list(source)
    assert source.fps == 60 and [f.index for f in frames] == [60, 63, 66, 69]
    assert frames[0].image.shape == (1920, 1080, 3) and frames[0].image.std() > 20
    with open_source(shared / "data/coco_sample/images/val2017") as source:
        assert sum(1 for _ in source) == source.frame_count == 22


def test_the_other_pictures_of_a_heic_are_told(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    from PIL import Image

    pictures = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
    pictures[0].save(tmp_path / "several.heic", save_all=True, append_images=pictures[1:])
    with open_source(tmp_path / "several.heic") as source:
        (frame,) = source
    assert frame.image.shape == (48, 64, 3) and frame.image[0, 0, 0] > 200
    ((name, reason),) = source.skipped.items
    assert name == "several.heic" and "2 of its 3 pictures" in reason and "export" in reason


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_a_photo_is_one_by_its_first_bytes_too(tmp_path, kind, options):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("upload", "photo.jpg.part"):
        Image.fromarray(picture()).save(tmp_path / name, kind, exif=exif, **options)
        with open_source(tmp_path / name) as source:
            assert source.kind == "image"
            assert np.median(np.abs(next(source).image.astype(int) - np.rot90(picture(), -1))) <= 4


def test_motion_jpeg_begins_like_a_photo(tmp_path):
    for _ in range(3):
        with open(tmp_path / "film.mjpeg", "ab") as file:
            Image.fromarray(picture()).save(file, "JPEG")
    with open_source(tmp_path / "film.mjpeg") as source:
        assert source.kind == "video" and len(list(source)) == 3
