"""Several names of one thing under one key: surnames and first names for full names, initials, left-out middle names, acronyms.

What a name stands for is a function of the names that are there, not of the order in which they came: so names can be added and removed at will.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from mnemos.base.errors import Invalid
from mnemos.index.terms import STOP_WORDS
from mnemos.text.name_words import CLASS_OF, COMMON, FIRST_NAMES, HONORIFICS

MOST_CANDIDATES = 12
"""Full names that a short one is compared with; where more are possible it is ambiguous."""

CROWD = 500
"""Names that end, or begin, with the same word: from there on, only those are looked at that begin with the same word, too, or are nearby."""


class Aliases:
    """The names of a corpus (keys as `text.entities.key_of` gives them), counted, and which of them are short for others."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._counts: Counter[str] = Counter()
        self._by_end: defaultdict[str, set[str]] = defaultdict(set)
        """Names of several words by their last word, and by their first."""
        self._by_initials: defaultdict[str, set[str]] = defaultdict(set)
        self.add(keys)

    def __len__(self) -> int:
        """Different names."""
        return len(self._counts)

    def __contains__(self, key: str) -> bool:
        return key in self._counts

    def add(self, keys: Iterable[str]) -> None:
        """Counts names; a name that is given twice must be removed twice."""
        for key in keys:
            self._counts[key] += 1
            if self._counts[key] == 1:
                for index, entry in self._entries(key):
                    index[entry].add(key)

    def remove(self, keys: Iterable[str]) -> None:
        """Takes names back that were added. Raises `Invalid` for one that is not there."""
        for key in keys:
            if key not in self._counts:
                raise Invalid(f"aliases: {key!r} is not among the names; remove only what was added")
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
                for index, entry in self._entries(key):
                    index[entry].discard(key)
                    if not index[entry]:
                        del index[entry]

    def canonical(self, key: str, nearby: Collection[str] = ()) -> str:
        """The fullest name that `key` is short for: the only one that it can be, or the only one among the names `nearby` (of the same text);
        else `key` itself. The same whatever the order in which names were added."""
        near = frozenset(nearby)
        for _ in range(4):  # barrie → jm barrie → james matthew barrie: each step is to a longer name
            longer = self._longer(key, near)
            if longer is None:
                return key
            key = longer
        return key

    def groups(self) -> dict[str, list[str]]:
        """Each canonical name with its other names, both in order of the alphabet; names that stand for themselves alone are left out."""
        out: defaultdict[str, list[str]] = defaultdict(list)
        for key in sorted(self._counts):
            canonical = self.canonical(key)
            if canonical != key:
                out[canonical].append(key)
        return dict(sorted(out.items()))

    def _longer(self, key: str, near: Collection[str]) -> str | None:
        words = key.split()
        if not words:
            return None
        pool = self._by_end.get(words[-1], set())
        if len(pool) > CROWD:
            pool = pool & (self._by_end.get(words[0], set()) | set(near)) if len(words) > 1 else pool & set(near)
        possible = {other for other in pool if is_short_for(words, other.split())}
        if len(words) == 1:
            possible |= {other for other in self._by_initials.get(key, ()) if len(key) > 2}
        possible.discard(key)
        if len(possible) > 1:
            possible = possible & set(near) or possible
        if len(possible) > MOST_CANDIDATES:
            return None
        # several that are one: of J. M. Barrie and James Matthew Barrie the first is short for the second
        longest = [one for one in possible if not any(is_short_for(one.split(), other.split()) for other in possible if other != one)]
        return longest[0] if len(longest) == 1 else None

    def _entries(self, key: str) -> list[tuple[defaultdict[str, set[str]], str]]:
        words = key.split()
        if len(words) < 2:
            return []
        telling = [word for word in words if word not in STOP_WORDS]
        initials = "".join(word[0] for word in telling)
        ends = dict.fromkeys((words[-1], words[0]))
        return [*((self._by_end, end) for end in ends), *([(self._by_initials, initials)] if len(telling) > 2 else [])]


def is_short_for(short: list[str], full: list[str]) -> bool:
    """Whether `short` names who `full` names, by the words of both: a surname or first name of a person; initials for first names; middle names
    left out. Names of places and things are short for nothing: `york` is not New York."""
    if len(full) < 2 or short == full:
        return False
    if short[0] in HONORIFICS and len(short) > 1:
        return short[1:] == full or is_short_for(short[1:], full)
    if len(short) == 1:
        return _person(full) and short[0] in (full[-1], full[0]) and len(short[0]) > 1 and short[0] not in COMMON
    if short[-1] != full[-1] or not _person(full) or len("".join(short)) >= len("".join(full)):
        return False
    given, names = short[:-1], full[:-1]
    if len(given) == 1 and len(given[0]) > 1 and given[0] == "".join(name[0] for name in names):
        return True  # jm barrie
    if given[0] != names[0] and not (len(given[0]) == 1 and names[0].startswith(given[0])):
        return False
    at = 0
    for word in given:
        while at < len(names) and not (names[at] == word or (len(word) == 1 and names[at].startswith(word))):
            at += 1
        if at == len(names):
            return False
        at += 1
    return True


def _person(words: list[str]) -> bool:
    """Whether a name of several words can be a person's."""
    rest = words[1:] if words[0] in HONORIFICS else words
    if not 2 <= len(rest) + (rest is not words) <= 5 or any(word[0].isdigit() or word in CLASS_OF for word in rest):
        return False
    return rest is not words or rest[0] in FIRST_NAMES or not any(word in COMMON for word in rest)
