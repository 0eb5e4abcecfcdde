"""What all policies share: sizes, costs, pins, dirty pages, looking ahead, and state. A policy fills in how a page enters, is touched, and goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, Self

from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.cache.base import UNIT, Key, Meta
from mnemos.cache.state import copied, packed, unpacked


class Policy:
    """Base of the policies. `capacity` in slots or bytes, at least 1; `used` of it by all pages, `held` by pinned ones.

    Guarantees are stated for pages of one size and cost; where these differ they hold for each class of equal ones. A pinned page that would be
    the next to go is put back as one just loaded, and the next after it goes.
    """

    name: ClassVar[str] = ""
    _apart: ClassVar[frozenset[str]] = frozenset()
    """Attributes that are no state of their own: given at construction, or written by the policy itself."""

    pages: MutableMapping[Key, Any]

    def __init__(self, capacity: int) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise Invalid(f"cache capacity: {shown(capacity)} is no whole number of at least 1 (slots, or bytes)")
        self.capacity = capacity
        self.used = 0
        self.held = 0
        self.pages = {}
        self._sizes: dict[Key, int] = {}  # of pages whose size is not 1
        self._costs: dict[Key, float] = {}  # of pages whose cost is not 1
        self._dirty: set[Key] = set()
        self._pinned: dict[Key, int] = {}  # how often
        self._parts: dict[str, Policy] = {}  # the policies that this one is made of

    def request(self, key: Key, meta: Meta = UNIT) -> list[Key] | None:
        """`on_hit` (gives None) or `on_miss` (gives the pages to drop), whichever it is."""
        if key in self.pages:
            if meta is not UNIT:
                self._note(key, meta)
            self._touch(key, meta)
            return None
        return self._load(key, meta)

    def on_hit(self, key: Key, meta: Meta = UNIT) -> None:
        """See `EvictionPolicy`. A page keeps its size: one that grew is removed and comes in anew."""
        if key not in self.pages:
            raise NotFound(f"cache: no page {shown(key)} is held; report it with on_miss")
        self.request(key, meta)

    def on_miss(self, key: Key, meta: Meta = UNIT) -> list[Key]:
        """See `EvictionPolicy`."""
        if key in self.pages:
            raise Invalid(f"cache: page {shown(key)} is held already; report it with on_hit")
        return self._load(key, meta)

    def on_remove(self, key: Key) -> None:
        """See `EvictionPolicy`."""
        self.drop(key)
        self._forget(key)

    def drop(self, key: Key) -> None:
        """The page is gone, but may come back: what was remembered of it stays. No error where it is not held."""
        if key in self.pages:
            if key in self._pinned:
                del self._pinned[key]
                self.held -= self.size_of(key)
            self._discard(key)
            self._left(key)

    def evict(self) -> Key:
        """Evict the page that is the next to go. Raises `NotFound` where none is held that is not pinned."""
        if len(self.pages) == len(self._pinned):
            raise NotFound(f"cache: of {len(self.pages)} pages {len(self._pinned)} are pinned, so there is none to evict")
        return self._drop()

    def pin(self, key: Key) -> None:
        """Keep the page, whatever is asked for, until it is unpinned as often as it was pinned. Raises `NotFound` for a page that is not held."""
        if key not in self.pages:
            raise NotFound(f"cache: no page {shown(key)} is held, so it cannot be pinned; load it first")
        if key not in self._pinned:
            self.held += self.size_of(key)
        self._pinned[key] = self._pinned.get(key, 0) + 1

    def unpin(self, key: Key) -> None:
        """Take back one `pin`. Raises `NotFound` for a page that is not pinned."""
        if key not in self._pinned:
            raise NotFound(f"cache: page {shown(key)} is not pinned")
        self._pinned[key] -= 1
        if not self._pinned[key]:
            del self._pinned[key]
            self.held -= self.size_of(key)

    def size_of(self, key: Key) -> int:
        """The size of a page that is held."""
        return self._sizes.get(key, 1)

    def expected_pages(self) -> float:
        """Pages that the cache holds when it is full, if they are as large as those it holds now; at least 1."""
        return max(1.0, self.capacity * len(self.pages) / self.used) if self._sizes else float(self.capacity)

    def clean(self, key: Key) -> None:
        """The page has been written back; policies that follow bits prefer clean pages among those they would drop."""
        self._dirty.discard(key)

    def hint(self, key: Key, bit: int) -> None:
        """A bit (0 or 1) for a page that is held, between two requests for it. Policies that follow no bits ignore it."""

    def resize(self, capacity: int) -> list[Key]:
        """Change the capacity; gives the pages to drop. Raises `Invalid` below 1, and where the pinned pages take more."""
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < max(1, self.held):
            raise Invalid(f"cache capacity: {shown(capacity)} is no whole number of at least {max(1, self.held)}, which 1 or the pinned pages take")
        self.capacity = capacity
        return self._make_room(0)

    def peek_victims(self, n: int) -> list[Key]:
        """See `EvictionPolicy`. Takes time in proportion to the pages held. Raises `Invalid` where room for `n` could never be made."""
        if not 0 <= n <= self.capacity - self.held:
            raise Invalid(f"cache: room for {shown(n)} cannot be made in a capacity of {self.capacity} of which {self.held} is pinned")
        return self._twin()._room_for_new(n)

    def table_bytes(self) -> int:
        """Bytes of this policy's own tables; the keys, and the policies that it is made of, are not counted."""
        return sum(sys.getsizeof(value) for name, value in vars(self).items() if name in self._own() and not isinstance(value, int | float | str))

    def state_dict(self) -> dict[str, Any]:
        """See `EvictionPolicy`."""
        own = {name: packed(getattr(self, name)) for name in self._own()}
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        return {"policy": self.name, "own": own, "parts": parts, **self._more_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """See `EvictionPolicy`. What was held before is replaced; where the state is refused, nothing changes."""
        kept = self._attributes()
        try:
            self._take_over(state)
        except Invalid:
            for owner, attributes in kept:
                vars(owner).clear()
                vars(owner).update(attributes)
            raise

    def __contains__(self, key: object) -> bool:
        return key in self.pages

    def __len__(self) -> int:
        return len(self.pages)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.pages)

    def _attributes(self) -> list[tuple[object, dict[str, Any]]]:
        """Of this policy and all that belongs to it, as they are now; `load` replaces attributes, and changes none in place."""
        return [(self, dict(vars(self))), *(pair for part in self._parts.values() for pair in part._attributes())]

    def _take_over(self, state: Mapping[str, Any]) -> None:
        try:
            name, own, parts = state["policy"], dict(state["own"]), dict(state["parts"])
        except (TypeError, KeyError, ValueError):
            raise Invalid(f"cache state: {shown(state)} is nothing that a policy wrote; give what `state_dict` gave") from None
        if name != self.name or set(own) != set(self._own()) or set(parts) != set(self._parts):
            raise Invalid(f"cache state: written by policy {shown(name)} or by another version of it; {self.name!r} cannot read it")
        restored = {attribute: unpacked(value) for attribute, value in own.items()}
        for attribute, value in restored.items():
            if type(value) is not type(getattr(self, attribute)):
                raise Invalid(f"cache state: {attribute} is a {type(value).__name__}, which {self.name!r} did not write; give it unchanged")
        for part, written in parts.items():
            self._parts[part].load(written)
        self._load_more(state)
        vars(self).update(restored)

    def _load(self, key: Key, meta: Meta) -> list[Key]:
        size = meta.size
        if size < 1:
            raise Invalid(f"cache: page {shown(key)} has size {shown(size)}; sizes are at least 1")
        if size > self.capacity - self.held:
            return [key]
        self._miss(key, meta)
        victims = self._make_room(size)
        self.used += size
        if meta is not UNIT:
            self._note(key, meta)
            if size != 1:
                self._sizes[key] = size
        self._admit(key, meta)
        return victims

    def _room_for_new(self, size: int) -> list[Key]:
        """What `_make_room` gives when a new page is loaded."""
        return self._make_room(size)

    def _make_room(self, size: int) -> list[Key]:
        """Evict until a page of `size` fits; gives the victims."""
        victims = []
        while self.used + size > self.capacity:
            if self._pinned or self._sizes or self._costs or self._dirty:
                victims.append(self._drop())
            else:
                victims.append(self._evict())
                self.used -= 1
        return victims

    def _drop(self) -> Key:
        """Evict the next page that is not pinned."""
        key = self._evict()
        if self._pinned:
            spared = []
            while key in self._pinned:
                spared.append(key)
                key = self._evict()
            for page in spared:
                self._enter(page)
        self._left(key)
        return key

    def _left(self, key: Key) -> None:
        self.used -= self._sizes.pop(key, 1)
        self._costs.pop(key, None)
        self._dirty.discard(key)

    def _note(self, key: Key, meta: Meta) -> None:
        if meta.dirty:
            self._dirty.add(key)
        if meta.cost != 1.0:
            self._costs[key] = meta.cost

    def _first_clean(self, keys: Mapping[Key, Any]) -> Key:
        """The first of some keys that is clean, or the first of all where none is."""
        first: Key = next(iter(keys))
        if not self._dirty:
            return first
        return next((key for key in keys if key not in self._dirty), first)

    def _own(self) -> list[str]:
        return [name for name in vars(self) if name not in self._apart and name != "_parts"]

    def _twin(self) -> Self:
        """A copy whose future does not touch this policy's."""
        twin = object.__new__(type(self))
        vars(twin).update({name: value if name in self._apart else copied(value) for name, value in vars(self).items()})
        twin._parts = {name: part._twin() for name, part in self._parts.items()}
        return twin

    def _more_state(self) -> dict[str, Any]:
        """What else belongs to the state."""
        return {}

    def _load_more(self, state: Mapping[str, Any]) -> None:
        """Takes over what `_more_state` gave."""

    def _miss(self, key: Key, meta: Meta) -> None:
        """A page is about to be loaded; called before room is made for it."""

    def _admit(self, key: Key, meta: Meta) -> None:
        """The page was asked for and enters; there is room for it."""
        self._enter(key)

    def _enter(self, key: Key) -> None:
        """Take the page in."""
        raise NotImplementedError

    def _touch(self, key: Key, meta: Meta) -> None:
        """A page that is held was asked for."""
        raise NotImplementedError

    def _evict(self) -> Key:
        """Choose a page that is held and take it out."""
        raise NotImplementedError

    def _discard(self, key: Key) -> None:
        """Take out this page."""
        raise NotImplementedError

    def _forget(self, key: Key) -> None:
        """Drop what is remembered of a page that is not held."""
