"""Videos as editors, phones, capture cards and broken disks make them: frames, numbers and times are a player's."""

from __future__ import annotations

import functools
import io
import os
import struct
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from gtpt.core.errors import SourceError
from gtpt.io.sources import is_animation, open_source
from gtpt.io.video_writer import VideoWriter

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")


def shade(number: int) -> np.ndarray:
    """A grey 96x64 frame whose brightness tells its number."""
    return np.full((64, 96, 3), 20 + 6 * number, np.uint8)


def number_of(image: np.ndarray) -> int:
    return round((float(np.median(image)) - 20) / 6)


def encode(path: Path, count: int = 30, fps: int = 10, *, rough: int = 0, **options) -> Path:
    """Frames of `shade` in H.264 with B-frames; rough ones take more bytes than the file's index."""
    rng = np.random.default_rng(0)
    settings = {"g": "10", "bf": "3", "crf": "8", "b_strategy": "0"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=fps, options=settings)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(count):
            image = shade(i) if not rough else rng.integers(0, rough, (64, 96, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path | str, **selection) -> list[tuple[int, float, int]]:
    """Index, time and true number of every frame."""
    with open_source(path, **selection) as source:
        return [(f.index, round(f.time, 4), number_of(f.image)) for f in source]


def reordered(path: Path) -> bool:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.has_b_frames


# --- times ---


@pytest.mark.parametrize("name", ["x.avi", "x.mkv", "x.mp4", "x.ts"])
def test_reordered_frames_come_in_order_and_on_time(name: str, tmp_path: Path) -> None:
    path = encode(tmp_path / name)
    assert reordered(path)
    whole = [(i, i / 10, i) for i in range(30)]
    assert read(path) == whole
    for start in (0.05, 1.0, 1.3, 2.9):
        assert read(path, start=start) == [frame for frame in whole if frame[1] >= start]
    assert read(path, start=0.9, end=2.15, stride=3) == whole[9:22:3]


def test_old_avi_whose_key_frames_come_before_what_is_shown_first(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 2, 6
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(shade(i), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = read(tmp_path / "x.avi")
    assert [frame[:2] for frame in whole] == [(i, i / 10) for i in range(30)]
    assert all(abs(index - number) <= 1 for index, _, number in whole)  # a coarse codec
    for start in (0.4, 1.0, 2.2):
        assert read(tmp_path / "x.avi", start=start) == [frame for frame in whole if frame[1] >= start]


def trimmed(path: Path, seconds: float, fps: int = 10) -> Path:
    """As editors cut: an edit list hides the beginning of an MP4, whose packets stay."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4
    version, entries, duration, media_time = struct.unpack(">B3xIIi", data[at : at + 16])
    assert (version, entries) == (0, 1)
    scale = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]
    struct.pack_into(">Ii", data, at + 8, duration - round(1000 * seconds), media_time + round(scale * seconds))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("cut", [0.3, 1.0, 1.4])
def test_what_an_edit_list_hides_does_not_count(cut: float, tmp_path: Path) -> None:
    path = trimmed(encode(tmp_path / "x.mp4"), cut)
    hidden = round(10 * cut)
    whole = [(i, i / 10, i + hidden) for i in range(30 - hidden)]
    assert read(path) == whole
    for start in (0.1, 0.5, 1.0):
        assert read(path, start=start) == [frame for frame in whole if frame[1] >= start]


# --- how it is shown ---


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write a rotation")
@pytest.mark.parametrize(
    "turn", [(d, h, v) for d in (0, 90, 180, 270) for h, v in ((False, False), (True, False), (False, True))]
)
def test_turned_and_mirrored_as_the_display_matrix_says(turn: tuple[int, bool, bool], tmp_path: Path) -> None:
    degrees, mirrored, flipped = turn
    picture = np.full((64, 96, 3), 30, np.uint8)
    picture[:32, :32] = 220
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(degrees, hflip=mirrored, vflip=flipped)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    right = np.rot90(picture, degrees // 90)  # counter-clockwise, as PyAV counts
    right = right[:, ::-1] if mirrored else right
    right = right[::-1] if flipped else right
    with open_source(tmp_path / "x.mp4") as source:
        image = next(source).image
    assert image.shape == right.shape and np.median(np.abs(image.astype(int) - right)) <= 4


@pytest.mark.parametrize(("degrees", "shown"), [(0, Fraction(64, 45)), (90, Fraction(45, 64)), (180, Fraction(64, 45))])
def test_pixels_that_are_not_square_are_told_and_written(degrees: int, shown: Fraction, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.sample_aspect_ratio = Fraction(64, 45)
        if degrees:
            stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(shade(1), format="rgb24")))
        container.mux(stream.encode())
    with open_source(tmp_path / "x.mp4") as source:
        frame = next(source)
        height, width = frame.image.shape[:2]
        with VideoWriter(tmp_path / "y.mp4", (width, height), 10, pixel_aspect=source.pixel_aspect) as video:
            video.write(frame.image, 0)
    with av.open(str(tmp_path / "y.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (width, height, shown)


def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter("take2:final.mp4", (96, 64), 10) as video:
        for i in range(3):
            video.write(shade(i), i / 10)
    assert [number for _, _, number in read("take2:final.mp4")] == [0, 1, 2]
    with VideoWriter("a:b.mp4", (96, 64), 10, audio_from="take2:final.mp4") as video:
        video.write(shade(0), 0)
    assert len(read("a:b.mp4")) == 1


# --- cut off ---


@pytest.mark.parametrize(("name", "options"), [("x.mp4", {"movflags": "+faststart"}), ("x.mkv", {}), ("x.avi", {})])
def test_a_file_that_ends_before_its_time_says_so(name: str, options: dict, tmp_path: Path) -> None:
    path = encode(tmp_path / name, 40, rough=40, **options)
    with open_source(path) as source:
        assert len(list(source)) == 40 and source.skipped.count == 0
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with open_source(path) as source:
        frames = list(source)
    assert 3 < len(frames) < 38
    assert any("ended early: the file was cut off" in reason for _, reason in source.skipped.items)
    with open_source(path, end=0.3) as source:
        assert len(list(source)) == 3 and source.skipped.count == 0  # what is missing was not wanted


# --- several pictures in one file ---


def animation(path: Path, count: int = 5, duration: int | list[int] = 40) -> Path:
    first, *rest = [Image.fromarray(shade(i)) for i in range(count)]
    first.save(path, save_all=True, append_images=rest, **({} if path.suffix == ".tif" else {"duration": duration}))
    return path


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif", ".tif"])
def test_animations_and_stacks_are_videos(suffix: str, tmp_path: Path) -> None:
    path = animation(tmp_path / f"x{suffix}")
    assert is_animation(path)
    with open_source(path) as source:
        assert source.kind == "video" and source.frame_count == 5 and source.audio is None
        frames = list(source)
    assert [number_of(f.image) for f in frames] == [f.index for f in frames] == list(range(5))
    step = 1 / 30 if suffix == ".tif" else 0.04
    assert [f.time for f in frames] == pytest.approx([i * step for i in range(5)])
    assert source.skipped.count == 0
    assert [index for index, _, _ in read(path, start=0.05, stride=2)] == [2, 4]


def test_frames_of_an_animation_keep_their_own_durations(tmp_path: Path) -> None:
    path = animation(tmp_path / "x.gif", 4, [100, 500, 0, 40])  # a browser shows 0 for 100 ms
    assert [time for _, time, _ in read(path)] == [0, 0.1, 0.6, 0.7]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif", ".tif", ".jpg"])
def test_a_single_picture_is_a_photo(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(shade(3)).save(tmp_path / f"x{suffix}")
    assert not is_animation(tmp_path / f"x{suffix}")
    with open_source(tmp_path / f"x{suffix}") as source:
        assert source.kind == "image" and [number_of(f.image) for f in source] == [3]


def test_smaller_copies_inside_a_tiff_are_no_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(shade(2)), Image.fromarray(shade(2)[::4, ::4])]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with Image.open(tmp_path / "x.tif") as image:
        image.seek(1)
        assert image.tag_v2[254] == 1
    assert not is_animation(tmp_path / "x.tif")


def test_a_stack_of_12_bits_does_not_flicker(tmp_path: Path) -> None:
    first, *rest = [Image.fromarray(np.full((20, 30), value, np.uint16)) for value in (4000, 200, 2000)]
    first.save(tmp_path / "x.tif", save_all=True, append_images=rest)
    with open_source(tmp_path / "x.tif") as source:
        assert [int(f.image.max()) for f in source] == [4000 >> 4, 200 >> 4, 2000 >> 4]


def test_among_photos_the_first_picture_counts_and_the_others_are_told(tmp_path: Path) -> None:
    animation(tmp_path / "x.gif")
    Image.fromarray(shade(7)).save(tmp_path / "y.png")
    with open_source(tmp_path) as source:
        assert [number_of(f.image) for f in source] == [0, 7]
    assert source.skipped.items == [
        ("x.gif", "4 of its 5 pictures: among photos only the first one counts; give the file by itself for all of them")
    ]


def test_what_is_left_of_a_damaged_animation_is_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, *rest = [Image.fromarray(rng.integers(0, 255, (64, 96), dtype=np.uint8)) for _ in range(6)]
    first.save(tmp_path / "x.gif", save_all=True, append_images=rest, duration=100)
    data = (tmp_path / "x.gif").read_bytes()
    (tmp_path / "x.gif").write_bytes(data[: len(data) * 6 // 10])
    with open_source(tmp_path / "x.gif") as source:
        frames = list(source)
    assert 2 <= len(frames) < 6
    assert source.skipped.count >= 1


# --- pipes and the web ---


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_no_sources(tmp_path: Path) -> None:
    for name in ("pipe.mp4", "pipe.jpg", "pipe"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SourceError, match="it is a pipe or device"):
            open_source(tmp_path / name)
    with pytest.raises(SourceError, match="it is a pipe or device"):
        open_source("/dev/zero")
    Image.fromarray(shade(1)).save(tmp_path / "a.png")
    with open_source(tmp_path) as source:
        assert [f.name for f in source] == ["a.png"] and source.skipped.count == 3


@pytest.fixture
def site(tmp_path: Path):
    """A web server whose paths say what they give: CONTENT/TYPE/any/name."""
    file = io.BytesIO()
    Image.fromarray(shade(9)).save(file, "png")
    contents = {
        "photo": file.getvalue(),
        "gif": animation(tmp_path / "served.gif").read_bytes(),
        "video": encode(tmp_path / "served.ts").read_bytes(),
        "text": b"hello",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, content, kind, *_ = self.path.split("/")
            wanted = "Basic dTpwQHNz" if "secret" in self.path else None
            if self.headers.get("Authorization") != wanted or content not in contents:
                self.send_error(403)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind.replace("-", "/", 1))
            self.send_header("Content-Length", str(len(contents[content])))
            self.end_headers()
            self.wfile.write(contents[content])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("path", "kind", "name", "numbers"),
    [
        ("photo/image-png/person.png", "image", "person.png", [9]),
        ("photo/image-png/person.png?size=2", "image", "person.png", [9]),
        ("photo/image-jpeg/a%20b", "image", "a b", [9]),
        ("photo/application-octet-stream/person.jpg", "image", "person.jpg", [9]),
        ("gif/image-gif/dance.gif", "video", "frame", [0, 1, 2, 3, 4]),
        ("video/video-mp2t/live", "stream", "frame", list(range(30))),
        ("video/video-mp2t/live.ts", "stream", "frame", list(range(30))),
    ],
)
def test_a_url_is_what_it_gives(site: str, path: str, kind: str, name: str, numbers: list[int]) -> None:
    with open_source(f"{site}/{path}") as source:
        assert source.kind == kind
        frames = list(source)
    assert [number_of(f.image) for f in frames] == numbers and {f.name for f in frames} == {name}


def test_user_and_password_of_a_photo_reach_the_server_and_nothing_else(site: str) -> None:
    host = site.removeprefix("http://")
    with open_source(f"http://u:p%40ss@{host}/photo/image-png/secret.png") as source:
        assert [number_of(f.image) for f in source] == [9]
    with pytest.raises(SourceError, match="403") as caught:
        open_source(f"http://u:wrong@{host}/photo/image-png/secret.png")
    assert "wrong" not in str(caught.value)


def test_a_photo_that_is_none_and_one_without_end_are_refused(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"cannot read image x\.png"):
        open_source(f"{site}/text/image-png/x.png")
    monkeypatch.setattr("gtpt.io.sources.web.MAX_BYTES", 10)
    with pytest.raises(SourceError, match="takes more than"):
        open_source(f"{site}/photo/image-png/x.png")


def test_size_changes_lose_no_frames(tmp_path: Path) -> None:
    """What broadcasters and phones that are turned do: two H.264 streams after each other."""
    parts = []
    for width, height in ((96, 64), (192, 128)):
        with av.open(str(tmp_path / "part.ts"), "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for i in range(6):
                frame = cv2.resize(shade(i), (width, height))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        parts.append((tmp_path / "part.ts").read_bytes())
    (tmp_path / "x.ts").write_bytes(b"".join(parts))
    with open_source(tmp_path / "x.ts") as source:
        frames = list(source)
    assert [f.image.shape[:2] for f in frames] == [(64, 96)] * 6 + [(128, 192)] * 6
    assert [f.index for f in frames] == list(range(12)) and np.diff([f.time for f in frames]).min() > 0


def test_side_data_that_pyav_does_not_know(tmp_path: Path) -> None:
    """FFmpeg 8 gives the EXIF of a photo, here one that is named like a film, as a kind that PyAV 18 lacks."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48), "red").save(tmp_path / "photo.mp4", format="PNG", exif=exif)
    with open_source(tmp_path / "photo.mp4") as source:
        assert [frame.image.shape for frame in source] == [(64, 48, 3)]
