"""The page in a real browser: the numbers of Python, videos and the camera in step, and what it says of trouble."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gtpt import PoseEstimator, Poses, load_skeleton, read_image
from gtpt.core.geometry import transform_points
from gtpt.detect import YoloxDetector
from gtpt.estimator import MIN_SCORE
from gtpt.pipeline import boxes_from_poses

from .conftest import DETECTOR, FPS, FRAMES, PATIENCE, PHOTOS, SHIFT, Folder, Page

pytestmark = pytest.mark.integration
NAMES = ("astronaut.jpg", "cameraman.jpg", "grace_hopper.jpg")
NOSE = 0
TIE = 2e-5  # between logits; two runs of the same crop differ by half of it


@pytest.fixture(scope="session")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


def points(people: list[dict[str, Any]]) -> np.ndarray:
    """(N, K, 2)."""
    return np.array([person["keypoints"] for person in people]).reshape(len(people), -1, 2)


def assert_same(people: list[dict[str, Any]], estimator: PoseEstimator, image: np.ndarray, boxes: Any, scores: Any) -> None:
    """The people of Python, in exactly these boxes. Every keypoint is where Python has it, or in a bin that ties with its
    own, up to what the order of additions in another runtime changes."""
    expected = estimator(image, boxes, scores)
    assert len(people) == len(expected) > 0
    np.testing.assert_array_equal([person["box"] for person in people], expected.boxes)
    np.testing.assert_allclose([p["scores"] for p in people], expected.keypoint_scores, atol=1e-4)
    np.testing.assert_allclose([p["score"] for p in people], expected.scores, atol=1e-4)
    crops, matrices = estimator.crops(image, boxes)
    split = estimator.engine.info.config.simcc_split
    bins = np.round(transform_points(points(people), matrices) * split).astype(int)
    for axis, logits in enumerate(estimator.engine(crops)):
        chosen = np.take_along_axis(logits, bins[..., axis, None], axis=-1)[..., 0]
        assert (logits.max(axis=-1) - chosen).max() < TIE
        moved = np.abs(points(people) - expected.keypoints)[..., axis] >= 0.5
        assert (moved <= (logits.argmax(axis=-1) != bins[..., axis])).all()


def test_static_host_gets_threads(page: Page) -> None:
    assert page.tab.evaluate("crossOriginIsolated")  # though its server sends no headers
    assert page.tab.inner_text("#backend") == "WebAssembly"
    assert "thread" in page.tab.inner_text("#backend-detail")


@pytest.mark.parametrize("name", NAMES)
def test_boxes_by_hand_give_what_python_gives(page: Page, estimator: PoseEstimator, name: str) -> None:
    page.find("hand")
    page.give(PHOTOS / name)
    page.people()
    page.drag((0.05, 0.06, 0.85, 0.97))
    people = page.people()
    assert_same(people, estimator, read_image(PHOTOS / name), [people[0]["box"]], [1])


def test_whole_picture_is_refined_as_in_python(page: Page, estimator: PoseEstimator) -> None:
    page.find("whole")
    page.give(PHOTOS / "grace_hopper.jpg")
    image = read_image(PHOTOS / "grace_hopper.jpg")
    first = estimator(image, [[0, 0, image.shape[1], image.shape[0]]])
    assert_same(page.people(), estimator, image, boxes_from_poses(first), [1])


@pytest.mark.skipif(not DETECTOR.is_file(), reason="no detector here")
@pytest.mark.parametrize("name", NAMES)
def test_detector_finds_what_python_finds(page: Page, estimator: PoseEstimator, name: str) -> None:
    page.find("detector")
    page.give(PHOTOS / name)
    image = read_image(PHOTOS / name)
    found = YoloxDetector(DETECTOR, threads=1)([image])[0]
    people = page.people()
    assert_same(people, estimator, image, found.boxes, found.scores)


def test_pruned_patches_are_those_of_the_network(page: Page) -> None:
    torch_engine = PoseEstimator(engine="torch", threads=1)
    page.tab.locator("#pruning").evaluate("details => details.open = true")
    try:
        page.find("whole")
        page.give(PHOTOS / "cameraman.jpg")
        person = page.people()[0]
        shown = page.tab.locator("#pruning-sheet figcaption").all_inner_texts()
    finally:
        page.tab.locator("#pruning").evaluate("details => details.open = false")
    crops, _ = torch_engine.crops(read_image(PHOTOS / "cameraman.jpg"), np.array([person["box"]]))
    expected = torch_engine.engine.kept(crops)  # type: ignore[attr-defined]
    assert [stage["stage"] for stage in person["kept"]] == list(expected)
    for stage in person["kept"]:
        for mine, theirs in zip(stage["groups"], expected[stage["stage"]], strict=True):
            assert len(set(mine) ^ set(theirs[0].tolist())) <= 2  # near ties fall either way
            assert len(mine) == theirs.shape[1]
    rows, columns = torch_engine.engine.info.config.grid
    assert f"head: {len(person['kept'][-1]['groups'][0])} of {rows * columns} patches" in shown


def test_video_plays_with_its_overlay_in_step(page: Page, video: Path, tmp_path: Path) -> None:
    page.find("hand")
    page.tab.evaluate(
        # where the bright person begins in the picture on the canvas, at the moment it is shown
        """document.addEventListener('gtpt:shown', ({detail}) => {
            const {width, height} = canvas;
            const copy = new OffscreenCanvas(width, height).getContext('2d');
            copy.drawImage(video, 0, 0);
            const row = copy.getImageData(0, 16, width, 1).data;
            let left = 0;
            while (left < width && Math.hypot(row[4*left] - 90, row[4*left+1] - 90, row[4*left+2] - 90) < 40) left++;
            detail.left = left;
        }, {capture: true})"""
    )
    page.give(video)
    page.frames()
    page.tab.locator("#video").evaluate("video => video.pause()")
    page.drag((0.02, 0.05, 0.6, 0.97))
    page.people()
    page.ask()
    page.tab.click("#analyse")
    page.tab.get_by_text(f"All {FRAMES} frames are done").wait_for(timeout=PATIENCE * 1000)
    analysed = page.frames()
    assert [round(frame["time"] * FPS) for frame in analysed] == list(range(FRAMES))
    lefts = page.tab.evaluate("shown.map(detail => detail.left)")
    assert lefts == pytest.approx([SHIFT * i for i in range(FRAMES)], abs=2)
    assert {person["id"] for frame in analysed for person in frame["people"]} == {1}

    page.tab.evaluate("shown.length = 0; video.currentTime = 0")
    page.tab.click("#play")
    page.wait_until("video.ended")
    played = page.frames(1)
    known = {round(frame["time"] * FPS): frame["people"][0]["keypoints"] for frame in analysed}
    for frame in played:  # every frame carries the overlay that was found in it
        assert frame["people"][0]["keypoints"] == known[round(frame["time"] * FPS)]

    with page.tab.expect_download() as download:
        page.tab.click("#save-json")
    assert download.value.suggested_filename == "walk, right.jsonl"
    header, *lines = map(json.loads, Path(download.value.path()).read_text().splitlines())
    poses = [Poses.from_dict({**line, "skeleton": header["skeleton"]}) for line in lines]
    assert [line["frame"] for line in lines] == list(range(FRAMES)) and poses[0].skeleton == load_skeleton("coco17")
    np.testing.assert_array_equal(poses[-1].keypoints, points(analysed[-1]["people"]).astype(np.float32))
    with page.tab.expect_download() as download:
        page.tab.click("#save-csv")
    rows = list(csv.DictReader(Path(download.value.path()).open()))
    assert len(rows) == FRAMES * 17 and rows[0]["name"] == "walk, right.mp4" and rows[0]["joint"] == "nose"
    assert float(rows[-1]["x"]) == pytest.approx(float(poses[-1].keypoints[0, -1, 0]))


def test_saved_photo_reads_back_and_its_picture_is_drawn_on(page: Page) -> None:
    page.find("whole")
    page.give(PHOTOS / "astronaut.jpg")
    people = page.people()
    with page.tab.expect_download() as download:
        page.tab.click("#save-json")
    poses = Poses.from_dict(json.loads(Path(download.value.path()).read_text()))
    np.testing.assert_array_equal(poses.keypoints, points(people).astype(np.float32))
    with page.tab.expect_download() as download:
        page.tab.click("#save-picture")
    assert download.value.suggested_filename == "astronaut_pose.png"
    picture, image = read_image(download.value.path()), read_image(PHOTOS / "astronaut.jpg")
    assert picture.shape == image.shape
    x, y = np.round(poses.keypoints[0, NOSE]).astype(int)
    assert np.abs(picture[y, x] - 255.0).max() < 10  # the nose is a white disc
    assert (np.abs(picture.astype(int) - image).max(axis=2) > 30).mean() < 0.2


def test_threshold_hides_keypoints_without_looking_again(page: Page) -> None:
    page.find("whole")
    page.give(PHOTOS / "astronaut.jpg")
    page.people()
    drawn = page.tab.evaluate("canvas.toDataURL()")
    page.tab.locator("#threshold").fill("1")
    assert page.tab.inner_text("#threshold-value") == "1.00"
    assert page.tab.evaluate("canvas.toDataURL()") != drawn
    page.tab.locator("#threshold").fill("0.3")
    assert page.tab.evaluate("canvas.toDataURL()") == drawn
    assert page.tab.evaluate("shown.length") == 1


@pytest.mark.skipif(not DETECTOR.is_file(), reason="no detector here")
def test_people_whom_a_detector_finds_count_from_the_score_of_python(page: Page) -> None:
    page.find("detector")
    page.give(PHOTOS / "astronaut.jpg")
    page.people()
    assert float(page.tab.locator("#min-score").input_value()) == MIN_SCORE
    assert page.tab.inner_text("#people-count") == "1"
    page.tab.locator("#min-score").fill("1")
    assert page.tab.inner_text("#nobody") == "Nobody is found here."
    page.find("whole")  # whoever has a box from somewhere else counts in any case
    page.people()
    assert page.tab.inner_text("#people-count") == "1" and not page.tab.is_visible("#min-score")
    page.find("detector")
    page.people()
    page.tab.locator("#min-score").fill(str(MIN_SCORE))
    assert page.tab.inner_text("#people-count") == "1"


def test_camera_shows_people(page: Page) -> None:
    page.find("whole")
    page.ask(name="camera")
    page.tab.click("#camera")
    frames = page.frames(3)
    assert frames[0]["size"] in ([360, 640], [400, 256])
    times = [frame["time"] for frame in frames]
    assert times == sorted(set(times)) and all(len(frame["people"]) == 1 for frame in frames)
    assert all(frame["people"][0]["id"] >= 1 for frame in frames)
    page.tab.click("#camera")
    assert page.tab.is_visible("#welcome") and page.tab.evaluate("video.srcObject === null")


def test_refused_camera_is_told(page: Page, context: Any) -> None:
    page.find("whole")
    context.clear_permissions()
    page.tab.click("#camera")
    assert "it was refused; allow it" in page.wait_for_problem()
    context.grant_permissions(["camera"])
    page.give(PHOTOS / "cameraman.jpg")  # the rest goes on
    assert len(page.people()) == 1


def test_broken_photo_is_told_and_the_others_are_shown(page: Page, tmp_path: Path) -> None:
    whole = (PHOTOS / "astronaut.jpg").read_bytes()
    broken = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": whole[:200]}
    empty = {"name": "empty.png", "mimeType": "image/png", "buffer": b""}
    good = [{"name": f"{i}.jpg", "mimeType": "image/jpeg", "buffer": whole} for i in range(2)]
    page.find("whole")
    page.give(broken, good[0], empty, good[1])
    page.ask(name="0.jpg")
    assert len(page.people()) == 1
    told = page.wait_for_problem()
    assert "broken.jpg cannot be read: it is cut off" in told and "empty.png cannot be read: it is empty" in told
    assert page.tab.locator("#strip button").count() == 2


def test_wrong_models_are_refused_and_the_old_ones_stay(page: Page, tmp_path: Path, site: Folder) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    value = helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["v"], ["w"])], "g", [value], [out])
    foreign = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "foreign.onnx").write_bytes(foreign.SerializeToString())
    helper.set_model_props(foreign, {"gtpt": json.dumps({"input": "float32", "output": "simcc"})})
    (tmp_path / "float.onnx").write_bytes(foreign.SerializeToString())
    (tmp_path / "text.onnx").write_bytes(b"no network at all")
    for name, message in (
        ("text.onnx", "it is no ONNX file"),
        ("foreign.onnx", "it is no YOLOX network"),
        ("float.onnx", "export it without --float-input"),
    ):
        page.tab.set_input_files("#onnx", tmp_path / name)
        assert message in page.wait_for_problem()
    page.find("whole")
    page.give(PHOTOS / "astronaut.jpg")
    assert len(page.people()) == 1


def test_lost_device_is_told_and_the_work_goes_on(page: Page) -> None:
    page.find("whole")
    page.give(PHOTOS / "astronaut.jpg")
    before = page.people()
    worker = page.tab.workers[0]
    worker.evaluate("postMessage({lost: 'driver reset'})")  # what the engine says when the device of WebGPU is lost
    page.tab.get_by_text("The graphics processor was lost (driver reset)").wait_for(timeout=PATIENCE * 1000)
    page.give(PHOTOS / "astronaut.jpg")
    assert points(page.people()).tolist() == points(before).tolist()
    for _ in range(100):  # the browser tells of its end a little later
        if worker not in page.tab.workers:
            break
        page.tab.wait_for_timeout(100)
    assert worker not in page.tab.workers


def test_keyboard_alone_places_a_box(page: Page) -> None:
    page.find("hand")
    page.give(PHOTOS / "astronaut.jpg")
    page.people()
    page.ask()
    page.tab.focus("#add-box")
    page.tab.keyboard.press("Enter")
    start = page.people()[0]["box"]
    page.ask()
    page.tab.keyboard.press("ArrowRight")  # by a hundredth of the 512 pixels
    assert np.subtract(page.people()[0]["box"], start) == pytest.approx([5.12, 0, 5.12, 0], abs=0.01)
    page.ask()
    page.tab.keyboard.press("Shift+ArrowUp")
    assert np.subtract(page.people()[0]["box"], start) == pytest.approx([5.12, 0, 5.12, -5.12], abs=0.01)
    page.ask()
    page.tab.keyboard.press("Delete")
    assert page.people() == []


def test_everything_has_a_name_for_screen_readers(page: Page) -> None:
    page.find("hand")
    page.give(PHOTOS / "astronaut.jpg")
    page.people()
    unnamed = page.tab.evaluate(
        """[...document.querySelectorAll('button, input, select, canvas, [role=group], aside, section')].filter(e =>
            e.checkVisibility() && !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') ||
            e.textContent.trim() || e.labels?.[0]?.textContent.trim() || e.closest('[aria-hidden=true]'))
        ).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    assert page.tab.get_attribute("#canvas", "aria-label") == "astronaut.jpg: 0 people"
    assert page.tab.evaluate("document.querySelector('a, button, input').textContent") == "Skip to the picture"


def test_nothing_can_be_sent_anywhere(page: Page) -> None:
    refused = page.tab.evaluate("fetch('https://example.org/', {method: 'POST', body: 'photo'}).then(() => 'sent', String)")
    assert "Failed to fetch" in refused  # by the page's own policy, before any connection


def test_narrow_screens_need_no_sideways_scrolling(page: Page) -> None:
    page.find("whole")
    page.give(PHOTOS / "astronaut.jpg")
    page.people()
    page.tab.set_viewport_size({"width": 320, "height": 640})
    try:
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 320
    finally:
        page.tab.set_viewport_size({"width": 1280, "height": 900})


def test_large_photo_is_worked_on_smaller_and_reported_in_its_own_pixels(page: Page, tmp_path: Path) -> None:
    image = read_image(PHOTOS / "astronaut.jpg")
    large = cv2.resize(image, (4128, 4128))
    cv2.imwrite(str(tmp_path / "large.jpg"), large[..., ::-1])
    page.find("whole")
    page.give(PHOTOS / "astronaut.jpg")
    small = page.people()[0]
    page.give(tmp_path / "large.jpg")
    person = page.people()[0]
    assert page.frames()[-1]["size"] == [4128, 4128]
    sure = np.repeat(np.minimum(person["scores"], small["scores"]) > 0.5, 2)  # others jump between peaks
    apart = np.abs(np.divide(person["keypoints"], 4128 / 512) - small["keypoints"])
    assert sure.sum() >= 8 and np.median(apart[sure]) < 16  # of 512; in pixels of the smaller picture it would be hundreds


def test_page_works_without_its_server(context: Any, opened: Page, site: Folder) -> None:
    """The last test of the file: afterwards there is no server."""
    site.stop()
    page = Page(context.new_page(), site.url)
    page.find("whole")
    page.give(PHOTOS / "astronaut.jpg")
    assert len(page.people()) == 1
