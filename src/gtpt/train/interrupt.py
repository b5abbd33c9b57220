"""Ctrl-C, SIGTERM and SIGHUP in training: the step at hand is finished and saved."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

logger = logging.getLogger(__name__)
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def leave_to_trainer(_worker: int = 0) -> None:
    """In a loader process: ignore what stops the trainer, which ends it after the step at hand.

    Ctrl-C, a terminal that closes and a batch system signal all processes, and a loader that dies first fails the step.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class SaveOnSignal(Callback, AbstractContextManager["SaveOnSignal"]):
    """Stops a run between two steps, where its checkpoint is exact; a second signal stops it at once, without one.

    At the end of an epoch the run ends after validation, as the checkpoint stands behind it. It must come behind the
    callback that validates. `KeyboardInterrupt` is what the trainer then sees. The signals are taken as training starts,
    and given back by the end of the `with` block, whatever others made of them in between.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stopping = self._in_epoch = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SaveOnSignal:
        if threading.current_thread() is threading.main_thread():  # Python sets handlers nowhere else
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {n: h for n, h in handlers.items() if h is not signal.SIG_IGN}  # `nohup` ignores one
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        for number in self._before:
            signal.signal(number, self._stop)

    def _stop(self, number: int, _: Any) -> None:
        if self._stopping or not self._in_epoch:
            raise KeyboardInterrupt
        self._stopping = True
        logger.warning("%s: this step is finished and saved; once more stops at once", signal.Signals(number).name)

    def on_train_batch_start(self, *_: Any) -> None:
        self._in_epoch = True

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.is_last_batch:
            self._in_epoch = False
        elif self._asked(trainer):
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if self._asked(trainer):
            raise KeyboardInterrupt

    def _asked(self, trainer: Any) -> bool:
        """On every process of the run, as they save together."""
        return trainer.strategy.reduce_boolean_decision(self._stopping, all=False)
