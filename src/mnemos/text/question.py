"""What a question says about where its answer stands: whose words, which days, when, how many, and in which words they would be said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mnemos.index.terms import Query, fold, query_terms, term
from mnemos.text.time_expressions import DAY, find_times

_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['’](?:s\b)?")
_WHEN = re.compile(
    r"\b(?:when|(?:what|which) (?:date|day|month|year|time|season|week)|how (?:long|recently)|how many (?:days|weeks|months|years)"
    r"|since when)\b",
    re.I,
)
_AMOUNT = re.compile(r"\bhow (?:many|much|long|often|old|far|big|tall)\b|\bwhat (?:number|age|percentage|price|amount)\b", re.I)
_SEVERAL = re.compile(
    r"\b(?:all|both|each|every|list|how many|how often|how much|since|wh(?:ich|at) (?!(?:is|was|does|has|this|his|its)\b)\w+s|activities|and"
    r"|in common|different|various|total|compare|summari[sz]e|discuss|overall|ever)\b",
    re.I,
)
_FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself|we|our|us)\b", re.I)
_SAID_BEFORE = re.compile(
    r"\b(?:you|we)(?:['’](?:d|ve))? (?:\w+ ){0,2}?(?:told|said|mentioned|suggested|recommended|gave|given|provided|listed|wrote|explained"
    r"|described|discussed|talked|spoke|came up|decided|created|made|chose|picked|shared|advised|answered|named|showed)\b"
    r"|\bdid (?:you|we) (?:\w+ ){0,2}?(?:tell|say|mention|suggest|recommend|give|provide|list|write|explain|describe|discuss|talk|speak"
    r"|come up|decide|create|make|choose|pick|share|advise|answer|name|show)\b"
    r"|\b(?:previous|earlier|last|past) (?:conversation|chat|discussion|session|answer|reply|message)s?\b|\bremind me\b"
    r"|\bour (?:conversation|chat|discussion)\b",
    re.I,
)
"""A question about what was said to the user before, which may well be the assistant's words; "can you suggest" is none."""

USERS = frozenset({"user", "human", "me"})
ASSISTANTS = frozenset({"assistant", "ai", "bot", "model", "chatgpt", "claude", "gpt", "gemini", "agent"})
_ROLES = USERS | ASSISTANTS | {"system", "tool", "function", "unknown", "anonymous"}
_AT_REST = 31 * DAY
"""Microseconds without a new event after which a space counts as a record of the past, see `analyse`."""
_SPACES = 8
"""Characters before a word that are looked at for the end of a sentence."""
_NAMED = 0.5
"""Share of an author's name, each word weighted by how few authors bear it, from which a question is taken to name the author."""


@dataclass(frozen=True)
class Question:
    """A question, analysed."""

    text: str
    terms: Query
    """Terms to look up: without the names of authors, which are matched with who speaks, unless nothing else would be left."""
    about: Query
    """Those of the terms that are names, authors' aside: written with a capital inside a sentence. Empty where the text uses none."""
    voiced: str
    """The question with each author's name in the author's own voice, `I` or `my`: what to embed. People do not call themselves by name:
    a turn's vector lies far nearer to "What did I paint?" than to "What did Melanie paint?"."""
    named: NDArray[np.float32]
    """(authors + 1,) 0..1, how much of each author's name the question gives, at least a half, else 0; the last is for rows without author."""
    users: NDArray[np.float32]
    """(authors + 1,) 1 where a question in the first person is not about what was said to the user: it rests on the user's own words."""
    assistants: NDArray[np.float32]
    """(authors + 1,) 1 where the question is about what the assistant said before."""
    intervals: NDArray[np.int64]
    """(i, 2) start and end, microseconds since 1970 in UTC, of the times that the question names."""
    asks_when: bool
    asks_amount: bool
    asks_several: bool
    """Several pieces of evidence are to be expected (lists, counts, comparisons, summaries)."""


class _Names:
    """Authors' names, by their words."""

    def __init__(self, authors: tuple[str, ...]) -> None:
        self.codes: dict[str, list[int]] = {}
        self.words = [_words_of_name(name) for name in authors]
        for code, parts in enumerate(self.words):
            for part in parts:
                self.codes.setdefault(part, []).append(code)
        self.whole = [sum(1 / len(self.codes[part]) for part in parts) for parts in self.words]
        roles = [fold(name.strip()) for name in authors]
        self.users = np.array([role in USERS for role in roles] + [False])
        self.assistants = np.array([role in ASSISTANTS for role in roles] + [False])

    def share(self, code: int, parts: set[str]) -> float:
        return sum(1 / len(self.codes[part]) for part in parts) / self.whole[code]


def _words_of_name(name: str) -> frozenset[str]:
    folded = fold(name)
    return frozenset() if folded.strip() in _ROLES else frozenset(_WORD.findall(folded))


@lru_cache(maxsize=64)
def _names(authors: tuple[str, ...]) -> _Names:
    return _Names(authors)


def analyse(text: str, authors: Sequence[str] = (), now: int | None = None, span: tuple[int, int] | None = None) -> Question:
    """Analyse `text`, asked in a space whose authors are `authors` (in the order of their codes), at `now` (microseconds since 1970).

    `span` is the first and last event of what may be found. Where the last lies more than a month before `now`, and no time that the
    question names touches the span, "last week" is reckoned from the last event: who asks of an old conversation speaks of its time.
    Without `now`, such expressions name no interval. Takes any text.
    """
    names = _names(tuple(authors))
    named, spans = _find_names(text, names)
    voiced = _voice(text, spans)
    terms = query_terms(text)
    if spans:
        dropped = {term(fold(match.group())) for start, end in spans for match in _WORD.finditer(text, start, end)}
        keep = [i for i, h in enumerate(terms.hashes.tolist()) if h not in dropped]
        if keep:
            terms = Query(terms.hashes[keep], tuple(terms.words[i] for i in keep))
    own, told = bool(_FIRST_PERSON.search(text)), bool(_SAID_BEFORE.search(text))
    times = _times(text, now)
    if now is not None and span is not None and now - span[1] > _AT_REST and not any(s <= span[1] and e > span[0] for s, e in times):
        times = _times(text, span[1])
    return Question(
        text,
        terms,
        _about(text, terms),
        voiced,
        named,
        names.users.astype(np.float32) * (own and not told),
        names.assistants.astype(np.float32) * told,
        np.array(times, dtype=np.int64).reshape(-1, 2),
        bool(_WHEN.search(text)),
        bool(_AMOUNT.search(text)),
        bool(_SEVERAL.search(text)),
    )


def _times(text: str, now: int | None) -> list[tuple[int, int]]:
    return [(time.start, time.end) for time in find_times(text, now) if time.start is not None and time.end is not None]


def _about(text: str, terms: Query) -> Query:
    """The terms that are written like names; a first word with its capital tells nothing."""
    words = set()
    for match in _WORD.finditer(text):
        before = text[max(match.start() - _SPACES, 0) : match.start()].rstrip(" \t")
        if match.group()[0].isupper() and before and before[-1] not in ".!?\n":
            words.add(term(fold(match.group())))
    keep = [at for at, h in enumerate(terms.hashes.tolist()) if h in words]
    return Query(terms.hashes[keep], tuple(terms.words[at] for at in keep))


def _find_names(text: str, names: _Names) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """How much of each author's name the question gives, and where. In a question that uses capitals, names must have them."""
    named = np.zeros(len(names.words) + 1, dtype=np.float32)
    if not names.codes:
        return named, []
    found = list(_WORD.finditer(text))
    words = [fold(match.group()) for match in found]
    cased = any(character.isupper() for character in text)
    usable = [not cased or not match.group()[0].islower() for match in found]
    spans: list[tuple[int, int]] = []
    for at, word in enumerate(words):
        if not usable[at]:
            continue
        for code in names.codes.get(word, ()):
            parts = names.words[code]
            if at and usable[at - 1] and words[at - 1] in parts:
                continue  # inside a run that was looked at from its first word
            end = at
            while end < len(words) and usable[end] and words[end] in parts:
                end += 1
            share = names.share(code, set(words[at:end]))
            if share >= _NAMED:
                named[code] = max(named[code], share)
                spans.append((found[at].start(), found[end - 1].end()))
    return named, _merged(text, spans)


def _merged(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping spans, and those with only white space between, as one."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(set(spans)):
        if out and (start <= out[-1][1] or not text[out[-1][1] : start].strip()):
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _voice(text: str, spans: list[tuple[int, int]]) -> str:
    parts, done = [], 0
    for start, end in spans:
        owner = _POSSESSIVE.match(text, end)
        parts += [text[done:start], "my" if owner else "I"]
        done = owner.end() if owner else end
    return "".join([*parts, text[done:]])
