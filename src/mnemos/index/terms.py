"""Text to search terms: tokenising, folding, stemming, hashing. What is stored of a text here are 32-bit hashes, never its words.

A text's terms are packed at write time into a small block of bytes, from which `mnemos.index.lexical` builds its postings. Forgetting the
block forgets the terms; no word of the text can be read from it.
"""

from __future__ import annotations

import re
import struct
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import Stemmer
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt

TERMS_VERSION = 1
"""Changes when the same text gives other terms: stored blocks of another version must be computed anew from the text."""

Hashes = NDArray[np.uint32]

MAX_COUNT = 127
IN_HEADING = 128
"""Bit of a term's count that says that it stands in the text's heading."""

LONGEST_HEADING = 100
"""Characters up to which a first line with more text below it is taken for a heading or title."""

_CACHE_WORDS = 1 << 17
_LONGEST_WORD = 64
"""Longer runs of letters and digits (base64, hashes) are one term each, by their first 64 characters."""

# Scripts written without spaces, and Hangul, whose words carry their particles: indexed by overlapping pairs of characters.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# Vowel signs and marks that Python's \w leaves out but without which words of these scripts fall to pieces.
_MARKS = "\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0f00-\u0fff\u135d-\u135f"
_ASCII_WORDS = re.compile(r"[a-z0-9]+(?:[-'._@/+:&]+[a-z0-9]+)*")
_WORDS = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])(?:[^\W_]|[{_MARKS}]))+(?:[-'._@/+:&]+(?:(?![{_UNSPACED}])(?:[^\W_]|[{_MARKS}]))+)*")
_UNSPACED_START = re.compile(f"[{_UNSPACED}]")
_JOINTS = re.compile(r"[-'._@/+:&]+")
_LATIN_MARKS = re.compile("[\u0300-\u036f]")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "＇": "'", "‐": "-", "‑": "-", "–": " ", "—": " "})
# Signs that part words like a blank, or are apostrophes: without them most English text is ASCII, which folds and splits in a quarter of the time.
_PLAIN = (*((sign, " ") for sign in "“”„«»•–—\xa0"), ("’", "'"), ("‘", "'"))

_FUNCTION_WORDS = """
    a about above after again all also am an and any are aren't as at be because been before being below between both but by can can't cannot
    could couldn't did didn't do does doesn't doing don't down during each ever few for from further get got had hadn't has hasn't have haven't
    having he he's her here hers herself him himself his how how's i i'd i'll i'm i've if in into is isn't it it's its itself just let's me more
    most my myself no nor not of off on once only or other our ours ourselves out over own please same she she's should shouldn't so some such
    tell than that that's the their theirs them themselves then there there's these they they're this those through to too under until up upon us
    very was wasn't we we're were weren't what what's when where which while who who's whom whose why will with won't would wouldn't you you're
    your yours yourself yourselves
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English function words, left out of a query where it holds anything else. They are indexed all the same."""


class Query(NamedTuple):
    """The terms of a query, each once, in order of appearance."""

    hashes: Hashes
    """(t,) uint32."""
    words: tuple[str, ...]
    """The folded, unstemmed words, in the order of `hashes`."""


def fold(text: str) -> str:
    """`text` as it is compared: compatibility forms unified (NFKC), case folded, Latin, Greek and Cyrillic accents dropped."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES)).casefold()
    return unicodedata.normalize("NFC", _LATIN_MARKS.sub("", unicodedata.normalize("NFKD", text)))


def words(text: str) -> Iterator[str]:
    """The searchable words of `text`, folded but not stemmed, in order.

    A word is a run of letters and digits. Compounds (`e-mail`, `a.b@example.org`, `3.5`, `snake_case`) give their parts and the whole, so
    that either finds them; possessives lose their `'s`; text of unspaced scripts gives pairs of characters.
    """
    for run in _runs(text):
        yield from _words_of(run)


def _runs(text: str) -> list[str]:
    """The stretches of `text`, folded, that words and compounds are made of."""
    if not text.isascii():
        for sign, plain in _PLAIN:
            text = text.replace(sign, plain)
    folded = fold(text)
    return (_ASCII_WORDS if folded.isascii() else _WORDS).findall(folded)


def _words_of(run: str) -> tuple[str, ...]:
    return (run,) if run.isalnum() and (run.isascii() or not _UNSPACED_START.match(run)) else _split(run)


def _split(word: str) -> tuple[str, ...]:
    """The words that a compound or a run of an unspaced script gives."""
    if _UNSPACED_START.match(word):
        return (word,) if len(word) == 1 else tuple(word[i : i + 2] for i in range(len(word) - 1))
    parts = _JOINTS.split(word)
    if len(parts) == 1:
        return (word,)
    if "'" in word:
        if len(parts) == 2:
            return (parts[0],) if parts[1] == "s" else (parts[0] + parts[1],)
        if parts[-1] == "s" and word.endswith("'s"):
            return _split(word[:-2])
    whole = "".join(parts) if set(_JOINTS.findall(word)) <= {"-", "'", "_"} else word
    return (*parts, whole)


_local = threading.local()
_cache: dict[str, int] = {}
_single_cache: dict[str, int] = {}
"""Runs that are one word, which most are: their term."""


def term(word: str) -> int:
    """The 32-bit hash of a folded word's stem (Porter's algorithm, 1980, as implemented by Snowball; words of other scripts are kept)."""
    known = _cache.get(word)
    if known is None:
        try:
            stemmer = _local.stemmer
        except AttributeError:  # a Snowball stemmer may serve one thread only
            stemmer = _local.stemmer = Stemmer.Stemmer("porter", 0)
        stem = word[:_LONGEST_WORD]
        if stem.isascii() and stem.isalpha():
            stem = stemmer.stemWord(stem)
        known = int.from_bytes(blake2b(stem.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little")
        if len(_cache) >= _CACHE_WORDS:
            _cache.clear()
        _cache[word] = known
    return known


def _terms_of(run: str) -> tuple[int, ...]:
    """The terms of the words of a run."""
    found = tuple([term(word) for word in _words_of(run)])
    if len(found) == 1:
        if len(_single_cache) >= _CACHE_WORDS:
            _single_cache.clear()
        _single_cache[run] = found[0]
    return found


@lru_cache(maxsize=1)
def stop_terms() -> Hashes:
    """The hashes of `STOP_WORDS`, sorted."""
    return np.array(sorted({term(word) for entry in STOP_WORDS for word in words(entry)}), dtype=np.uint32)


@lru_cache(maxsize=1)
def _stop_set() -> frozenset[int]:
    return frozenset(stop_terms().tolist())


def heading_of(text: str) -> str:
    """The first line of `text` where it looks like a title: short, with more text below; else nothing."""
    head, _, rest = text.partition("\n")
    return head if 0 < len(head) <= LONGEST_HEADING and rest and not rest.isspace() else ""


def pack_terms(text: str) -> bytes:
    """The terms of `text` as a block of little-endian bytes: uint32 length in terms, n sorted uint32 hashes, n uint8 counts, zeros up to four.

    Counts saturate at 127 and carry `IN_HEADING`; the length counts every occurrence. Takes any text, lone surrogates and NULs included.
    """
    runs = _runs(text)
    found = list(map(_single_cache.get, runs))
    if None in found:
        found = [h for run, known in zip(runs, found, strict=True) for h in ((known,) if known is not None else _terms_of(run))]
    length = len(found)
    counts: dict[int, int] = Counter(found)  # type: ignore[arg-type]  # no None is left
    heading = {term(word) for word in words(heading_of(text))} if "\n" in text else ()
    hashes = sorted(counts)
    if heading or length > MAX_COUNT:
        counts = {h: min(c, MAX_COUNT) | (IN_HEADING if h in heading else 0) for h, c in counts.items()}
    tail = bytes([counts[h] for h in hashes])
    return struct.pack(f"<{len(hashes) + 1}I", min(length, 0xFFFFFFFF), *hashes) + tail + bytes(-len(tail) % 4)


def query_terms(text: str) -> Query:
    """The terms to look `text` up by: each once, without stop words unless there is nothing else."""
    first: dict[int, str] = {}
    for word in words(text):
        first.setdefault(term(word), word)
    stop = _stop_set()
    kept = [h for h in first if h not in stop] or list(first)
    return Query(np.array(kept, dtype=np.uint32), tuple(first[h] for h in kept))


class Postings(NamedTuple):
    """The terms of several texts, side by side."""

    lengths: NDArray[np.int64]
    """(texts,) terms in each text, with repetitions."""
    rows: NDArray[np.int64]
    """(postings,) index into `lengths` of the text that each posting belongs to, ascending."""
    hashes: Hashes
    """(postings,)."""
    counts: NDArray[np.uint8]
    """(postings,) occurrences, at most 127, and `IN_HEADING`."""


def unpack_terms(blobs: Sequence[bytes]) -> Postings:
    """What `pack_terms` packed, for many texts at once; an empty block is an empty text. Raises `Corrupt` where a block has no valid size."""
    sizes = np.fromiter(map(len, blobs), dtype=np.int64, count=len(blobs))
    quads = sizes // 4 - 1
    unique = (quads * 4) // 5
    wrong = (sizes != 0) & ((sizes % 4 != 0) | (quads < 0) | (unique + (unique + 3) // 4 != quads))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise Corrupt(f"terms: block {at} of {len(blobs)} has {int(sizes[at])} bytes, which no text gives; rebuild the text index from the texts")
    unique = np.maximum(unique, 0)
    data = b"".join(blobs)
    quad, byte = np.frombuffer(data, dtype="<u4"), np.frombuffer(data, dtype=np.uint8)
    start = (np.cumsum(sizes) - sizes) // 4
    lengths = np.zeros(len(blobs), dtype=np.int64)
    filled = sizes > 0
    lengths[filled] = quad[start[filled]]
    rows = np.repeat(np.arange(len(blobs), dtype=np.int64), unique)
    within = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(unique) - unique, unique)
    hashes = quad[np.repeat(start + 1, unique) + within]
    counts = byte[np.repeat((start + 1 + unique) * 4, unique) + within]
    return Postings(lengths, rows, hashes, counts)
