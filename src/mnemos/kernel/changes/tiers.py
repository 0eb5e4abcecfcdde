"""What can be changed and put back: one protocol for every tier, and a driver for arrays in memory (weights, adapters, KV blocks, an index)."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mnemos.base.cube import Json
from mnemos.base.errors import Corrupt, NotFound


class Changeable(Protocol):
    """One tier under one change. Weights, index and logs are tiers of their own, each with its own version."""

    @property
    def tier(self) -> str:
        """The tier's name, the same in every process."""
        ...

    def version(self) -> str:
        """Names the tier's present state."""
        ...

    def digest(self) -> str:
        """SHA-256 of everything in the tier that the change may touch, as a reader meets it: equal exactly where a reader meets the same.
        Never written down: a digest without a salt lets guesses at a memory be tested."""
        ...

    def check_words(self, words: str) -> None:
        """Raise `Invalid` where `words`, which will stay in the log, repeat content that the change touches."""
        ...

    def trial(self) -> AbstractContextManager[None]:
        """The change in force inside the block, for measuring, and taken back at its end whatever happens."""
        ...

    def apply(self) -> Json:
        """Put the change in force; gives what `restore` needs, as plain JSON without content of memories: another process may have to restore."""
        ...

    def restore(self, before: Json) -> None:
        """Put back what `apply` changed, bit for bit as a reader meets it. Doing it twice does no harm."""
        ...

    def restored(self, before: Json) -> bool:
        """Whether a reader meets the tier as it was before `apply`."""
        ...

    def finish(self, before: Json) -> Json:
        """Do what cannot be undone, now that the change stays; gives what the ledger is to keep of it."""
        ...


class Arrays:
    """Named arrays held in memory, and a function that changes them in place or puts others in their place. Implements `Changeable`.

    With `folder` what is needed to go back lies in a file there, so that another process with the same arrays can do it; without, it lies in
    memory and ends with the process.
    """

    def __init__(
        self,
        tier: str,
        arrays: MutableMapping[str, Any],
        change: Callable[[MutableMapping[str, Any]], None] = lambda arrays: None,
        *,
        folder: str | Path | None = None,
    ) -> None:
        self._tier = tier
        self._arrays = arrays
        self._change = change
        self._folder = Path(folder) if folder is not None else None
        self._kept: dict[str, dict[str, Any]] = {}

    @property
    def tier(self) -> str:
        return self._tier

    def version(self) -> str:
        return self.digest()[:16]

    def digest(self) -> str:
        return _digest(self._arrays)

    def check_words(self, words: str) -> None:
        """Numbers cannot be repeated in words."""

    @contextlib.contextmanager
    def trial(self) -> Iterator[None]:
        kept = _copies(self._arrays)
        try:
            self._change(self._arrays)
            yield
        finally:
            _put_back(self._arrays, kept)

    def apply(self) -> Json:
        before = self.digest()
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            whole = self._folder / f"{before}.npz"
            partial = self._folder / f"{before}.part.npz"
            np.savez(partial, allow_pickle=False, **_copies(self._arrays))
            partial.replace(whole)
        else:
            self._kept[before] = _copies(self._arrays)
        try:
            self._change(self._arrays)
        except BaseException:
            self.restore({"digest": before})
            raise
        return {"digest": before}

    def restore(self, before: Json) -> None:
        digest = before["digest"]
        kept = self._kept.get(digest)
        if kept is None and self._folder is not None and (self._folder / f"{digest}.npz").is_file():
            with np.load(self._folder / f"{digest}.npz", allow_pickle=False) as file:
                kept = {name: file[name] for name in file.files}
        if kept is None:
            raise NotFound(f"tier {self._tier}: the state {digest[:16]} is kept nowhere; it was held in the memory of the process that changed it")
        if _digest(kept) != digest:
            raise Corrupt(f"tier {self._tier}: the kept state {digest[:16]} is damaged; restore the tier from a backup")
        _put_back(self._arrays, kept)

    def restored(self, before: Json) -> bool:
        return bool(self.digest() == before["digest"])

    def finish(self, before: Json) -> Json:
        self._kept.pop(before["digest"], None)
        if self._folder is not None:
            (self._folder / f"{before['digest']}.npz").unlink(missing_ok=True)
        return {}


def _copies(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.array(array, copy=True) for name, array in arrays.items()}


def _put_back(arrays: MutableMapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Fill the arrays again in place where they have the same form, so that whoever holds them sees it too."""
    for name in [name for name in arrays if name not in kept]:
        del arrays[name]
    for name, array in kept.items():
        now = arrays.get(name)
        if isinstance(now, np.ndarray) and now.shape == array.shape and now.dtype == array.dtype and now.flags.writeable:
            now[...] = array
        else:
            arrays[name] = np.array(array, copy=True)


def _digest(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    whole = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        whole.update(array.tobytes())
    return whole.hexdigest()
