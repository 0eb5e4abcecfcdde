"""Several changes as one: those that were made are taken back, last first, where a later one fails."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class Undo:
    """`with Undo() as undo:` and `undo(function)` after each change. An error in the block runs the functions in reverse, and goes on.

    A function that fails in turn is noted in the error, and does not keep the others from running.
    """

    def __init__(self) -> None:
        self._back: list[Callable[[], None]] = []

    def __call__(self, function: Callable[[], None]) -> None:
        self._back.append(function)

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        for function in reversed(self._back):
            try:
                function()
            except Exception as failure:  # noqa: BLE001  (the first error is raised; this one is told with it)
                error.add_note(f"taking back a change failed, too: {failure}")
