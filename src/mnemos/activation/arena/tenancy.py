"""The arena under KV memories of any policy: their newest tokens grow in it, what they put far away lies in it, and all is counted by namespace."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import KIB, MIB, Backend
from mnemos.activation.arena.cpu import cpu_backend
from mnemos.activation.arena.layout import Layout, page_for
from mnemos.activation.arena.payloads import HeldPayloads
from mnemos.activation.arena.planning import first_fit
from mnemos.activation.arena.quotas import OverQuota, Quotas
from mnemos.activation.arena.rooms import LeasedRoom
from mnemos.activation.arena.tensors import name_of
from mnemos.base.errors import Invalid, StoreFull

LetGo = Callable[[str, StoreFull], bool]
"""Is told for which namespace something does not fit, and lets go of memories that can be made again: whether it did, and it is worth another try."""
STEP = 64 * MIB
"""Bytes by which a pool grows at least, while the budget has them."""
Given = TypeVar("Given")


class KVArena:
    """Pages for the KV memories of a process: `KVMemory.of(model, policy, arena=…, namespace=…)`.

    One arena for each width of keys and values, made when it is first needed: a slot is one head of a row in a layer, so that tokens stand side by
    side as in a tensor of their own, and every kernel does the same with them. Their pools together have at most `budget` bytes (by default 0.9 of
    the free memory), and `quotas` bound each namespace. Where something does not fit, `let_go` is asked; where it gives up nothing, `OverQuota` or
    `StoreFull` is raised, and tokens of that layer are not written. Safe for threads; a memory belongs to one.
    """

    def __init__(
        self,
        budget: int | None = None,
        *,
        quotas: Quotas | None = None,
        let_go: LetGo | None = None,
        max_ctx: int = 32 * KIB,
        slots: int = 4 * KIB,
        page: int = 32 * KIB,
        backend: Backend | None = None,
    ) -> None:
        """`max_ctx`: tokens of the longest row of a layer; `slots`: heads of rows of layers that there are at once; `page`: bytes that a head's keys
        grow by, rounded up to whole tokens and to what `backend` can map (by default that of this machine's memory)."""
        self.backend = cpu_backend() if backend is None else backend
        self.quotas = Quotas() if quotas is None else quotas
        self.budget = int(self.backend.available_bytes() * 0.9) if budget is None else budget
        self.let_go, self._max_ctx, self._slots, self._page = let_go, max_ctx, slots, page
        self._host = self.backend if self.backend.capabilities().device == "cpu" else cpu_backend()
        self._lock = threading.Lock()
        self._arenas: dict[Layout, Arena] = {}

    def __enter__(self) -> KVArena:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    def tenancy(self, namespace: str = "") -> Tenancy:
        """What one memory of a namespace gets its rooms from."""
        return Tenancy(self, namespace)

    def caches(self, policy: Any = None, namespace: str = "") -> Caches:
        """For `LocalModel.load(…, caches=…)`: each cache that the model makes for itself is a memory in here."""
        return Caches(self, policy, namespace)

    def resident_bytes(self) -> int:
        """Physical memory of all pages, as the system tells."""
        for arena in list(self._arenas.values()):
            arena.give_back()  # takes in what finalizers gave up
        host = 0 if self._host is self.backend else self._host.resident_bytes()
        return self.backend.resident_bytes() + host

    def used_bytes(self, namespace: str = "") -> int:
        """What a namespace is charged for: pages that its memories need, and what its policies keep beside."""
        return self.quotas.used(namespace)

    def cleanup(self) -> None:
        """Gives all pages back. Memories in here must not be used any more."""
        with self._lock:
            for arena in self._arenas.values():
                arena.cleanup()
            self._arenas.clear()

    def arena_of(self, size: int, keys: Tensor, planes: int) -> Arena:
        """The one for heads of `size` numbers of the type of `keys`. Raises `Invalid` for tensors of another device."""
        device = self.backend.capabilities().device
        if keys.device.type != device.split(":")[0]:
            raise Invalid(f"the arena is memory of {device}, and keys are on {keys.device}: give a backend of that device")
        name = name_of(keys.dtype)
        page = page_for(size * keys.element_size(), self.backend.granularity, self._page)
        return self._made(Layout(1, 1, size, name, self._slots, self._max_ctx, page, planes=planes), self.backend)

    def arena_of_payloads(self) -> Arena:
        """The one for what lies far, in the host's memory: slots of up to a GiB, a page for a row."""
        row = page_for(1, self._host.granularity, 4 * KIB)
        return self._made(Layout(1, 1, row, "uint8", self._slots, KIB * MIB // row, row, planes=1), self._host)

    def fitting(self, arena: Arena, namespace: str, do: Callable[[], Given]) -> Given:
        """`do`, again and again while there is more memory to give it, or something is let go of. Raises `OverQuota`, `StoreFull`."""
        while True:
            try:
                return do()
            except StoreFull as error:
                if not self._more(arena, error) and not (self.let_go is not None and self.let_go(namespace, error)):
                    raise

    def _more(self, arena: Arena, error: StoreFull) -> bool:
        """Whether the pool could grow within the budget."""
        if isinstance(error, OverQuota):
            return False
        with self._lock:
            if (left := self._left()) < STEP:  # what those of other widths have and do not need
                for each in self._arenas.values():
                    if each is not arena:
                        each.release_physical()
                left = self._left()
            return left > 0 and arena.reserve_physical(min(left, max(STEP, arena.pool_blocks * arena.layout.block_bytes))) > 0

    def _left(self) -> int:
        """Bytes of the budget that no pool has."""
        return self.budget - sum(each.pool_blocks * each.layout.block_bytes for each in self._arenas.values())

    def _made(self, layout: Layout, backend: Backend) -> Arena:
        with self._lock:
            if layout not in self._arenas:
                self._arenas[layout] = Arena(layout, backend, budget=layout.block_bytes, quotas=self.quotas, shrink=True, fit=first_fit)
            return self._arenas[layout]


class Tenancy:
    """Of one memory: its rooms, one for each layer, which grow together, and its namespace."""

    def __init__(self, arena: KVArena, namespace: str) -> None:
        self.arena, self.namespace = arena, namespace
        self.rooms: weakref.WeakSet[LeasedRoom] = weakref.WeakSet()
        self.place = HeldPayloads(self)
        """Where policies put what lies far."""
        self._beside: dict[int, int] = {}
        weakref.finalize(self, _uncount, arena.quotas, namespace, self._beside).atexit = False

    def room(self, keys: Tensor, values: Tensor) -> LeasedRoom:
        """Room that holds these keys [B, G, n, d] and values [B, G, n, e]. Raises `OverQuota`, `StoreFull`, `Invalid`."""
        return LeasedRoom(self, keys, values)

    def count(self, layer: int, nbytes: int) -> None:
        """What a layer keeps near beside its room is counted, whether it fits the quota or not: it is there."""
        if more := nbytes - self._beside.get(layer, 0):
            self.arena.quotas.charge(self.namespace, more, there=True)
            self._beside[layer] = nbytes

    def another(self) -> Tenancy:
        """For a memory that goes on by itself."""
        return Tenancy(self.arena, self.namespace)


class Caches:
    """Makes caches for a model's module: memories in an arena."""

    def __init__(self, arena: KVArena, policy: Any = None, namespace: str = "") -> None:
        self.arena, self.policy, self.namespace = arena, policy, namespace

    def __call__(self, module: Any) -> Any:
        """An empty `KVMemory` of the module. Raises as `KVMemory.of`."""
        from mnemos.activation.memory import KVMemory  # transformers, only where it is needed
        from mnemos.activation.policy import FULL

        return KVMemory.of(module, FULL if self.policy is None else self.policy, arena=self.arena, namespace=self.namespace)


def _uncount(quotas: Quotas, namespace: str, beside: dict[int, int]) -> None:
    quotas.charge(namespace, -sum(beside.values()))
