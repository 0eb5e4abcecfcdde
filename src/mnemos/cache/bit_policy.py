"""What the policies share that follow one predicted bit per request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.cache.base import Key, Meta, Predictor
from mnemos.cache.policy import Policy
from mnemos.cache.predictors import Given


class BitPolicy(Policy):
    """A *1-page* is one whose latest bit is 1. They go first, in the order of their last requests, clean ones before dirty ones."""

    _apart = frozenset({"predictor"})

    def __init__(self, capacity: int, predictor: Predictor | None = None) -> None:
        super().__init__(capacity)
        self.predictor = predictor or Given()
        self.victim_bits: dict[Key, int] = {}  # of the pages dropped at the last miss
        self._ones: OrderedDict[Key, None] = OrderedDict()

    def bit_of(self, key: Key) -> int:
        """The latest bit of a page that is held. Raises `NotFound` for any other."""
        if key not in self.pages:
            raise NotFound(f"cache: no page {shown(key)} is held that could be evicted, so it has no bit")
        return int(key in self._ones)

    def hint(self, key: Key, bit: int) -> None:
        if bit not in (0, 1):
            raise Invalid(f"cache hint: {shown(bit)} is no bit; give 0 (keep) or 1 (not needed again)")
        if key in self.pages:
            self._set(key, bool(bit))

    def _ask(self, key: Key, meta: Meta) -> None:
        """Refresh the bit of the page just asked for."""
        self.predictor.observe(key, meta)
        self._set(key, self.predictor.bit(key, meta) > 0.5)

    def _miss(self, key: Key, meta: Meta) -> None:
        self.victim_bits.clear()

    def _admit(self, key: Key, meta: Meta) -> None:
        self._enter(key)
        self._ask(key, meta)

    def _enter(self, key: Key) -> None:
        self.pages[key] = None

    def _set(self, key: Key, bit: bool) -> None:
        self._ones.pop(key, None)
        if bit:
            self._ones[key] = None

    def _discard(self, key: Key) -> None:
        self.victim_bits[key] = int(key in self._ones)
        self._ones.pop(key, None)
        del self.pages[key]

    def _forget(self, key: Key) -> None:
        self.victim_bits.pop(key, None)
        self.predictor.forget(key)

    def _attributes(self) -> list[tuple[object, dict[str, Any]]]:
        owned = [(self.predictor, dict(vars(self.predictor)))] if hasattr(self.predictor, "load") else []
        return [*super()._attributes(), *owned]

    def _more_state(self) -> dict[str, Any]:
        written = getattr(self.predictor, "state_dict", None)
        return {} if written is None else {"predictor": written()}

    def _load_more(self, state: Mapping[str, Any]) -> None:
        load = getattr(self.predictor, "load", None)
        if (load is None) != ("predictor" not in state):
            raise Invalid(f"cache state: {self.name!r} was written with another kind of predictor; make it with the same one before loading")
        if load is not None:
            load(state["predictor"])
