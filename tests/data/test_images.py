"""Image stores: folders and zips, every format, and errors that name the file."""

import json
import pickle
import zipfile

import cv2
import numpy as np
import pytest

from gtpt.data.images import FileStore, read_json

from .figures import draw_figure, write_set, zipped


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".jpg", 12), (".webp", 12), (".avif", 12)])
@pytest.mark.parametrize("packed", [False, True])
def test_formats(tmp_path, suffix, tolerance, packed):
    figure = draw_figure()
    folder = tmp_path / "set"
    (folder / "a").mkdir(parents=True)
    try:
        assert cv2.imwrite(str(folder / "a" / f"x{suffix}"), figure[..., ::-1])
    except cv2.error:
        pytest.skip(f"this OpenCV does not write {suffix}")
    store = FileStore(zipped(folder) / "a" if packed else folder / "a")
    assert store.exists(f"x{suffix}") and not store.exists("y.png")
    image = store.read_image(f"x{suffix}", ignore_orientation=True)
    assert image.shape == figure.shape and image.dtype == np.uint8
    difference = np.abs(image.astype(int) - figure)
    assert difference.mean() <= tolerance and np.median(difference) <= 2  # colours in RGB order, not BGR


def test_pixels_are_taken_as_stored(tmp_path):
    """COCO's coordinates mean the stored pixels, whatever EXIF says about holding the camera."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to look at it
    Image.fromarray(draw_figure()).save(tmp_path / "x.jpg", exif=exif)
    store = FileStore(tmp_path)
    assert store.read_image("x.jpg", ignore_orientation=True).shape == (400, 320, 3)
    assert store.read_image("x.jpg").shape == (320, 400, 3)


def test_missing_things_are_named(tmp_path):
    folder = write_set(tmp_path / "set", 1)
    for store in (FileStore(folder / "images"), FileStore(zipped(folder) / "images")):
        with pytest.raises(FileNotFoundError, match=r"no\.png"):
            store.read_bytes("no.png")
    with pytest.raises(FileNotFoundError, match="no folder or zip file at"):
        FileStore(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no annotation file at"):
        read_json(tmp_path / "nothing.json")
    (tmp_path / "half.zip").write_bytes((tmp_path / "set.zip").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"half\.zip is not a zip file or was not copied completely"):
        FileStore(tmp_path / "half.zip")
    (tmp_path / "bad.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"bad\.json is not JSON"):
        read_json(tmp_path / "bad.json")


def test_damaged_images_are_named(tmp_path):
    whole = cv2.imencode(".jpg", draw_figure())[1].tobytes()
    for name, content in (("empty.jpg", b""), ("cut.jpg", whole[: len(whole) // 2]), ("text.jpg", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            FileStore(tmp_path).read_image(name)


def test_damage_inside_a_zip_is_named(tmp_path):
    archive = zipped(write_set(tmp_path / "set", 1))
    content = bytearray(archive.read_bytes())
    start = content.index(b"images/000.png") + 40
    content[start : start + 200] = bytes(200)
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"images/000\.png in .*set\.zip is damaged .*copy it again"):
        FileStore(archive / "images").read_image("000.png")


def test_a_store_travels_to_other_processes(tmp_path):
    store = FileStore(zipped(write_set(tmp_path / "set", 1)) / "images")
    before = store.read_bytes("000.png")
    assert pickle.loads(pickle.dumps(store)).read_bytes("000.png") == before


def test_json_inside_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("deep/a.json", json.dumps([1]))
    assert read_json(tmp_path / "x.zip" / "deep" / "a.json") == [1]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/hostname", "C:\\x.png", "..\\x.png", "//server/x.png"])
def test_names_stay_in_their_folder(tmp_path, name, packed):
    """An annotation file of a stranger names no file elsewhere, nor tells whether it is there."""
    folder = tmp_path / "set"
    (folder / "a").mkdir(parents=True)
    cv2.imwrite(str(folder / "a" / "x.png"), draw_figure())
    cv2.imwrite(str(tmp_path / "x.png"), draw_figure())
    store = FileStore(zipped(folder) if packed else folder)
    for use in (store.exists, store.read_bytes, store.read_image):
        with pytest.raises(ValueError, match="lies outside of"):
            use(name)
    assert store.exists("a/x.png")
