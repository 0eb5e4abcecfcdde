"""An embedder without a model: hashed words and character n-grams, NumPy only, the same vectors in every process and on every machine.

Signed feature hashing: "Feature Hashing for Large Scale Multitask Learning" §2; character n-grams inside word marks: "Enriching Word Vectors
with Subword Information" §3.2. It knows spelling, not meaning: it finds shared and misspelt words, never synonyms.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Progress, Vectors

RECIPE = 2
"""Version of everything below that changes a vector."""
MAX_CHARACTERS = 16_384
"""Characters that are read of one text, as by the default embedder."""

_WORD_CHARACTERS = 64
_GRAM_LENGTHS = (3, 4)
_GRAM_WEIGHT = 0.7
_FULL_WEIGHT_BYTES = 10
_CHUNK_TEXTS = 256
_CHUNK_CHARACTERS = 4 * MAX_CHARACTERS
_REMEMBERED_WORDS = 32_768
_ASCII_WORD = re.compile(rf"[a-z0-9_]{{1,{_WORD_CHARACTERS}}}")
_SILENT = "’‘“”—–…"
"""Signs that part words and, being punctuation, have no vector: without them most English is ASCII, which is read several times faster."""
_NOTHING = "\0"
"""The feature of a text without any other (empty, blanks, punctuation): such texts too have a unit vector, one for all of them."""


class HashedEmbedder:
    """Hashed n-gram embedder of `dimensions` (default 256, at least 8) dimensions; safe to share between threads.

    A word's vector is its own feature (weight 1) and its character 3- and 4-grams (weight 0.7 each), times the square root of its length in
    UTF-8 bytes up to 10: short words are mostly the frequent, empty ones, in every language, and without a corpus there is no better sign of
    it. Scripts without spaces count characters and their pairs as words. A text's vector is the sum over its words, each weighted
    1 + ln(occurrences), scaled to unit length.
    """

    def __init__(self, *, dimensions: int = 256) -> None:
        if not 8 <= dimensions <= 65_536:
            raise Invalid(f"a hashed embedder of {dimensions} dimensions is not possible: use 8 to 65536")
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._rows: dict[str, int] = {}
        self._table: NDArray[np.float32] = np.empty((1024, dimensions), dtype=np.float32)

    @property
    def fingerprint(self) -> str:
        return f"hashed:{self._dimensions}:recipe{RECIPE}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions), in the order of `texts`."""
        vectors = np.empty((len(texts), self._dimensions), dtype=np.float32)
        for start, stop in _chunks(texts):
            vectors[start:stop] = self._embed_chunk(texts[start:stop])
            if progress is not None:
                progress(stop, len(texts))
        return vectors

    def _embed_chunk(self, texts: Sequence[str]) -> Vectors:
        counted = [Counter(words_of(text)) or Counter([_NOTHING]) for text in texts]
        starts = np.cumsum([0, *map(len, counted)])
        counts = np.array(list(chain.from_iterable(words.values() for words in counted)), dtype=np.float32)
        with self._lock:
            rows = self._rows_of(counted)
            weighted = self._table[rows]
        repeated = np.flatnonzero(counts > 1.0)
        weighted[repeated] *= (1.0 + np.log(counts[repeated]))[:, None]
        sums = np.empty((len(texts), self._dimensions), dtype=np.float32)
        for row, (start, stop) in enumerate(pairwise(starts.tolist())):
            np.add.reduce(weighted[start:stop], axis=0, out=sums[row])  # `reduceat` over all of them takes four times as long
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        for empty in np.flatnonzero(lengths == 0.0):  # words that cancel each other, or characters that carry nothing
            sums[empty] = _word_vector(_NOTHING, self._dimensions)
            lengths[empty] = np.linalg.norm(sums[empty])
        sums /= lengths[:, None]
        return sums

    def _rows_of(self, counted: Sequence[Counter[str]]) -> list[int]:
        """Rows of `_table` that hold the words' vectors, filling in those that are new. Call with the lock held."""
        known = self._rows
        if len(known) >= _REMEMBERED_WORDS:
            known.clear()
        rows: list[int] = []
        for words in counted:
            try:
                rows += [known[word] for word in words]
            except KeyError:
                rows += [self._row(word) for word in words]
        return rows

    def _row(self, word: str) -> int:
        row = self._rows.get(word)
        if row is None:
            row = self._rows[word] = len(self._rows)
            if row == len(self._table):
                self._table = np.concatenate([self._table, np.empty_like(self._table)])
            self._table[row] = _word_vector(word, self._dimensions)
        return row


def words_of(text: str) -> list[str]:
    """Words of `text` in lower case, in order. Unspaced scripts (Chinese, Japanese kana) give single characters and adjacent pairs; an emoji
    or other symbol is a word; words beyond 64 characters come in pieces. At most `MAX_CHARACTERS` of the text are read."""
    text = text[:MAX_CHARACTERS]
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    plain = text
    for sign in _SILENT:
        plain = plain.replace(sign, " ")
    if plain.isascii():
        return _ASCII_WORD.findall(plain.lower())
    folded = unicodedata.normalize("NFKC", text).casefold()[:MAX_CHARACTERS]
    words: list[str] = []
    for match in _unicode_words().finditer(folded):
        run = match[0]
        if match.lastgroup == "unspaced":
            words.extend(run)
            words.extend(run[index : index + 2] for index in range(len(run) - 1))
        else:
            words.append(run)
    return words


@lru_cache(maxsize=1)
def _unicode_words() -> re.Pattern[str]:
    # `\w` leaves out the vowel signs of Indian scripts and other combining marks, without which words fall apart.
    assigned = map(chr, range(0x300, 0x1_F000))
    marks = re.escape("".join(character for character in assigned if unicodedata.category(character) in ("Mn", "Mc")))
    unspaced = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
    word = rf"(?:(?![\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\w{marks}]){{1,{_WORD_CHARACTERS}}}"
    return re.compile(rf"(?P<unspaced>{unspaced})|(?P<word>{word})|(?P<symbol>[^\s\x00-\x7f])")


def _word_vector(word: str, dimensions: int) -> NDArray[np.float32]:
    if word == _NOTHING:  # spread over all dimensions, so that it is near to no word
        return np.array([1.0 if _hash(f"n{slot}") & 1 else -1.0 for slot in range(dimensions)], dtype=np.float32)
    vector = np.zeros(dimensions, dtype=np.float32)
    if len(word) == 1 and unicodedata.category(word)[0] in "PZC":
        return vector
    marked = f"<{word}>"
    grams = [marked[at : at + size] for size in _GRAM_LENGTHS for at in range(len(marked) - size + 1)] if len(word) > 1 else []
    digests = [_hash("w" + word), *map(_gram_hash, grams)]
    weights = np.full(len(digests), _GRAM_WEIGHT, dtype=np.float32)
    weights[0] = 1.0
    signs = np.array([1.0 if digest & 1 else -1.0 for digest in digests], dtype=np.float32)
    np.add.at(vector, [(digest >> 1) % dimensions for digest in digests], weights * signs)
    vector *= np.float32(math.sqrt(min(len(word.encode("utf-8", "surrogatepass")), _FULL_WEIGHT_BYTES)))
    return vector


@lru_cache(maxsize=_REMEMBERED_WORDS)
def _gram_hash(gram: str) -> int:
    return _hash("g" + gram)


def _hash(feature: str) -> int:
    # Python's own hash differs from one process to the next.
    return int.from_bytes(hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges (start, stop) of `texts` that bound the memory and the new words of one step."""
    start = characters = 0
    for index, text in enumerate(texts):
        length = min(len(text), MAX_CHARACTERS)
        if index > start and (index - start == _CHUNK_TEXTS or characters + length > _CHUNK_CHARACTERS):
            yield start, index
            start, characters = index, 0
        characters += length
    if start < len(texts):
        yield start, len(texts)
