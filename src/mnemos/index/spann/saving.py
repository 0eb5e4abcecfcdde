"""Checkpoints of an index: when one is due, and made while others go on."""

from __future__ import annotations

import threading
from typing import Any

from mnemos.index.spann import opening
from mnemos.index.spann.opening import VECTORS, Opened
from mnemos.index.spann.tuning import Tuner
from mnemos.index.spann.updating import Updater

_WASTE = 0.2
"""A checkpoint is due when so large a share of the lists' file, or of the slots, waits for one to be used again."""
_LEAST_BYTES, _LEAST_SLOTS = 1 << 22, 4096
"""Less than this waits without one."""
_AT_ONCE = 64
"""Lists that get what was appended to them while the lock is held, before a checkpoint."""


class Saver:
    """Makes the state of an index durable. Safe for threads."""

    def __init__(self, opened: Opened, updater: Updater, tuner: Tuner) -> None:
        self.checkpoints = opened.checkpoints
        self._parts, self._rotation, self._updater, self._tuner = opened.parts, opened.rotation, updater, tuner
        self._meta: dict[str, Any] = opened.meta
        self._saving = threading.Lock()

    def save(self) -> None:
        """Make everything up to now durable. Others go on meanwhile; the lock is held only to say what is part of it."""
        with self._saving:
            self._save()

    def save_if_due(self, patience: float = 1.0) -> None:
        """Where a checkpoint is due, `patience` times over, and none is being made: threads that add do not queue up for one each."""
        if self._due(patience) and self._saving.acquire(blocking=False):
            try:
                self._save()
            finally:
                self._saving.release()

    def _save(self) -> None:
        parts = self._parts
        while self._updater.settle(_AT_ONCE) and parts.lists.pending > parts.aside // 16:
            pass
        with parts.lock:
            self._updater.writer.settle(0)
            self._meta["settings"] = parts.settings.to_json()
            tables = opening.tables(parts, self._rotation, self._tuner.queries)
            begun = self.checkpoints.begin(tables, self._meta, [parts.lists.extents], [VECTORS])
            slots = parts.slots.begin()
        self.checkpoints.finish(begun)
        with parts.lock:
            parts.slots.published(slots)

    def _due(self, patience: float) -> bool:
        slots, extents, waste = self._parts.slots, self._parts.lists.extents, patience * _WASTE
        waiting = extents.bytes_waiting > max(waste * extents.bytes_total, _LEAST_BYTES)
        return waiting or slots.waiting > max(waste * len(slots), _LEAST_SLOTS)
