"""Vectors for texts: computed before the write lock is taken, remembered by content, and made anew when the embedder changes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Embedder, Progress, Vectors
from mnemos.cache.mapping import EvictingCache
from mnemos.kernel.work.running import Stopped
from mnemos.models.catalog import from_fingerprint, open_embedder
from mnemos.store.base import NewVersion, Snapshot, Store
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import terms_text

_REMEMBERED = 4096
"""Texts of single writes whose vectors are kept: they come again when a memory is corrected, merged or written twice."""
_POLICY = "s3-fifo"  # as good as `auto` on texts that come once or often, and 11 µs quicker for each new one
_ASKED = 512
"""Questions whose vectors are kept."""
_FEW = 16
"""More texts than these at once are an import: they do not come again soon, and would drive out those that do."""
_BATCH = 512
_UNIT = 1e-3  # how far from 1 the length of a unit vector may be


class Embedding:
    """The embedder of an open store, and those that older vectors in it were made by."""

    def __init__(self, embedder: str | Embedder | None) -> None:
        self.embedder: Embedder | None = open_embedder(embedder)
        self._known: EvictingCache[str, bytes] = EvictingCache(_REMEMBERED, _POLICY)
        self._asked: EvictingCache[str, Vectors] = EvictingCache(_ASKED, _POLICY)
        self._others: dict[str, Embedder | None] = {}
        self._fingerprints: dict[int, str] = {}
        self._put_as: int | None = None
        self.done, self.total = 0, 0
        self.failure: Exception | None = None
        """What made the work in the background fail; None where it did not, or where it went well since."""
        self._settled = threading.Event()
        self._settled.set()
        self._lent = threading.local()

    @property
    def fingerprint(self) -> str | None:
        """That of the embedder, where there is one."""
        return None if self.embedder is None else self.embedder.fingerprint

    # -- texts --
    def vectors(self, texts: Sequence[str], progress: Progress | None = None) -> list[bytes] | None:
        """Float32 bytes for each text; None without an embedder. A text that was embedded lately is not embedded again."""
        if self.embedder is None:
            return None
        lent: Mapping[str, bytes] = getattr(self._lent, "vectors", {})
        found = {text: lent[text] for text in texts if text in lent}
        if len(texts) <= _FEW:
            found |= {text: vector for text in texts if text not in found and (vector := self._known.get(text)) is not None}
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            fresh = check_vectors(self.embedder.embed(missing, progress=progress), len(missing), self.embedder)
            made = {text: fresh[i].tobytes() for i, text in enumerate(missing)}
            found |= made
            if len(made) <= _FEW:
                self._known.update(made)
        return [found[text] for text in texts]

    def of_versions(self, versions: Sequence[NewVersion]) -> list[bytes | None]:
        """The vectors of the searchable ones among `versions`; None for the rest."""
        found = self.vectors([terms_text(v.content) for v in versions if v.derived.terms is not None])
        if found is None:
            return [None] * len(versions)
        vectors = iter(found)
        return [None if v.derived.terms is None else next(vectors) for v in versions]

    def put(self, transaction: Writer, seqs: Sequence[int], vectors: Iterable[bytes | None]) -> None:
        """Write vectors beside their versions."""
        pairs = [(seq, vector) for seq, vector in zip(seqs, vectors, strict=True) if vector is not None]
        if self.embedder is None or not pairs:
            return
        number = self._put_as
        if number is None:
            number = transaction.embedder(self.embedder.fingerprint, self.embedder.dimensions)
        transaction.put_vectors(number, pairs)
        if not transaction.new_embedder:
            self._put_as = number

    def matrix(self, texts: Sequence[str]) -> Vectors | None:
        """(len(texts), dimensions) unit vectors; None without an embedder."""
        found = self.vectors(texts)
        if found is None or self.embedder is None:
            return None
        return np.frombuffer(b"".join(found), dtype="<f4").reshape(-1, self.embedder.dimensions)

    @contextlib.contextmanager
    def lending(self, vectors: Mapping[str, bytes]) -> Iterator[None]:
        """Let this thread take these vectors (text → float32 bytes), which the embedder made before, instead of having them made anew."""
        self._lent.vectors = vectors
        try:
            yield
        finally:
            self._lent.vectors = {}

    def drop(self, texts: Iterable[str]) -> None:
        """Forget that these texts were ever embedded, and, as it may speak of them, whatever was asked."""
        for text in texts:
            self._known.forget(text)
        self._asked = EvictingCache(_ASKED, _POLICY)

    # -- questions --
    def question(self, text: str) -> Vectors | None:
        """The question's vector, shape (dimensions,); None without an embedder. One that was asked lately is not embedded again."""
        embedder = self.embedder
        if embedder is None:
            return None
        return self._asked.fetch(text, lambda text: check_vectors(embedder.embed([text]), 1, embedder)[0])

    def given(self, vector: object) -> Vectors:
        """A question's vector that the caller computed with this embedder. Raises `Invalid` for a wrong shape or no number."""
        if self.embedder is None:
            raise Invalid("vector: this store was opened without an embedder")
        try:
            with np.errstate(over="ignore"):  # what overflows is not finite, and refused below
                query = np.asarray(vector, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise Invalid("vector: expected a list of numbers") from None
        if query.shape != (self.embedder.dimensions,) or not np.isfinite(query).all():
            raise Invalid(f"vector: expected {self.embedder.dimensions} finite numbers, got shape {query.shape}")
        return query

    def align(self, text: str, vector: Vectors | None, numbers: Iterable[int], snapshot: Snapshot) -> dict[int, Vectors]:
        """The question's vector for each of the embedders `numbers` whose vectors a space holds, where the embedder can be had here."""
        out: dict[int, Vectors] = {}
        if self.embedder is None or vector is None:
            return out
        for number in numbers:
            fingerprint = self._fingerprint(number, snapshot)
            if fingerprint == self.embedder.fingerprint:
                out[number] = vector
                continue
            try:
                if (other := self._by_fingerprint(fingerprint)) is not None:
                    out[number] = check_vectors(other.embed([text]), 1, other)[0]
            except ModelUnavailable:  # as good as unknown here: what has its vectors is found by words until it has new ones
                self._others[fingerprint] = None
        return out

    def is_own(self, number: int, snapshot: Snapshot) -> bool:
        """Whether an embedder's number in the store is that of this embedder."""
        return self.embedder is not None and self._fingerprint(number, snapshot) == self.embedder.fingerprint

    def _fingerprint(self, number: int, snapshot: Snapshot) -> str:
        if number not in self._fingerprints:
            self._fingerprints |= {n: fingerprint for n, (fingerprint, _) in snapshot.embedders().items()}
        return self._fingerprints[number]

    def _by_fingerprint(self, fingerprint: str) -> Embedder | None:
        if fingerprint not in self._others:
            self._others[fingerprint] = from_fingerprint(fingerprint)
        return self._others[fingerprint]

    # -- another embedder than before --
    def lacking(self, store: Store) -> bool:
        """Whether a searchable version has no vector of this embedder."""
        if self.embedder is None:
            return False
        with store.snapshot() as snapshot:
            number = self.number(snapshot)
            return bool(snapshot.unembedded(-1 if number is None else number, 0, 1))

    def number(self, snapshot: Snapshot) -> int | None:
        """The embedder's number in a store that it was used in."""
        return next((number for number, (fingerprint, _) in snapshot.embedders().items() if fingerprint == self.fingerprint), None)

    def catch_up(self, store: Store, progress: Progress | None = None) -> int:
        """Embed every searchable version that has no vector of this embedder; give how many. Interrupted, it goes on next time."""
        embedder = self.embedder
        if embedder is None:
            return 0
        with store.snapshot() as snapshot:
            number = self.number(snapshot)
        if number is None:
            with store.transaction() as transaction:
                number = transaction.embedder(embedder.fingerprint, embedder.dimensions)
        after, done = 0, 0
        while True:
            with store.snapshot() as snapshot:
                rows = snapshot.unembedded(number, after, _BATCH)
                versions = snapshot.versions([row[0] for row in rows])
                if rows and not done:
                    self.total = snapshot.count_unembedded(number)
            if not rows:
                return done
            values = check_vectors(embedder.embed([terms_text(versions[row[0]].content) for row in rows]), len(rows), embedder)
            with store.transaction() as transaction:
                transaction.put_vectors(number, [(row[0], values[i].tobytes()) for i, row in enumerate(rows)], replace=True)
            after, done = rows[-1][0], done + len(rows)
            self.done = done
            self.total = max(self.total, done)
            if progress is not None:
                progress(done, self.total)

    def begin(self) -> Callable[[Exception | None], None]:
        """Let `wait` wait, until what this gives is called, with what went wrong or None. A failure is kept in `failure`."""
        self._settled.clear()

        def ended(failure: Exception | None) -> None:
            self.failure = failure or self.failure
            self._settled.set()

        return ended

    def work(self, store: Store, progress: Progress) -> None:
        """`catch_up`, as a job: whoever waits learns how it went."""
        ended = self.begin()
        self.failure, failure = None, None
        try:
            self.catch_up(store, progress)
        except Stopped:
            raise
        except Exception as error:
            failure = error
            raise
        finally:
            ended(failure)

    def wait(self) -> None:
        """Wait until the work in the background is done, or has failed, or cannot be begun because jobs are paused. Raises what made it fail."""
        self._settled.wait()
        if self.failure is not None:
            raise self.failure


def check_vectors(vectors: object, count: int, embedder: Embedder) -> Vectors:
    """`vectors` as float32, where they are what the embedder promises. Raises `ModelUnavailable`."""
    try:
        values = np.ascontiguousarray(vectors, dtype="<f4")
    except (TypeError, ValueError):
        values = np.empty(0, dtype="<f4")
    if values.shape == (count, embedder.dimensions):
        lengths = np.linalg.norm(values, axis=1)
        if ((lengths == 0) | (np.abs(lengths - 1) < _UNIT)).all():  # false for values that are no numbers, too
            return values
    raise ModelUnavailable(
        f"embedder {embedder.fingerprint}: gave {type(vectors).__name__} of shape {getattr(vectors, 'shape', 'none')} for {count} texts, or vectors "
        f"that have no length of 1; expected ({count}, {embedder.dimensions}) unit vectors"
    )
