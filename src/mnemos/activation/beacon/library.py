"""Documents in one compressed memory: read once, asked often, each taken out again (MemoRAG, arXiv 2409.05591, section 2, the global memory).

Each document begins a window and ends one, so that its memory is a stretch of positions of its own. `forget` takes that out. Documents after it have
seen it while they were read: what is kept of them is then approximate, until they are read again; where documents are read `apart`, none has seen
another, and forgetting is exact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from safetensors.torch import save as write_tensors

from mnemos.activation.beacon import saving
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.layout import Cursor
from mnemos.activation.beacon.memory import BeaconMemory, Snapshot
from mnemos.activation.beacon.windows import Windows
from mnemos.activation.saving import read_file
from mnemos.base.errors import Corrupt, Invalid, NotFound, shown

_KEY = "mnemos.library"


@dataclass(frozen=True)
class Document:
    """A document, or a later part of one: its tokens, and the positions of the memory from `start` up to, not with, `stop` that stand for them."""

    name: str
    tokens: tuple[int, ...]
    start: int
    stop: int
    seen: tuple[str, ...] = ()
    """Documents that were forgotten after this one was read with them in sight: it may still tell of them."""

    @property
    def approximate(self) -> bool:
        """Whether it is not what it would be had the forgotten documents never been there."""
        return bool(self.seen)


class Library:
    """One row of a `BeaconMemory`, with documents. `first`: tokens that begin any text, as the model knows it; they stay as they are.

    The tokens of the documents are kept, for reading again: so they are forgotten with them, too. For one thread at a time.
    """

    def __init__(self, beacons: Beacons, windows: Windows | None = None, first: Sequence[int] = (), apart: bool = False, chunk: int = 4096,
                 fit: bool = False) -> None:  # fmt: skip
        """`apart`: each document is read without those before it; `chunk`: tokens that are read at a time; `fit`: the ratio is the smallest by which
        all documents fit the model (`Beacons.fitting`), and where it has to grow they are read again. Raises `Invalid` for eager memory tokens, whose
        windows cannot end early."""
        self.windows = replace(windows or Windows(), sinks=len(first))
        if self.windows.eager or chunk < 1:
            raise Invalid("a library closes the window of each document: give windows that are not eager, and a chunk of 1 token or more")
        self.beacons, self.first, self.apart, self.chunk, self.fit = beacons, tuple(first), apart, chunk, fit
        if fit:
            self.windows = replace(self.windows, ratio=None)
        self.parts: list[Document] = []
        self._begin()
        self._open: Snapshot | None = None
        """The memory with the last window as it is, not closed, so that more of its document can follow."""

    def _begin(self) -> None:
        """An empty memory, of these windows."""
        self.memory = self.beacons.memory(self.windows)
        if self.first:
            self._read(self.memory, self.first)

    @property
    def documents(self) -> tuple[str, ...]:
        """Their names, in the order in which they were read."""
        return tuple(dict.fromkeys(part.name for part in self.parts))

    def memorise(self, name: str, tokens: Sequence[int]) -> Document:
        """Reads a document, or, under the name of the last one, more of it: at a border of windows that is as if it had been read at once.
        Raises `Invalid` for no tokens and where the model has no positions left; the library is then as before."""
        if not tokens:
            raise Invalid(f"document {shown(name)} has no tokens: give at least one")
        if self.fit:
            self._fit(name, len(tokens))
        before = self.memory.snapshot()
        goes_on = bool(self.parts) and self.parts[-1].name == name and self._open is not None
        try:
            if self.apart and not goes_on:
                return self._apart(name, tuple(tokens))
            if goes_on:
                assert self._open is not None
                self.memory.restore(self._open)
            start = self.parts[-1].start if goes_on else before.cursors[0].base if before.cursors else 0
            self._read(self.memory, tokens)
            opened = self.memory.snapshot()
            self.beacons.close(self.memory)
        except BaseException:
            self.memory.restore(before)
            raise
        had = self.parts.pop() if goes_on else Document(name, (), start, start)
        part = replace(had, tokens=(*had.tokens, *tokens), stop=self._base)
        self.parts.append(part)
        self._open = None if self.apart else opened
        return part

    def _fit(self, name: str, more: int) -> None:
        """Makes room for so many tokens more: where the ratio has to change for that, all documents are read again."""
        lengths = [len(part.tokens) for part in self.parts]
        lengths = [*lengths[:-1], lengths[-1] + more] if self.parts and self.parts[-1].name == name else [*lengths, more]
        windows = self.beacons.fitting(lengths, self.windows)
        if windows != self.windows:
            state, parts, opened, memory = self.windows, self.parts, self._open, self.memory
            self.windows, self.parts, self._open, self.fit = windows, [], None, False
            try:
                self._begin()
                for part in parts:
                    self.memorise(part.name, part.tokens)
            except BaseException:
                self.windows, self.parts, self._open, self.memory = state, parts, opened, memory
                raise
            finally:
                self.fit = True

    def join(self, other: Library) -> None:
        """Takes up the documents of another library after its own. Both read `apart`, so none of them has seen another. Raises `Invalid` where they
        do not, or have other windows, other first tokens, or a document in common."""
        if not (self.apart and other.apart) or (self.windows, self.first) != (other.windows, other.first):
            raise Invalid("only libraries that read each document apart, in the same windows and after the same first tokens, can be joined")
        if common := set(self.documents) & set(other.documents):
            raise Invalid(f"both libraries have the document {shown(min(common))}: forget it in one of them")
        if other.parts:
            shift = self._append(other.memory, sum(len(part.tokens) for part in other.parts)) - len(self.first)
            self.parts += [replace(part, start=part.start + shift, stop=part.stop + shift) for part in other.parts]

    def forget(self, name: str, again: bool = False) -> tuple[str, ...]:
        """Takes a document out: its positions, and its tokens. `again`: reads those after it again, so that the library is as if it had never been
        there; otherwise they are approximate, and named. Raises `NotFound`."""
        if name not in self.documents:
            raise NotFound(f"the library has no document {shown(name)}; it has {shown(', '.join(self.documents), 200)}")
        first = next(number for number, part in enumerate(self.parts) if part.name == name)
        if again and not self.apart:
            self._again(first, [part for part in self.parts[first:] if part.name != name])
            return ()
        kept = [place for place in range(self._base) if not any(part.start <= place < part.stop for part in self.parts if part.name == name)]
        self._keep(kept)
        parts, at, gone = [], len(self.first), False
        for part in self.parts:
            if part.name == name:
                gone = True
                continue
            size = part.stop - part.start
            seen = (*part.seen, name) if gone and not self.apart else part.seen
            parts.append(replace(part, start=at, stop=at + size, seen=seen))
            at += size
        self.parts = parts
        return tuple(dict.fromkeys(part.name for part in parts if name in part.seen))

    def renew(self) -> int:
        """Reads again from the first approximate document on, and gives how many documents that were: afterwards none is approximate."""
        first = next((number for number, part in enumerate(self.parts) if part.approximate), len(self.parts))
        later = self.parts[first:]
        if later:
            self._again(first, later)
        return len(later)

    def _again(self, first: int, later: Sequence[Document]) -> None:
        """Reads `later` in the place of all parts from number `first` on; where that fails, the library is as before."""
        memory, parts, opened = self.memory.snapshot(), self.parts, self._open
        try:
            self._keep(range(parts[first].start))
            self.parts = parts[:first]
            for part in later:
                self.memorise(part.name, part.tokens)
        except BaseException:
            self.memory.restore(memory)
            self.parts, self._open = parts, opened
            raise

    def fork(self) -> BeaconMemory:
        """The memory to ask a question of: what is read there is not seen here, nor by the next question."""
        return self.memory.fork()

    def dump(self) -> bytes:
        """The documents, and the memory of them, as one safetensors file."""
        about = {"parts": [asdict(part) for part in self.parts], "first": self.first, "apart": self.apart, "fit": self.fit}
        memory = torch.frombuffer(bytearray(saving.dump(self.memory, saving.fingerprint(self.beacons))), dtype=torch.uint8)
        data: bytes = write_tensors({"memory": memory}, {_KEY: json.dumps(about, sort_keys=True)})
        return data

    @classmethod
    def load(cls, beacons: Beacons, data: bytes, fingerprint: str | None = None) -> Library:
        """What `dump` wrote, for the same model and memory tokens, whose `saving.fingerprint` need not be computed where it is known. Raises
        `Corrupt`, `FingerprintMismatch`. Nothing is read again."""
        about, tensors = read_file(data, _KEY, "library")
        try:
            memory = saving.load(beacons, tensors["memory"].numpy().tobytes(), fingerprint or saving.fingerprint(beacons))
            out = cls.__new__(cls)
            out.beacons, out.memory, out.windows, out.chunk, out._open = beacons, memory, memory.windows, 4096, None
            out.first, out.apart, out.fit = tuple(about["first"]), bool(about["apart"]), bool(about.get("fit"))
            out.parts = [Document(part["name"], tuple(part["tokens"]), part["start"], part["stop"], tuple(part["seen"])) for part in about["parts"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"these bytes are no library: {type(error).__name__}: {error}") from error
        return out

    @property
    def _base(self) -> int:
        """Positions of the memory."""
        return self.memory.cursors[0].base if self.memory.cursors else 0

    def _read(self, memory: BeaconMemory, tokens: Sequence[int]) -> None:
        device = self.beacons.embedding.device
        with torch.no_grad():
            for start in range(0, len(tokens), self.chunk):
                ids = torch.tensor([list(tokens[start : start + self.chunk])], device=device)
                self.beacons.model.base_model(input_ids=ids, cache=memory, use_cache=True)

    def _apart(self, name: str, tokens: tuple[int, ...]) -> Document:
        """Reads a document that sees nothing but what begins any text, and puts what comes of it after what is there."""
        alone = self.beacons.memory(self.windows)
        self._read(alone, (*self.first, *tokens))
        with torch.no_grad():
            self.beacons.close(alone)
        start = self._append(alone, len(tokens))
        self.parts.append(part := Document(name, tokens, start, self._base))
        return part

    def _append(self, alone: BeaconMemory, read: int) -> int:
        """Puts a memory, whose windows are all closed and which is of `read` tokens after the first ones, after what is there; gives where."""
        sinks, start = len(self.first), self._base
        more = alone.cursors[0]
        cursor = self.memory.cursors[0] if self.memory.cursors else Cursor()
        after = Cursor(cursor.window + more.window - bool(sinks), 0, start + more.base - sinks, cursor.read + read)
        layers = []
        for held, new in zip(self.memory.layers, alone.layers, strict=True):
            both = [torch.cat([had, its[:, :, sinks:]], 2) if held.is_initialized else its
                    for had, its in zip(held.remembered if held.is_initialized else new.remembered, new.remembered, strict=True)]  # fmt: skip
            layers.append(((both[0], both[1]), new.tail))
        self.memory.restore(Snapshot((after,), after.read, tuple(layers)))
        return start

    def _keep(self, places: Sequence[int]) -> None:
        """Keeps these positions of the memory, whose windows are all closed."""
        self._open = None
        index = torch.tensor(list(places), dtype=torch.long, device=self.beacons.embedding.device)
        layers = tuple(((layer.remembered[0].index_select(2, index), layer.remembered[1].index_select(2, index)), layer.tail)
                       for layer in self.memory.layers)  # fmt: skip
        cursor = replace(self.memory.cursors[0], base=len(index))
        self.memory.restore(Snapshot((cursor,), self.memory.get_seq_length(), layers))
