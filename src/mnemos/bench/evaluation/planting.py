"""Facts planted in one memory each, trained in, put into the prompt, stored, or said in an earlier session, and asked under every condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnemos.bench.evaluation.attribution import Evidence, Memory
from mnemos.bench.evaluation.tiny_reader import SLOTS, WIDTH, Read, TinyReader, unit_vectors
from mnemos.kernel.system import Mnemos

KINDS = (Memory.PARAMETRIC, Memory.CONTEXTUAL, Memory.EXTERNAL, Memory.EPISODIC)
VALUES = 120
_WORDINGS, _UNSEEN = 3, 1
"""Wordings that training uses, and further ones that only the questions use."""
_SESSION = 6
"""Facts of an earlier session."""


@dataclass(frozen=True)
class Fact:
    """One planted fact: its name, its value's number, and the memory that holds it."""

    name: str
    value: int
    home: Memory

    @property
    def text(self) -> str:
        return f"The code of {self.name} is v{self.value}."


class Planted:
    """`count` facts, a quarter in each memory, and the reader and store that hold them."""

    def __init__(self, memory: Mnemos, rng: np.random.Generator, count: int = 400, *, steps: int = 1200) -> None:
        self._memory, self._rng = memory, rng
        numbers = rng.permutation(count)
        self.facts = [Fact(f"item {_name(int(i))}", int(rng.integers(VALUES)), KINDS[place % 4]) for place, i in enumerate(numbers)]
        self._keys = {fact.name: key for fact, key in zip(self.facts, unit_vectors(rng, count), strict=True)}
        self._wordings = 0.3 * unit_vectors(rng, _WORDINGS + _UNSEEN)
        trained = self._of(Memory.PARAMETRIC)
        self.reader = TinyReader(VALUES, rng)
        self.losses = self.reader.train(
            np.array([self._keys[fact.name] for fact in trained]),
            np.array([fact.value for fact in trained]),
            self._wordings[:_WORDINGS],
            steps=steps,
        )
        self._space = memory.space("planted")
        self._space.add_many([{"text": fact.text, "source": fact.name} for fact in self._of(Memory.EXTERNAL)])
        replayed = self._of(Memory.EPISODIC)
        self._sessions = [replayed[i : i + _SESSION] for i in range(0, len(replayed), _SESSION)]
        self._made_up = [Fact(f"other {_name(i)}", int(rng.integers(VALUES)), Memory.NONE) for i in range(50)]
        self._keys |= {fact.name: key for fact, key in zip(self._made_up, unit_vectors(rng, 50), strict=True)}

    def _of(self, home: Memory) -> list[Fact]:
        return [fact for fact in self.facts if fact.home is home]

    def observe(self, fact: Fact) -> Evidence:
        """Ask for one fact closed book in every wording, with its prompt at every place, with live retrieval, and with sessions replayed."""
        closed = [self._ask(fact, [], wording).value == fact.value for wording in range(len(self._wordings))]
        in_context, confidence = [], []
        for place in (0, 2, 4, 6, SLOTS - 1):
            others = [self._made_up[i] for i in self._rng.choice(len(self._made_up), SLOTS, replace=False)]
            prompt = [*others[:place], *([fact] if fact.home is Memory.CONTEXTUAL else others[place : place + 1]), *others[place + 1 :]]
            read = self._ask(fact, prompt)
            in_context.append(read.value == fact.value)
            confidence.append(float(read.chances[fact.value]))
        by_name = {other.name: other for other in self.facts}
        hits = self._space.search(f"What is the code of {fact.name}?", k=SLOTS)
        retrieved = [by_name[hit.cube.source or ""] for hit in hits]
        live = self._ask(fact, retrieved)
        replay, used = self._replay(fact)
        return Evidence(
            closed_book=closed,
            in_context=in_context,
            confidence=confidence,
            retrieved=live.value == fact.value,
            cited=live.slot is not None and retrieved[live.slot] is fact,
            replayed=replay,
            replay_used=used,
        )

    def _replay(self, fact: Fact) -> tuple[bool, bool]:
        """Replay every earlier session, and believe the one from which the reader copied with most confidence: (right, copied from the fact)."""
        best = None
        for session in self._sessions:
            read = self._ask(fact, session)
            if read.slot is not None and (best is None or read.confidence > best[0].confidence):
                best = read, session[read.slot]
        return (best[0].value == fact.value, best[1] is fact) if best else (False, False)

    def _ask(self, fact: Fact, prompt: Sequence[Fact], wording: int = 0) -> Read:
        question = self._keys[fact.name] + self._wordings[wording]
        pieces = np.array([self._keys[piece.name] + self._wordings[1] for piece in prompt]).reshape(len(prompt), WIDTH)
        return self.reader.read(question, pieces, [piece.value for piece in prompt])


def _name(number: int) -> str:
    """A pronounceable name of three syllables for a number below 8,000."""
    syllables = [c + v for c in "bdklmnprst" for v in "ao"]
    return "".join(syllables[number // 20**power % 20] for power in (2, 1, 0))
