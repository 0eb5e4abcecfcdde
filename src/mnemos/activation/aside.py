"""What a layer keeps beside what it attends to: no query sees it, and it goes with the layer into forks, batches and files, and forgets with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from mnemos.activation.chunks import Place
from mnemos.activation.parts import Bytes
from mnemos.base.errors import Invalid


class Aside(Protocol):
    """A value: what would change it gives another one. A layer has at most one of each kind."""

    kind: str

    def nbytes(self) -> Bytes:
        """Of its own tensors."""
        ...

    def rows(self, index: Tensor) -> Aside:
        """The same for these rows of the batch, in that order."""
        ...

    def without(self, row: int, start: int, stop: int, erase: bool) -> Aside:
        """The same without a row's tokens at positions from `start` to before `stop`, overwritten or no more than never brought again."""
        ...

    def moved(self, place: Place) -> Aside:
        """The same, with what lies far in that place."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `load` makes it from again: plain values, and tensors."""
        ...


_KINDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], Aside]] = {}


def register(kind: str, load: Callable[[Mapping[str, Any], Mapping[str, Tensor]], Aside]) -> None:
    """Makes a kind loadable: `load(plain, tensors)` undoes `state`."""
    _KINDS[kind] = load


def load(kind: str, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Aside:
    """What `state` described. Raises `Invalid` for a kind that nobody registered."""
    if kind not in _KINDS:
        raise Invalid(f"a KV memory keeps something of kind {kind!r} aside, which this version does not know; it knows {', '.join(sorted(_KINDS))}")
    return _KINDS[kind](plain, tensors)
