"""Generated histories in which another grain wins for each kind of question, and in which sessions stand by others. Words are made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "mi", "no", "pe", "ra", "so", "tu", "va", "wo", "xi", "yu", "ze", "cho", "shi", "gle")


@dataclass(frozen=True)
class Asked:
    """A question, the sessions that it rests on (as thread words), and its kind."""

    text: str
    sessions: frozenset[str]
    kind: str


@dataclass(frozen=True)
class World:
    records: list[dict[str, Any]]
    asked: list[Asked]


def _vocabulary(rng: np.random.Generator, size: int) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < size:
        words["".join(rng.choice(_SYLLABLES, 4))] = None
    return list(words)


def _turn(rng: np.random.Generator, *parts: Sequence[str]) -> str:
    words = [word for part in parts for word in part]
    rng.shuffle(words)
    return " ".join(words).capitalize() + "."


def _session(number: int, texts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"text": text, "type": "turn", "source": f"s{number}:{at}", "metadata": {"session": number}} for at, text in enumerate(texts)]


def _two(words: Sequence[str], at: int) -> Sequence[str]:
    """Two of eight words, others at each of four places."""
    return words[2 * (at % 4) : 2 * (at % 4) + 2]


def thread(number: int) -> str:
    """The word of the thread that a session's turns stand in."""
    return f"session {number}"


def adaptive_world(rng: np.random.Generator, *, sessions: int, each: int, turns: int = 20) -> World:
    """Sessions of twenty turns. A detail is said in one turn, a theme in words spread thin over all turns, a key phrase again and again.

    All draw on the same small talk; the words of details and themes stand in other sessions, too, one by one, so that only the right grain sees
    them together.
    """
    talk, details, themes, keys = (_vocabulary(rng, size) for size in (400, 600, 600, 3 * sessions))
    records: list[dict[str, Any]] = []
    asked: list[Asked] = []
    told: dict[str, list[list[str]]] = {"detail": [], "theme": [], "key": []}
    for number in range(sessions):
        detail, theme = list(rng.choice(details, 6, replace=False)), list(rng.choice(themes, 16, replace=False))
        key = keys[3 * number : 3 * number + 3]
        place = int(rng.integers(turns))
        texts = []
        for at in range(turns):
            parts = [list(rng.choice(talk, 5)), [theme[at % 16]], [str(rng.choice(details)), str(rng.choice(themes))]]
            if at == place:
                parts.append(detail)
            if at % 3 == 0:
                parts.append(key)
            texts.append(_turn(rng, *parts))
        records += _session(number, texts)
        told["detail"].append(detail)
        told["theme"].append(theme)
        told["key"].append(key)
    for kind, words in told.items():
        for number in rng.choice(sessions, each, replace=False).tolist():
            asked.append(Asked(" ".join(words[number]), frozenset([thread(number)]), kind))
    return World(records, asked)


def linked_world(rng: np.random.Generator, *, pairs: int, turns: int = 6) -> World:
    """Pairs of sessions: the question shares words with the first, and the second shares others with the first only. Single ones stand among them."""
    talk, shared, own = (_vocabulary(rng, size) for size in (300, 8 * pairs, 24 * pairs))
    records: list[dict[str, Any]] = []
    asked: list[Asked] = []
    number = 0
    plan = [int(kind) for kind in rng.permutation(np.repeat([0, 1], pairs))]
    for at, kind in enumerate(plan):
        mine = own[8 * at : 8 * at + 8]
        link = shared[8 * (sum(plan[:at])) : 8 * (sum(plan[:at])) + 8] if kind else []
        texts = [_turn(rng, rng.choice(talk, 5).tolist(), _two(mine, t), _two(link, t)) for t in range(turns)]
        records += _session(number, texts)
        wanted = [thread(number)]
        number += 1
        if kind:
            texts = [_turn(rng, rng.choice(talk, 5).tolist(), _two(link, t), [link[(t + 3) % 8]]) for t in range(turns)]
            records += _session(number, texts)
            wanted.append(thread(number))
            number += 1
        asked.append(Asked(" ".join(mine), frozenset(wanted), "two sessions" if kind else "one session"))
    return World(records, asked)
