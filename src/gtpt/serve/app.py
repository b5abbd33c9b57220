"""The application: `POST /v1/poses`, health, metrics, and the page for browsers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gtpt.core.calibration import VISIBLE
from gtpt.core.errors import GtptError
from gtpt.core.poses import Poses
from gtpt.detect import Detector
from gtpt.engines.processes import available_cores
from gtpt.estimator import PoseEstimator, inside, who_counts
from gtpt.io.formats import to_coco, to_openpose
from gtpt.serve.batching import Batcher, ClosedError, QueueFullError
from gtpt.serve.metrics import Metrics
from gtpt.serve.settings import Limits
from gtpt.serve.uploads import Picture, decode, read_uploads
from gtpt.viz import draw_poses
from gtpt.web.folder import HEADERS

PERSON = {"id": None, "box": [22, 12, 370, 512], "score": 0.62, "keypoints": [[226.1, 130.4, 0.91]], "raw_scores": [0.038]}
EXAMPLE = {"image_size": [512, 512], "people": [PERSON], "skeleton": "coco17"}
BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "required": True,
    "content": {
        "image/*": BINARY,
        "application/octet-stream": BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "boxes": {"type": "string", "example": "[[22, 12, 370, 512]]"},
                },
            }
        },
    },
}
PROBLEMS = {
    400: "The body is broken.",
    408: "The upload took too long.",
    413: "Too many bytes or pixels.",
    415: "Not an image or multipart.",
    422: "Not a picture, or impossible boxes.",
    429: "As many images wait as may; try again after Retry-After seconds.",
    503: "The server is stopping.",
    504: "The answer took too long.",
}


Result = TypeVar("Result")


class Format(str, Enum):
    """What an answer looks like."""

    json = "json"
    coco = "coco"
    openpose = "openpose"
    image = "image"


def create_app(
    estimator: PoseEstimator, detector: Detector, *, limits: Limits | None = None, page: str | Path | None = None
) -> FastAPI:
    """An ASGI application that finds poses.

    Args:
        estimator: boxes to poses; used by one thread.
        detector: people of images that come without boxes.
        limits: what requests may cost.
        page: a folder of `gtpt.web.write_web`, served at /; None: / leads to the documentation.
    """
    limits = limits or Limits()
    metrics = Metrics()

    def run(pictures: Sequence[Picture]) -> list[Poses]:
        return find_poses(pictures, estimator, detector)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher: Batcher[Picture, Poses] = Batcher(
            run, max_batch=limits.max_batch, max_queue=limits.max_queue, on_batch=metrics.ran
        )
        batcher.start()
        app.state.batcher = batcher
        metrics.queue.set_function(lambda: len(batcher))
        # more threads would not decode faster, but each keeps memory of its own once it has held a picture
        with ThreadPoolExecutor(available_cores(), thread_name_prefix="gtpt-codec") as app.state.codec:
            yield
            await batcher.stop()

    app = FastAPI(
        title="gtpt",
        version=version("gtpt"),
        summary="Human poses in images.",
        lifespan=lifespan,
        responses={code: {"description": text} for code, text in PROBLEMS.items()},
    )
    _add_poses(app, limits, metrics)
    _add_health(app, estimator, metrics)
    _add_page(app, page)
    return app


def find_poses(pictures: Sequence[Picture], estimator: PoseEstimator, detector: Detector) -> list[Poses]:
    """Poses of several images: one call of the detector for those without boxes, one of the estimator for all people."""
    boxes = [picture.boxes for picture in pictures]
    scores: list[np.ndarray | None] = [None] * len(pictures)
    missing = [i for i, own in enumerate(boxes) if own is None]
    if missing:
        found = detector([pictures[i].image for i in missing], [pictures[i].name for i in missing])
        for i, people in zip(missing, found, strict=True):
            people = people[inside(people.boxes, pictures[i].image)]
            boxes[i], scores[i] = people.boxes, people.scores
    poses = estimator([picture.image for picture in pictures], boxes, scores)
    for i in missing:
        poses[i] = who_counts(poses[i], estimator, detector)
    return poses


def _add_poses(app: FastAPI, limits: Limits, metrics: Metrics) -> None:
    @app.post(
        "/v1/poses",
        summary="Poses of an image, or of several",
        openapi_extra={"requestBody": BODY},
        responses={200: {"content": {"application/json": {"example": EXAMPLE}, "image/jpeg": BINARY}}},
    )
    async def poses(
        request: Request,
        format: Annotated[Format, Query(description="of the answer")] = Format.json,  # noqa: A002
        boxes: Annotated[str | None, Query(description="JSON, x1, y1, x2, y2 of each person", max_length=100_000)] = None,
        threshold: Annotated[float, Query(ge=0, le=1, description="of drawn keypoints")] = VISIBLE,
    ) -> Response:
        """Send the bytes of an image as the body, or multipart with files in `image` and JSON in `boxes`.

        An image as the body gives its poses as `Poses.to_dict`; multipart gives `{"results": [{"name", ...}, ...]}`.
        Without boxes a detector finds the people.
        """
        begin, status, codec = time.monotonic(), 500, request.app.state.codec
        try:
            uploads, several = await read_uploads(request, boxes, limits)
            if format is Format.image and len(uploads) > 1:
                raise HTTPException(422, "format=image answers one image: send one")
            with _Places(request.app.state.batcher, len(uploads)) as places:
                work = _answers(uploads, places, limits, codec)
                pairs = await _unless_gone(request, asyncio.wait_for(work, limits.answer_s))
            metrics.people.inc(sum(len(found) for _, found in pairs))
            answer = await _in_thread(codec, _render, pairs, format, threshold, several)
            status = answer.status_code
        except HTTPException as problem:
            status = problem.status_code
            raise
        except (asyncio.TimeoutError, TimeoutError):
            status = 504
            raise HTTPException(504, f"not done after {limits.answer_s:g} s: send fewer or smaller images") from None
        finally:
            metrics.requests.labels(str(status)).inc()
            metrics.seconds.observe(time.monotonic() - begin)
        return answer


class _Places:
    """Places in the queue for the images of one request; those that were not used go back."""

    def __init__(self, batcher: Batcher[Picture, Poses], count: int):
        self._batcher, self._left = batcher, count

    def __enter__(self) -> _Places:
        try:
            self._batcher.reserve(self._left)
        except QueueFullError:
            text = f"{self._batcher.max_queue} images are waiting already: try again"
            raise HTTPException(429, text, headers={"Retry-After": "1"}) from None
        except ClosedError:
            raise HTTPException(503, "the server is stopping") from None
        return self

    async def submit(self, picture: Picture) -> Poses:
        self._left -= 1
        return await self._batcher.submit(picture)

    def __exit__(self, *_: object) -> None:
        self._batcher.release(self._left)


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[..., Result], *arguments: Any) -> Result:
    return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)


async def _answers(
    uploads: Sequence[Any], places: _Places, limits: Limits, codec: ThreadPoolExecutor
) -> list[tuple[Picture, Poses]]:
    pictures = [await _in_thread(codec, decode, upload, limits) for upload in uploads]
    tasks = [asyncio.ensure_future(places.submit(picture)) for picture in pictures]
    try:
        return list(zip(pictures, await asyncio.gather(*tasks), strict=True))
    except GtptError as error:
        raise HTTPException(422, str(error)) from error
    finally:
        for task in tasks:
            task.cancel()


async def _unless_gone(request: Request, work: Any) -> Any:
    """The result of the work, which ends when the client hangs up."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(499, "the client is gone")  # nobody reads it; the figures count it
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await each


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _render(pairs: list[tuple[Picture, Poses]], format: Format, threshold: float, several: bool) -> Response:  # noqa: A002
    if format is Format.image:
        ((picture, poses),) = pairs
        drawn = draw_poses(picture.image, poses, threshold=threshold)
        done, data = cv2.imencode(".jpg", np.ascontiguousarray(drawn[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done
        return Response(data.tobytes(), media_type="image/jpeg")
    convert: dict[Format, Callable[[int, Poses], Any]] = {
        Format.json: lambda _, poses: poses.to_dict(),
        Format.coco: lambda number, poses: to_coco(poses, number),
        Format.openpose: lambda _, poses: to_openpose(poses),
    }
    try:
        contents = [convert[format](number, poses) for number, (_, poses) in enumerate(pairs)]
    except GtptError as error:  # OpenPose has no place for the keypoints of this network
        raise HTTPException(422, str(error)) from error
    if not several:
        return JSONResponse(contents[0])
    if format is Format.coco:
        return JSONResponse([entry for content in contents for entry in content])
    named = [{"name": picture.name, **content} for (picture, _), content in zip(pairs, contents, strict=True)]
    return JSONResponse({"results": named})


def _add_health(app: FastAPI, estimator: PoseEstimator, metrics: Metrics) -> None:
    @app.get("/health", summary="Whether poses can be had")
    async def health() -> dict[str, Any]:
        """The network, and how many images wait."""
        return {
            "status": "ok",
            "network": estimator.engine.info.config.name,
            "skeleton": estimator.skeleton.name,
            "queue": len(app.state.batcher),
        }

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def figures() -> Response:
        """Requests by status, people, batches, queue and times."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI, page: str | Path | None) -> None:
    app.add_middleware(_WithHeaders, headers=HEADERS if page is not None else {})
    if page is not None:
        app.mount("/", StaticFiles(directory=page, html=True), name="page")
    else:
        app.get("/", include_in_schema=False)(lambda: RedirectResponse("docs"))


class _WithHeaders:
    """Adds headers to every answer but the documentation, whose scripts come from elsewhere."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]):
        self._app, self._headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if scope["path"] not in ("/docs", "/redoc"):
                    headers.update(self._headers)
            await send(message)

        await self._app(scope, receive, with_headers)
