"""Videos are read back with PyAV: codec, colours, frame times, sound; and what is done survives a crash."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gtpt.io import video_writer
from gtpt.io.sources import open_source
from gtpt.io.video_writer import VideoWriter

av = pytest.importorskip("av")

TIMES = [i / 30 + (0.25 if i > 10 else 0) + 0.004 * (i % 3) for i in range(40)]  # uneven, with a pause


def image(i: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    width, height = size
    frame = np.full((height, width, 3), (210, 60, 30), np.uint8)
    frame[: height // 2, : width // 2] = (20, 5 * i, 200)
    return frame


def write(path: Path, times: list[float] = TIMES, size: tuple[int, int] = (64, 48), **options) -> Path:
    with VideoWriter(path, size, 30, **options) as video:
        for i, seconds in enumerate(times):
            video.write(image(i, size), seconds)
    return path


def video_with_sound(path: Path, codec: str = "aac", seconds: float = 3.0) -> Path:
    """A tone that gets louder, beside a picture."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=16000, layout="mono")
        audio.bit_rate = 32_000
        for i in range(round(seconds * 30)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image(i % 50), format="rgb24")))
        container.mux(video.encode())
        for first in range(0, round(seconds * 16000), 1024):
            t = np.arange(first, first + 1024) / 16000
            frame = av.AudioFrame.from_ndarray(np.float32(np.sin(2765 * t) * t / seconds)[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, first, Fraction(1, 16000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def sound(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Time and loudness of the pieces of sound."""
    with av.open(str(path)) as container:
        frames = [(f.time, float(np.abs(f.to_ndarray()).max())) for f in container.decode(audio=0)]
    return tuple(np.array(frames).T)


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1), (1920, 1080)])
def test_h264_yuv420p_with_the_frame_times_and_colours_that_were_given(tmp_path, size):
    times = TIMES if size[0] < 100 else TIMES[:3]
    path = write(tmp_path / "video.mp4", times, size)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == tuple(side + side % 2 for side in size)
        assert container.duration / av.time_base == pytest.approx(times[-1] + 1 / 30, abs=0.02)
        frames = list(container.decode(stream))
    assert [f.time for f in frames] == pytest.approx(times, abs=2e-5)
    if size[0] > 1:
        with open_source(path, stride=2) as source:
            _, picture = (frame.image[: size[1], : size[0]] for _, frame in zip(range(2), source, strict=False))
        assert np.median(np.abs(picture.astype(int) - image(2, size))) <= 3


def test_players_can_start_before_the_file_is_there(tmp_path):
    data = write(tmp_path / "video.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_players_are_told_that_uneven_times_last_to_their_end(tmp_path):
    times = [0, 0.04, 0.08, 0.12, 0.5, 0.54, 1, 1.04, 1.08, 2]
    with av.open(str(write(tmp_path / "out.mp4", times))) as container:
        stream = container.streams.video[0]
        assert min(container.duration / av.time_base, stream.duration * stream.time_base) > 2


def test_video_begins_with_its_first_frame(tmp_path):
    path = write(tmp_path / "video.mp4", [t + 100 for t in TIMES])
    with open_source(path) as source:
        assert [f.time for f in source] == pytest.approx(TIMES, abs=2e-5)


@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
def test_sound_is_copied_in_step_with_the_picture(tmp_path, codec):
    source = video_with_sound(tmp_path / "in.mp4", codec)
    path = write(tmp_path / "out.mp4", [1 + i / 30 for i in range(31)], audio_from=source)  # its second from 1 to 2
    with av.open(str(path)) as container, av.open(str(source)) as original:
        assert container.streams.audio[0].codec_context.name == original.streams.audio[0].codec_context.name
    (times, loudness), (source_times, source_loudness) = sound(path), sound(source)
    assert 0 <= times[0] < 0.1 and 0.9 < times[-1] < 1.1
    inner = (times > 0.15) & (times < 0.9)  # at a cut the decoder swings in
    assert loudness[inner] == pytest.approx(np.interp(times[inner] + 1, source_times, source_loudness), abs=0.03)


def test_no_sound_or_foreign_sound_gives_a_silent_video(tmp_path, caplog):
    silent = write(tmp_path / "silent.mp4", audio_from=write(tmp_path / "in.mp4"))
    foreign = write(tmp_path / "foreign.mp4", audio_from=video_with_sound(tmp_path / "in.wmv", "wmav2"))
    for path in (silent, foreign):
        with av.open(str(path)) as container:
            assert not container.streams.audio and container.streams.video[0].frames == len(TIMES)
    assert "mp4 holds no wmav2 sound" in caplog.text


def test_sound_whose_clock_jumps_leaves_the_picture(tmp_path, caplog):
    once = video_with_sound(tmp_path / "once.ts", seconds=1)
    glued = tmp_path / "glued.ts"
    glued.write_bytes(once.read_bytes() * 2)
    path = write(tmp_path / "out.mp4", [i / 30 for i in range(50)], audio_from=glued)
    with open_source(path) as frames:
        assert sum(1 for _ in frames) == 50
    assert "the clock of the sound jumps back" in caplog.text and 0.8 < sound(path)[0][-1] < 1.2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_done_is_kept_when_the_work_breaks_off(tmp_path, error):
    source = video_with_sound(tmp_path / "in.mp4")
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an older video")
    with pytest.raises(error), VideoWriter(path, (64, 48), 30, audio_from=source) as video:
        for i in range(20):
            video.write(image(i), i / 30)
        assert path.read_bytes() == b"an older video"  # replaced only at the end
        raise error
    with open_source(path) as frames:
        assert sum(1 for _ in frames) == 20
    assert 0.5 < sound(path)[0][-1] < 0.8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_nothing_is_left_without_a_frame(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", (64, 48), 30, audio_from=video_with_sound(tmp_path / "in.mp4")) as video:
        pass
    video.close()
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_errors_name_the_value(tmp_path):
    for path, size, fps, audio, error, message in [
        ("x.avi", (4, 4), 30, None, ValueError, r"named \.mp4.*x\.avi"),
        ("x.mp4", (0, 4), 30, None, ValueError, r"positive, got \(0, 4\)"),
        ("x.mp4", (4, 4), 0, None, ValueError, "positive"),
        ("x.mp4", (4, 4), float("nan"), None, ValueError, "positive"),
        ("no/x.mp4", (4, 4), 30, None, FileNotFoundError, "no folder"),
        ("x.mp4", (4, 4), 30, tmp_path / "no.mp4", FileNotFoundError, "to take the sound from"),
    ]:
        with pytest.raises(error, match=message):
            VideoWriter(tmp_path / path, size, fps, audio_from=audio)
    with VideoWriter(tmp_path / "x.mp4", (64, 48), 30) as video:
        video.write(image(0), 1.0)
        for bad, seconds, message in [
            (image(0)[:-1], 2.0, r"shape \(48, 64, 3\)"),
            (image(0).astype(float), 2.0, "uint8"),
            (image(0), 1.0, "must increase, got 1.0 s after 1.0 s"),
        ]:
            with pytest.raises(ValueError, match=message):
                video.write(bad, seconds)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]


def test_a_size_that_h264_cannot_have_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot write a video of 20000x10 to .*x\.mp4"):
        with VideoWriter(tmp_path / "x.mp4", (20_000, 10), 30) as video:
            video.write(image(0, (20_000, 10)), 0.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.integration
def test_real_video_through_reader_and_writer(shared, tmp_path):
    real = shared / "data/video/pose2sim_SinglePerson_cam01.mp4"
    with open_source(real, stride=5, end=1.0) as source, VideoWriter(tmp_path / "out.mp4", (1080, 1920), 12, real) as video:
        frames = list(source)
        for frame in frames:
            video.write(frame.image, frame.time)
    with open_source(tmp_path / "out.mp4") as source:
        again = list(source)
    assert [f.time for f in again] == pytest.approx([f.time for f in frames], abs=2e-5)
    difference = again[5].image.astype(int) - frames[5].image
    assert 20 * np.log10(255 / np.sqrt((difference**2).mean())) > 34  # PSNR in dB


def test_what_a_killed_process_wrote_plays(tmp_path):
    """All but the last second or so; and a finished video is whole, with its index in front."""
    code = f"""
        import os, signal
        import numpy as np
        from gtpt.io.video_writer import VideoWriter
        video = VideoWriter({str(tmp_path / "out.mp4")!r}, (64, 48), 30)
        for i in range(300):
            video.write(np.full((48, 64, 3), i % 256, np.uint8), i / 30)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = tmp_path.iterdir()
    with open_source(left) as frames:
        times = [frame.time for frame in frames]
    assert len(times) >= 180 and np.allclose(np.diff(times), 1 / 30, atol=1e-4)
    whole = write(tmp_path / "out.mp4", [i / 30 for i in range(50)]).read_bytes()
    assert b"moof" not in whole and 0 < whole.index(b"moov") < whole.index(b"mdat")
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
def test_what_a_killed_process_wrote_with_sound_plays(tmp_path, suffix):
    """AAC of a transport stream, too, whose packets each say what MP4 says once."""
    source = video_with_sound(tmp_path / f"in{suffix}")
    code = f"""
        import os, signal
        import numpy as np
        from gtpt.io.video_writer import VideoWriter
        video = VideoWriter({str(tmp_path / "out.mp4")!r}, (64, 48), 30, {str(source)!r})
        for i in range(300):
            video.write(np.full((48, 64, 3), i % 256, np.uint8), i / 30)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = (file for file in tmp_path.iterdir() if file != source)
    with open_source(left) as frames:
        assert sum(1 for _ in frames) >= 180
    assert sound(left)[0][-1] > 0.8


def test_without_room_for_a_copy_the_fragments_stay(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 0, video_writer.RESERVE + 100)
    monkeypatch.setattr(video_writer.shutil, "disk_usage", lambda _: usage)
    path = write(tmp_path / "out.mp4", [i / 30 for i in range(50)])
    assert b"moof" in path.read_bytes() and [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    with open_source(path) as frames:
        assert sum(1 for _ in frames) == 50
