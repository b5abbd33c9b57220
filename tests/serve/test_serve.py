"""`gtpt serve` over real connections: answers, shared batches, limits, and a graceful end."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtpt import PoseEstimator, Poses, read_image, to_coco, to_openpose
from gtpt.detect import Detections, Detector, WholeImage

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
from gtpt.serve import Limits, app, create_app, uploads  # noqa: E402
from gtpt.serve.app import find_poses  # noqa: E402
from gtpt.serve.uploads import Picture, Upload  # noqa: E402

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
PHOTO = (PHOTOS / "cameraman.jpg").read_bytes()
BOX = [0, 62, 340, 512]
JPEG = {"content-type": "image/jpeg"}


class Gate(Detector):
    """Finds everybody in the whole image, but only while it is open; remembers how many images came together."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.sizes: list[int] = []

    def _detect(self, images: Sequence[np.ndarray], names: Sequence[str] | None) -> list[Detections]:
        self.sizes.append(len(images))
        self.entered.release()
        assert self.open.wait(30)
        return WholeImage()(images, names)


@contextmanager
def serving(app: Any) -> Iterator[Any]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=30))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        client.server = server
        yield client
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


@pytest.fixture(scope="module")
def client(estimator: PoseEstimator) -> Iterator[Any]:
    limits = Limits(max_bytes=200_000, max_pixels=300_000, max_boxes=3, max_images=3)
    with serving(create_app(estimator, WholeImage(), limits=limits)) as opened:
        yield opened


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_image_gives_what_the_estimator_gives(client: Any, estimator: PoseEstimator) -> None:
    answer = client.post("/v1/poses", params={"boxes": json.dumps([BOX])}, content=PHOTO, headers=JPEG)
    assert answer.status_code == 200
    expected = estimator(read_image(PHOTOS / "cameraman.jpg"), [BOX])
    assert answer.json() == json.loads(expected.to_json())
    whole = client.post("/v1/poses", content=PHOTO, headers={"content-type": "application/octet-stream"})
    assert Poses.from_dict(whole.json()).boxes.tolist() == [[0, 0, 512, 512]]  # the detector's


def test_pictures_are_decoded_in_a_few_threads(estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread that decodes keeps memory: as many as there are cores are enough for any number of clients."""
    threads = set()

    def decode(upload: Upload, limits: Limits) -> Picture:
        threads.add(threading.get_ident())
        time.sleep(0.02)
        return uploads.decode(upload, limits)

    monkeypatch.setattr(app, "decode", decode)
    monkeypatch.setattr(app, "available_cores", lambda: 2)
    with serving(create_app(estimator, WholeImage())) as client, ThreadPoolExecutor(8) as clients:
        answers = clients.map(lambda _: client.post("/v1/poses", content=PHOTO, headers=JPEG).status_code, range(8))
        assert set(answers) == {200} and len(threads) == 2


def test_who_is_found_counts_as_in_python() -> None:
    """Twice the same person, one hardly seen and one outside are nobody more; given boxes are answered one by one."""
    found = [BOX, [2, 64, 338, 510], [300, 10, 400, 90], [-50, 0, -10, 90]], [0.9, 0.8, 0.2, 0.9]
    estimator = PoseEstimator(threads=1, detector=lambda images: [found] * len(images))
    image = read_image(PHOTOS / "cameraman.jpg")
    pictures = [Picture("a.jpg", image, None), Picture("b.jpg", image, np.array(found[0][:3], np.float32))]
    without, own = find_poses(pictures, estimator, estimator.detector)
    assert len(without) == 1 and without.to_json() == estimator(image).to_json()
    assert len(own) == 3


def test_several_images_with_and_without_boxes(client: Any, estimator: PoseEstimator) -> None:
    files = [("image", ("../a.jpg", PHOTO)), ("image", ("b.jpg", PHOTO))]
    results = client.post("/v1/poses", files=files, data={"boxes": json.dumps([[BOX, BOX], None])}).json()["results"]
    assert [result["name"] for result in results] == ["../a.jpg", "b.jpg"]  # names are words here, never paths
    assert [person["box"] for person in results[0]["people"]] == [BOX, BOX]
    assert [person["box"] for person in results[1]["people"]] == [[0, 0, 512, 512]]
    one = client.post("/v1/poses", files=files[:1], data={"boxes": json.dumps([BOX])}).json()["results"]
    assert one[0]["people"] == results[0]["people"][:1]


def test_formats(client: Any, estimator: PoseEstimator) -> None:
    expected = estimator(read_image(PHOTOS / "cameraman.jpg"), [BOX])
    send = lambda form: client.post(  # noqa: E731
        "/v1/poses", params={"format": form, "boxes": json.dumps([BOX])}, content=PHOTO, headers=JPEG
    )
    assert send("coco").json() == json.loads(json.dumps(to_coco(expected, 0)))
    assert send("openpose").json() == json.loads(json.dumps(to_openpose(expected)))
    drawn = send("image")
    assert drawn.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(drawn.content, np.uint8), cv2.IMREAD_COLOR).shape == (512, 512, 3)
    assert send("gif").status_code == 422


def bomb() -> bytes:
    """A PNG of a few bytes that claims 100 megapixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "kind", "boxes", "status", "message"),
    [
        (b"x" * 200_001, "image/jpeg", None, 413, "larger than 200,000 bytes"),
        (iter([b"x" * 150_000, b"x" * 150_000]), "image/jpeg", None, 413, "larger than 200,000 bytes"),  # unannounced
        (bomb(), "image/png", None, 413, "10000x10000 pixels, allowed are 300,000"),
        (PHOTO, "text/plain", None, 415, "content type must be image"),
        (b"", "image/jpeg", None, 422, "empty"),
        (PHOTO[:3000], "image/jpeg", None, 422, "cannot read image"),
        (b"no picture", "image/png", None, 422, "not an image"),
        (PHOTO, "image/jpeg", "[[0, 0", 422, "must be JSON"),
        (PHOTO, "image/jpeg", "[" * 5000, 422, "must be JSON"),
        (PHOTO, "image/jpeg", '[["a", 0, 9, 9]]', 422, "four numbers"),
        (PHOTO, "image/jpeg", "[[0, 0, NaN, 9]]", 422, "four numbers"),
        (PHOTO, "image/jpeg", "[[9, 9, 0, 0]]", 422, "inverted or empty"),
        (PHOTO, "image/jpeg", "[[600, 0, 700, 9]]", 422, "lies outside the 512x512 image"),
        (PHOTO, "image/jpeg", json.dumps([BOX] * 4), 422, "at most 3"),
        (b"--b\r\nbroken", "multipart/form-data; boundary=c", None, 400, "multipart"),
        (b"", "multipart/form-data", None, 400, "multipart"),
    ],
)
def test_bad_requests_are_told(client: Any, content: Any, kind: str, boxes: str | None, status: int, message: str) -> None:
    params = {} if boxes is None else {"boxes": boxes}
    answer = client.post("/v1/poses", params=params, content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert message in answer.json()["detail"]


def test_bad_forms_are_told(client: Any) -> None:
    tiny = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    many = client.post("/v1/poses", files=[("image", ("a.png", tiny))] * 4)
    assert many.status_code == 400 and "Too many files" in many.json()["detail"]
    none = client.post("/v1/poses", files=[("photo", ("a.png", tiny))])
    assert none.status_code == 422 and "no image" in none.json()["detail"]
    uneven = client.post("/v1/poses", files=[("image", ("a.png", tiny))] * 2, data={"boxes": "[[[0, 0, 8, 8]]]"})
    assert uneven.status_code == 422 and "each of the 2 images" in uneven.json()["detail"]
    drawn = client.post("/v1/poses", params={"format": "image"}, files=[("image", ("a.png", tiny))] * 2)
    assert drawn.status_code == 422 and "one image" in drawn.json()["detail"]


@given(
    body=st.binary(max_size=400),
    kind=st.sampled_from(["image/png", "multipart/form-data; boundary=b"]),
    boxes=st.text(max_size=40),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_the_clients_mistake(client: Any, body: bytes, kind: str, boxes: str) -> None:
    framed = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + body + b"\r\n--b--\r\n"
    sent = framed if kind.startswith("multipart") else PHOTO[:20] + body
    answer = client.post("/v1/poses", params={"boxes": boxes}, content=sent, headers={"content-type": kind})
    assert 400 <= answer.status_code < 500, answer.text


def test_requests_that_arrive_together_share_a_batch_and_a_full_queue_refuses(estimator: PoseEstimator) -> None:
    gate = Gate()
    limits = Limits(max_batch=3, max_queue=5, max_images=2)
    with serving(create_app(estimator, gate, limits=limits)) as client, ThreadPoolExecutor(8) as pool:
        send = lambda: client.post("/v1/poses", content=PHOTO, headers=JPEG)  # noqa: E731
        queue = lambda: client.get("/health").json()["queue"]  # noqa: E731
        first = pool.submit(send)
        assert gate.entered.acquire(timeout=30)  # it runs, alone
        others = [pool.submit(send) for _ in range(4)]
        wait_until(lambda: queue() == 5)
        refused = send()
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        gate.open.set()
        answers = [job.result() for job in (first, *others)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert len({answer.text for answer in answers}) == 1
        assert gate.sizes == [1, 3, 1]
        figures = client.get("/metrics").text
        assert 'gtpt_requests_total{status="200"} 5.0' in figures and 'gtpt_requests_total{status="429"} 1.0' in figures
        assert "gtpt_people_total 5.0" in figures and "gtpt_batch_images_count 3.0" in figures
        assert "gtpt_queue_images 0.0" in figures


def test_client_who_hangs_up_leaves_the_queue(estimator: PoseEstimator) -> None:
    gate = Gate()
    with serving(create_app(estimator, gate)) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/v1/poses", content=PHOTO, headers=JPEG)
        assert gate.entered.acquire(timeout=30)
        request = f"POST /v1/poses HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(PHOTO)}\r\n\r\n"
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(request.encode() + PHOTO)
            wait_until(lambda: client.get("/health").json()["queue"] == 2)
        wait_until(lambda: client.get("/health").json()["queue"] == 1)
        gate.open.set()
        assert first.result().status_code == 200
        assert gate.sizes == [1]


def test_an_upload_that_breaks_off_leaves_nothing_behind(estimator: PoseEstimator) -> None:
    """The connection ends before the announced bytes have come: alone, and within a multipart body."""
    with serving(create_app(estimator, WholeImage())) as client:
        for kind, body in (("image/jpeg", PHOTO[:9000]), ("multipart/form-data; boundary=b", b"--b\r\nContent-Disp")):
            request = f"POST /v1/poses HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(PHOTO)}\r\n\r\n"
            with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
                connection.sendall(request.encode() + body)
        wait_until(lambda: 'status="499"} 2.0' in client.get("/metrics").text)
        assert client.get("/health").json()["queue"] == 0
        assert client.post("/v1/poses", content=PHOTO, headers=JPEG).status_code == 200


@pytest.mark.integration
def test_slow_uploads_and_answers_end(estimator: PoseEstimator) -> None:
    gate = Gate()
    with serving(create_app(estimator, gate, limits=Limits(upload_s=0.2, answer_s=0.3))) as client:

        def trickle() -> Iterator[bytes]:
            for _ in range(100):
                time.sleep(0.05)
                yield b"x"

        try:
            assert client.post("/v1/poses", content=trickle(), headers=JPEG).status_code == 408
        except httpx.WriteError:
            pass  # the server answered and closed before all of it was sent
        slow = client.post("/v1/poses", content=PHOTO, headers=JPEG)
        assert slow.status_code == 504 and "not done after 0.3 s" in slow.json()["detail"]
        gate.open.set()


def test_one_bad_image_of_a_batch_fails_alone(estimator: PoseEstimator) -> None:
    gate = Gate()

    def moody(images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[Detections]:
        found = gate(images, names)
        if any(image.shape[0] == 8 for image in images):
            raise RuntimeError("a detector of one's own")
        return found

    tiny = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    with serving(create_app(estimator, moody)) as client, ThreadPoolExecutor(4) as pool:  # type: ignore[arg-type]
        jobs = [pool.submit(client.post, "/v1/poses", content=PHOTO, headers=JPEG)]
        assert gate.entered.acquire(timeout=30)
        jobs += [pool.submit(client.post, "/v1/poses", content=c, headers=JPEG) for c in (PHOTO, tiny, PHOTO)]
        wait_until(lambda: client.get("/health").json()["queue"] == 4)
        gate.open.set()
        assert sorted(job.result().status_code for job in jobs) == [200, 200, 200, 500]


def test_stopping_finishes_what_is_there(estimator: PoseEstimator) -> None:
    gate = Gate()
    with serving(create_app(estimator, gate)) as client, ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.post, "/v1/poses", content=PHOTO, headers=JPEG)
        assert gate.entered.acquire(timeout=30)
        client.server.should_exit = True
        time.sleep(0.3)
        gate.open.set()
        assert job.result().status_code == 200


def test_openapi_has_examples_and_the_page_is_served_isolated(estimator: PoseEstimator, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("the page")
    (tmp_path / "secret").write_text("secret")
    with serving(create_app(estimator, WholeImage(), page=tmp_path / "site")) as client:
        page = client.get("/")
        assert page.text == "the page" and page.headers["cross-origin-embedder-policy"] == "require-corp"
        for trick in ("/../secret", "/%2e%2e/secret", "/..%2fsecret", "//etc/passwd"):
            assert client.get(trick).status_code == 404
        schema = client.get("/openapi.json").json()["paths"]["/v1/poses"]["post"]
        assert schema["responses"]["200"]["content"]["application/json"]["example"]["people"]
        assert {"400", "413", "415", "422", "429"} <= set(schema["responses"])
        assert "multipart/form-data" in schema["requestBody"]["content"]


def test_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_queue must be positive"):
        Limits(max_queue=0)
    with pytest.raises(ValueError, match=r"max_images=16 .* max_queue=4"):
        Limits(max_queue=4)


def test_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import gtpt.serve"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "gtpt[serve]"' in done.stderr
