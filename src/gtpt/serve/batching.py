"""Micro-batching: what arrives while the network works makes up its next batch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class QueueFullError(Exception):
    """There are as many jobs as may wait."""


class ClosedError(Exception):
    """The batcher takes no more jobs: it is stopping."""


@dataclass(eq=False)
class _Waiting(Generic[Job, Result]):
    job: Job
    answer: asyncio.Future[Result]
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Job, Result]):
    """Jobs of many callers, run together in one thread.

    Nobody waits for a batch to fill: a free network takes what is there, up to `max_batch`. A job whose caller was
    cancelled leaves the queue. If a batch fails, its jobs run again one by one, so that only the bad one fails.

    Args:
        run: jobs to as many results; called in a thread of its own, never twice at once.
        max_batch: jobs per call.
        max_queue: jobs that wait or run.
        on_batch: is told the size of each batch, and the seconds that its oldest job waited.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Result]],
        *,
        max_batch: int,
        max_queue: int,
        on_batch: Callable[[int, float], None] = lambda size, waited: None,
    ):
        self._run, self._on_batch = run, on_batch
        self.max_batch, self.max_queue = max_batch, max_queue
        self._queue: deque[_Waiting[Job, Result]] = deque()
        self._running = 0
        self._reserved = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gtpt-serve")
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Jobs that wait, run, or have a place reserved."""
        return len(self._queue) + self._running + self._reserved

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Take no more jobs, finish those that are there, and end the thread."""
        self._closed = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker
        self._thread.shutdown()

    def reserve(self, count: int) -> None:
        """Places for jobs that are still to be prepared; give each back with `submit` or `release`.

        Raises:
            QueueFullError: there are not so many; nothing is reserved.
            ClosedError: the batcher is stopping.
        """
        if self._closed:
            raise ClosedError
        if len(self) + count > self.max_queue:
            raise QueueFullError
        self._reserved += count

    def release(self, count: int) -> None:
        """Give places back that `reserve` gave."""
        self._reserved -= count

    async def submit(self, job: Job) -> Result:
        """The result of a job that has a place; whatever `run` raised for it alone."""
        self._reserved -= 1
        waiting: _Waiting[Job, Result] = _Waiting(job, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        try:
            return await waiting.answer
        finally:
            with suppress(ValueError):  # it is in the queue only if its caller was cancelled
                self._queue.remove(waiting)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._queue:
                if self._closed and not self._reserved:
                    return
                self._arrived.clear()
                with suppress(asyncio.TimeoutError):  # reserved places of a stopping batcher are given back silently
                    await asyncio.wait_for(self._arrived.wait(), 0.1 if self._closed else None)
            batch = [self._queue.popleft() for _ in range(min(self.max_batch, len(self._queue)))]
            self._running = len(batch)
            self._on_batch(len(batch), time.monotonic() - batch[0].since)
            outcomes = await loop.run_in_executor(self._thread, self._outcomes, [waiting.job for waiting in batch])
            self._running = 0
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.answer.done():
                    continue  # its caller is gone
                if isinstance(outcome, Exception):
                    waiting.answer.set_exception(outcome)
                else:
                    waiting.answer.set_result(outcome)

    def _outcomes(self, jobs: list[Job]) -> list[Result | Exception]:
        try:
            return list(self._run(jobs))
        except Exception as error:
            if len(jobs) == 1:
                return [error]
            logger.info("a batch of %d failed, so its jobs run one by one: %s", len(jobs), error)
            return [outcome for job in jobs for outcome in self._outcomes([job])]
