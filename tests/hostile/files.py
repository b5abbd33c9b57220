"""Files that must hurt nobody: truncated, lying, endless, enormous, or with code inside.

Each function writes those of one kind into a folder and returns their paths. Nothing is larger than a few MB on disk.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

DEEP = 100_000
LONG = "9" * 400
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
SMOOTH = cv2.resize(PICTURE[:6, :8], (96, 64))


def encoded(suffix: str, picture: np.ndarray = SMOOTH) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def by_pillow(kind: str, picture: np.ndarray = SMOOTH, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(picture).save(target, kind, **options)
    return target.getvalue()


def png(width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 0, more: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def zeros(count: int) -> bytes:
    """So many bytes of nothing, compressed."""
    packer, out = zlib.compressobj(1), []
    for start in range(0, count, 1 << 20):
        out.append(packer.compress(bytes(min(1 << 20, count - start))))
    return b"".join((*out, packer.flush()))


def progressive_jpegs() -> Iterator[tuple[str, bytes]]:
    """Cut off between two of its scans it decodes, coarse and grey."""
    data = by_pillow("JPEG", cv2.resize(PICTURE, (192, 128)), progressive=True, quality=90)
    scans = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    tables = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xc4" and i > scans[0]]
    yield "progressive cut between scans.jpg", data[: tables[0]]
    yield "progressive cut in a scan.jpg", data[: scans[3] + 40]


def tiff(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + body + struct.pack("<I", following)


def _photos() -> Iterator[tuple[str, bytes]]:
    yield "empty.jpg", b""
    yield "text.png", b"no picture " * 100
    yield "page.jpg", b"<!DOCTYPE html><html>404</html>"
    yield "null bytes.bmp", bytes(5000)
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".tif", ".jp2", ".avif"):
        data = encoded(suffix)
        yield f"half{suffix}", data[: len(data) // 2]
        yield f"head{suffix}", data[:30]
    yield "half.gif", by_pillow("GIF")[:200]
    yield from progressive_jpegs()
    yield "32000 x 32000.png", png(32000, 32000, zeros(4001 * 32000), depth=1)
    yield "largest.png", png(2**31 - 1, 2**31 - 1, zeros(1000))
    yield "no width.png", png(0, 64, zeros(1000))
    yield "few rows.png", png(64, 64, zeros(100))
    yield "bad sum.png", encoded(".png").replace(b"IDAT", b"IDAX")
    yield "65535.gif", b"GIF89a" + struct.pack("<HH", 65535, 65535) + by_pillow("GIF")[10:]
    yield "largest.ppm", b"P6 2000000000 2000000000 255\n" + bytes(100)
    yield "long number.ppm", b"P6 " + LONG.encode() + b" 1 255\n" + bytes(100)
    yield "negative.pgm", b"P5 -5 -5 255\n" + bytes(100)
    yield "largest.bmp", encoded(".bmp")[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + encoded(".bmp")[26:]
    yield "negative.bmp", encoded(".bmp")[:18] + struct.pack("<ii", -96, -(2**31)) + encoded(".bmp")[26:]
    sizes = [(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    yield "largest.tif", tiff([*sizes, (273, 4, 1, 8), (278, 4, 1, 1), (279, 4, 1, 2**32 - 1)], 0)
    yield "pages in a circle.tif", tiff([(256, 4, 1, 4), (257, 4, 1, 4)], 8)
    yield "many strips.tif", tiff([(256, 4, 1, 4), (257, 4, 1, 4), (273, 4, 2**31, 8), (279, 4, 2**31, 8)], 0)
    yield "head.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    yield "large box.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\xff\xff\xff\xffmeta" + bytes(99)
    yield "large box.avif", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\xff\xff\xff\xffmeta" + bytes(99)
    yield "rubbish.exr", b"v/1\x01" + bytes(200)
    yield "rubbish.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2000000000 +X 2000000000\n" + bytes(50)
    yield "rubbish.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(range(256)) * 4
    yield "riff.webp", b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff" + bytes(100)


def _odd_photos() -> Iterator[tuple[str, bytes]]:
    """Strange, but pictures: they must be done."""
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(20 << 20))
    yield "bomb in a comment.png", encoded(".png")[:33] + text + encoded(".png")[33:]
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 60
    yield "exif of rubbish.jpg", b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + encoded(".jpg")[2:]
    yield "rubbish behind.jpg", encoded(".jpg") + os.urandom(1000)
    yield "wrong ending.png", encoded(".jpg")
    yield "one pixel.png", encoded(".png", SMOOTH[:1, :1])
    yield "a row.png", encoded(".png", np.zeros((1, 20_000, 3), np.uint8))
    yield "n" * 246 + ".png", encoded(".png")
    yield "写" * 80 + ".png", encoded(".png")
    yield "take:2 %s {x} 'q' $HOME ;rm.png", encoded(".png")
    yield "new\nline\t\x1b[31m.png", encoded(".png")


def photos(folder: Path) -> tuple[list[str], list[str]]:
    """Names of files that are none or broken, and of those that are strange but whole."""
    folder.mkdir(parents=True)
    for name, data in (*_photos(), *_odd_photos()):
        (folder / name).write_bytes(data)
    bad, odd = [name for name, _ in _photos()], [name for name, _ in _odd_photos()]
    with open(os.fsencode(folder) + b"/not utf-8 \xff\xfe.png", "wb") as file:
        file.write(encoded(".png"))
    odd.append(os.fsdecode(b"not utf-8 \xff\xfe.png"))
    (folder / "folder.png").mkdir()
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "random.jpg").symlink_to("/dev/urandom")
    os.mkfifo(folder / "pipe.jpg")
    return [*bad, "folder.png", "gone.jpg", "circle.jpg", "zero.png", "random.jpg", "pipe.jpg"], odd


def film(path: Path, frames: int = 8, **options: Any) -> Path:
    import av

    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(SMOOTH, i, axis=1), format="rgb24")))
        container.mux(stream.encode())
    return path


def films(folder: Path) -> list[Path]:
    """Files that are no films, or begin like one."""
    folder.mkdir(parents=True)
    kinds = {suffix: film(folder / f"whole{suffix}").read_bytes() for suffix in (".mp4", ".mkv", ".avi", ".ts")}
    for suffix in kinds:
        (folder / f"whole{suffix}").unlink()
    mp4 = kinds[".mp4"]
    secret = folder / "secret.txt"
    secret.write_text("root:x:0:0\n")
    files: dict[str, bytes] = {
        **{f"head{suffix}": data[:40] for suffix, data in kinds.items()},
        "half.mp4": mp4[: len(mp4) // 2],
        "large box.mp4": mp4[:32] + b"\xff\xff\xff\xff" + mp4[36:],
        "many frames.mp4": mp4.replace(b"stsz\0\0\0\0\0\0\0\0\0\0\0\x08", b"stsz\0\0\0\0\0\0\0\0\xff\xff\xff\xff"),
        "empty.mp4": b"",
        "zeros.mkv": bytes(10_000),
        "noise.ts": np.random.default_rng(1).bytes(20_000),
        "text.avi": b"no film " * 500,
        "list.m3u8": f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "itself.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nitself.m3u8\n#EXT-X-ENDLIST\n",
        "concat.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "session.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "noise.gif": by_pillow("GIF")[:60] + np.random.default_rng(2).bytes(500),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder.mp4.lnk").symlink_to("folder.mp4.lnk")
    (folder / "zero.mp4").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.mp4")
    return [*(folder / name for name in files), folder / "zero.mp4", folder / "pipe.mp4"]


# --- boxes and annotations ---

IMAGES = [{"id": 1, "file_name": "good.png", "width": 96, "height": 64}]
PERSON = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 40, 40], "area": 1600, "iscrowd": 0}
PERSON |= {"keypoints": [30, 30, 2] * 17, "num_keypoints": 17}
CATEGORY = {"id": 1, "name": "person"}


def coco(person: Any = None, **lists: Any) -> str:
    data = {"images": IMAGES, "annotations": [PERSON if person is None else person], "categories": [CATEGORY], **lists}
    return json.dumps(data)


def annotations(folder: Path) -> list[Path]:
    """COCO files that say nothing usable, or not of the one person in good.png."""
    folder.mkdir(parents=True)
    texts: dict[str, str | bytes] = {
        "empty": "",
        "null": "null",
        "a number": "7",
        "a text": '"text"',
        "half": coco()[:200],
        "latin": coco().replace("good", "göod").encode("latin-1"),
        "utf-16": coco().encode("utf-16"),
        "null bytes": b"\0" * 5000,
        "brackets": "[" * DEEP,
        "closed brackets": "[" * DEEP + "]" * DEEP,
        "braces": '{"images":' * DEEP,
        "deep list": '{"images":' + "[" * DEEP + "]" * DEEP + ',"annotations":[],"categories":[]}',
        "lists of numbers": '{"images":[1],"annotations":[2],"categories":[3]}',
        "lists of lists": '{"images":[[]],"annotations":[[]],"categories":[[]]}',
        "objects for lists": '{"images":{},"annotations":{},"categories":{}}',
        "no lists": "{}",
        "empty list": "[]",
        "list of null": "[null]",
        "results without boxes": '[{"image_id":1,"score":0.5}]',
        "results of nothing": '[{"image_id":1,"bbox":null,"score":0.5}]',
        "results with a long score": '[{"image_id":"good.png","bbox":[1,2,30,40],"score":' + LONG + "}]",
        "no categories": coco(categories=[]),
        "image without a name": coco(images=[{"id": 1}]),
        "a name of a number": coco(images=[{**IMAGES[0], "file_name": 7}]),
        "a name outside": coco(images=[{**IMAGES[0], "file_name": "../../../../etc/passwd"}]),
        "an absolute name": coco(images=[{**IMAGES[0], "file_name": "/etc/passwd"}]),
        "a name of a null byte": coco(images=[{**IMAGES[0], "file_name": "a\0b.png"}]),
        "a name of a surrogate": coco(images=[{**IMAGES[0], "file_name": "\ud800.png"}]),
        "a long name": coco(images=[{**IMAGES[0], "file_name": "n" * 100_000}]),
        "a long size": coco().replace("96", LONG),
        "a long id": coco().replace('"id": 1', f'"id": {LONG}'),
        "an infinite id": coco().replace('"id": 1', '"id": 1e999'),
        "an id of an object": coco().replace('"id": 1', '"id": {}'),
        "ids of both kinds": coco(images=[*IMAGES, {**IMAGES[0], "id": "x"}]),
    }
    for name, value in {
        "text": '"x"',
        "object": "{}",
        "null": "null",
        "true": "true",
        "three": "[1,2,3]",
        "texts": '["1","2","3","4"]',
        "nan": "[NaN,1,2,3]",
        "infinite": "[1e999,1,2,3]",
        "long": f"[{LONG},1,2,3]",
        "largest": "[-3e38,-3e38,6e38,6e38]",
        "flat": "[20,10,40,0]",
        "inverted": "[20,10,-40,-40]",
        "nested": "[[[[1]]],1,2,3]",
        "far": "[1e6,1e6,5,5]",
        "true values": "[true,true,true,true]",
    }.items():
        texts[f"box {name}"] = coco().replace("[20, 10, 40, 40]", value)
    for name, value in {
        "text": '"x"',
        "short": "[1,2]",
        "nan": f"[{','.join(['NaN'] * 51)}]",
        "long": f"[{','.join([LONG] * 51)}]",
        "objects": f"[{','.join(['{}'] * 51)}]",
    }.items():
        texts[f"joints {name}"] = coco().replace(json.dumps(PERSON["keypoints"]), value)
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        paths.append(path)
    return paths


def tables(folder: Path) -> list[Path]:
    """CSV tables of boxes that say nothing usable."""
    folder.mkdir(parents=True)
    head = "name,x1,y1,x2,y2\n"
    texts: dict[str, str | bytes] = {
        "empty": "",
        "only a head": "a,b\n1,2\n",
        "open quote": head + '"good.png,1,2,30,40\n' * 1000,
        "column twice": "name,x1,y1,x2,y2,x1\ngood.png,1,2,30,40,5\n",
        "text": head + "good.png,a,b,c,d\n",
        "nan": head + "good.png,nan,nan,nan,nan\n",
        "infinite": head + "good.png,-inf,-inf,inf,inf\n",
        "long": head + f"good.png,1,2,{LONG},40\n",
        "huge field": head + "good.png," + "1" * 200_000 + ",2,30,40\n",
        "few columns": head + "good.png,1\n",
        "no name": head + ",1,2,30,40\n",
        "null bytes": head.encode() + b"good.png\0,1,2,30,40\n",
        "zeros": bytes(5000),
        "not utf-8": head.encode() + b"g\xff\xfe.png,1,2,30,40\n",
        "utf-16": (head + "good.png,1,2,30,40\n").encode("utf-16"),
        "inverted": head + "good.png,30,40,1,2\n",
        "score": "name,x1,y1,x2,y2,score\ngood.png,1,2,30,40,7\n",
        "pickle": pickle.dumps(Code()),
    }
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths.append(path)
    return paths


# --- weights ---


class Code:
    """Makes a folder where it is unpickled, which a test would see."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("code-ran",)


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def weights(folder: Path, onnx: Path, tensors: Path) -> list[Path]:
    """Files of the kinds that networks come in; `onnx` and `tensors` are whole ones to spoil."""
    folder.mkdir(parents=True)
    network, whole = onnx.read_bytes(), tensors.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    ours = json.loads(header["__metadata__"]["gtpt"])
    name = next(key for key in header if key != "__metadata__")

    def changed(**config: Any) -> bytes:
        text = json.dumps({**ours, "config": {**ours["config"], **config}})
        return safetensors({**header, "__metadata__": {"gtpt": text}}, whole[8 + length :])

    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x40
    flipped_onnx = bytearray(network)
    flipped_onnx[len(network) // 2] ^= 0x40
    files = {
        "empty.onnx": b"",
        "half.onnx": network[: len(network) // 2],
        "zeros.onnx": bytes(10_000),
        "text.onnx": b"no network",
        "flipped.onnx": bytes(flipped_onnx),
        "empty.safetensors": b"",
        "half.safetensors": whole[: len(whole) // 2],
        "flipped.safetensors": bytes(flipped),
        "long header.safetensors": struct.pack("<Q", 2**63 - 1) + b"{}",
        "header beyond.safetensors": struct.pack("<Q", len(whole) * 2) + whole[8:],
        "no json.safetensors": safetensors(b"x" * 100),
        "brackets.safetensors": safetensors(b"[" * DEEP),
        "a list.safetensors": safetensors([1]),
        "no header of ours.safetensors": safetensors(
            {k: v for k, v in header.items() if k != "__metadata__"}, whole[8 + length :]
        ),
        "terabytes.safetensors": safetensors(
            {**header, name: {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
        ),
        "negative.safetensors": safetensors({**header, name: {"dtype": "F32", "shape": [-1], "data_offsets": [-4, 0]}}),
        "wide.safetensors": changed(channels=2**40),
        "long number.safetensors": changed(channels=1).replace(b'"channels": 1', b'"channels": 1' + b"0" * 0),
        "a float.safetensors": changed(channels=1e308),
        "infinite.safetensors": changed(keep_rates=[float("inf")] * 4),
        "text.safetensors": changed(input_size="large"),
        "deep.safetensors": changed(depth=10**9) if "depth" in ours["config"] else changed(input_size=[10**9, 10**9]),
        "code.pth": pickle.dumps(Code()),
        "empty.pth": b"",
        "zeros.pth": bytes(5000),
        "text.pth": b"no network",
    }
    for file_name, data in files.items():
        (folder / file_name).write_bytes(data)
    os.mkfifo(folder / "pipe.onnx")
    zipped(folder / "code in a zip.pth", {"archive/data.pkl": pickle.dumps(Code()), "archive/version": b"3\n"})
    zipped(folder / "bomb.pth", {"archive/data.pkl": b"\x80\x02}q\0.", "archive/data/0": bytes(50 << 20)})
    return [
        *(folder / file_name for file_name in files),
        *(folder / f for f in ("code in a zip.pth", "bomb.pth", "pipe.onnx")),
    ]


def archives(folder: Path) -> list[Path]:
    """Zips of good.png and annotations.json that are none, lie, or hold too much."""
    folder.mkdir(parents=True)
    picture, annotations = encoded(".png"), coco().encode()
    whole = zipped(folder / "whole.zip", {"good.png": picture, "annotations.json": annotations}).read_bytes()
    (folder / "whole.zip").unlink()
    entry = whole.index(b"PK\x01\x02")
    files: dict[str, bytes] = {
        "empty.zip": b"",
        "half.zip": whole[: len(whole) // 2],
        "text.zip": b"no archive",
        "no directory.zip": whole[:entry],
        "zeros inside.zip": whole[:40] + bytes(entry - 40) + whole[entry:],
        "locked.zip": whole.replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0"),
        "other method.zip": whole.replace(b"\x08\0", b"\x63\0"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    zipped(folder / "bomb.zip", {"good.png": bytes(200 << 20), "annotations.json": b" " * (200 << 20)})
    large = zipped(folder / "large.zip", {"good.png": picture, "annotations.json": annotations})
    sizes = [data.to_bytes(4, "little") for data in (len(picture), len(annotations))]
    content = large.read_bytes()
    large.write_bytes(
        content.replace(sizes[0] + b"\x08\0", b"\xf0\xff\xff\xff\x08\0").replace(
            sizes[1] + b"\x10\0", b"\xf0\xff\xff\xff\x10\0"
        )
    )
    zipped(folder / "outside.zip", {"../good.png": picture, "/annotations.json": b"{}"})
    zipped(folder / "rubbish.zip", {"good.png": b"no picture", "annotations.json": b"[" * DEEP})
    return [
        *(folder / name for name in files),
        *(folder / f"{name}.zip" for name in ("bomb", "large", "outside", "rubbish")),
    ]


# --- YAML ---


def settings(folder: Path) -> list[Path]:
    """Experiments, skeletons and data sets in YAML."""
    folder.mkdir(parents=True)
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    texts: dict[str, str | bytes] = {
        "empty": "",
        "a text": "just words",
        "a list": "[1, 2]",
        "bomb": bomb,
        "circle": "a: &a [*a]\n",
        "deep": "[" * 20_000,
        "deep block": "".join(f"{' ' * i}a:\n" for i in range(2000)),
        "code": "a: !!python/object/apply:os.mkdir [code-ran]\n",
        "tabs": "a:\n\t- b\n",
        "null bytes": b"a: \0\n",
        "latin": "a: ä\n".encode("latin-1"),
        "large": "a: " + "x" * (1 << 20),
        "date": "out: 2020-99-99\n",
        "time": "out: 1:1:1:1:1\n",
        "long number": f"train: {{epochs: {LONG}}}\n",
        "infinite": "train: {lr: .inf}\n",
        "nan": "train: {lr: .nan}\n",
        "keys": "? [a, b]\n: 1\n? {c: d}\n: 2\n",
        "twice": "out: a\nout: b\n",
        "many joints": "keypoints: [" + ",".join(f"k{i}" for i in range(50_000)) + "]\n",
        "pose": f"kpt_shape: [{LONG}, 3]\nnames: {{a: b}}\ntrain: 7\npath: 5\n",
        "pose names": "kpt_shape: [3, 3]\nnames: {a: b}\ntrain: images\n",
        "pose path": "kpt_shape: [3, 3]\nnames: [a]\npath: 5\ntrain: {x: y}\n",
        "pose flip": "kpt_shape: [3, 3]\nnames: [a]\nflip_idx: [0, x, 2]\ntrain: .\n",
        "pose many": "kpt_shape: [1000000000, 3]\nnames: [a]\ntrain: .\n",
        "pose circle": "kpt_shape: [3, 3]\nnames: &n [*n]\ntrain: .\n",
    }
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths.append(path)
    return paths
