"""Forget and merge, without a language model: which of some thoughts end others, and which are said in one sentence.

Source: Think-in-Memory, arXiv 2311.08719, section 3.3, with two-sided evidence: a thought ends only by another one that is at hand, that gives the
same relation another value, and that is trusted at least as much. What somebody said of herself is not ended by what the assistant concluded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.terms import fold
from mnemos.text.agreement import Memory, ReadMemory, Relation, compare_read, read_memory
from mnemos.text.agreement.predicates import Standing
from mnemos.text.agreement.statements import read_statements
from mnemos.text.agreement.words import DISLIKES, FORMS, LIKES
from mnemos.text.thoughts.quantities import steps
from mnemos.text.thoughts.thought import MOST_WORDS, State, Thought

LEAST_SURE = 0.7
"""Confidence from which a conflict ends a thought."""
LEAST_SURE_OF_INFERENCE = 0.55
"""The same, of what the assistant concluded, where a person says otherwise."""
OUTDATED = 0.6
"""Share of a thought that has to be over."""
SAME = 0.85
"""Confidence from which two say the same."""
MOST_ITEMS = 5
"""Things that one sentence names when several are merged."""
_SETS = LIKES | DISLIKES | {"speak", "play", "collect"}
_OBJECTS = re.compile(r"^\s*(?:no\b|nope|actually|correction|that['’]s (?:not|wrong)|that is (?:not|wrong)|sorry|i meant|wrong)", re.I)
"""How somebody begins who takes back what was said."""
_POINTING = re.compile(r"\b(?:this|that|these|those|it|them|there|here|one|ones|too|also)\b", re.I)
"""What is only clear beside what was said before."""
_ITEM = re.compile(r",\s*(?:and\s+)?|\s+and\s+")


class End(NamedTuple):
    """How a thought ends, and the place of the one that ends it."""

    state: State
    by: int


@dataclass
class Settled:
    """What is to become of some thoughts."""

    ends: dict[int, End] = field(default_factory=dict)
    made: list[Thought] = field(default_factory=list)
    """Thoughts that merge others; their places come after those of the thoughts that were given."""


class Reading:
    """Texts taken apart, each once; made for one consolidation, so that nothing of what is forgotten stays in it."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str | None, int | None], ReadMemory] = {}

    def changes(self, thought: Thought) -> bool:
        """Whether a thought says, in so many words, that something has changed."""
        read = self.of(thought)
        return any(one.cue for one in read.statements) or (read.frame is not None and bool(read.frame.cue or read.frame.ended))

    def of(self, thought: Thought, vector: NDArray[np.float32] | None = None) -> ReadMemory:
        text, author = thought.compared
        key = text, author, thought.event_at
        if key not in self._read:
            self._read[key] = read_memory(Memory(text, author, event_at=thought.event_at))
        read = self._read[key]
        return replace(read, memory=replace(read.memory, written=thought.order, vector=vector))


def settle(
    thoughts: Sequence[Thought], pairs: Iterable[tuple[int, int]], reading: Reading, vectors: Mapping[int, NDArray[np.float32]] | None = None
) -> Settled:
    """Look at `pairs` of places, the earlier of which may end by the later. Those that have ended already stay as they are."""
    out, lent = Settled(), vectors or {}
    ordered = sorted({(min(pair, key=lambda at: _key(thoughts, at)), max(pair, key=lambda at: _key(thoughts, at))) for pair in pairs})
    for one, other in sorted(ordered, key=lambda pair: (_key(thoughts, pair[0]), _key(thoughts, pair[1]))):
        if one == other or any(at in out.ends or thoughts[at].state is not State.ACTIVE for at in (one, other)):
            continue
        found = _ending(thoughts[one], thoughts[other], reading, lent.get(one), lent.get(other))
        if found is not None:
            ends, state = found
            at, by = (one, other) if ends == 0 else (other, one)
            out.ends[at] = End(state, by)
    _merge_lists(thoughts, ordered, out)
    return out


def _key(thoughts: Sequence[Thought], at: int) -> tuple[tuple[int, int, int], int]:
    return thoughts[at].moment, at


def _ending(
    earlier: Thought, later: Thought, reading: Reading, first: NDArray[np.float32] | None, second: NDArray[np.float32] | None
) -> tuple[int, State] | None:
    """Which of the two ends (0 the earlier, 1 the later), and how; None where both hold."""
    entries = earlier.count is not None and earlier.count == later.count and not earlier.derived and not later.derived
    if entries and not _OBJECTS.match(later.quote) and not (_stands(earlier) and _stands(later)):
        return None  # two entries of one tally: both count
    agreement = compare_read(reading.of(earlier, first), reading.of(later, second))
    if agreement.relation is Relation.DUPLICATE and agreement.confidence >= SAME and earlier.head == later.head:
        return (0, State.MERGED) if _preferred(later, earlier, agreement.fuller == 1) else (1, State.MERGED)
    if agreement.relation not in (Relation.UPDATE, Relation.CONTRADICTION):
        return None
    parted = earlier.merges > 0  # what it was merged from is looked at by itself, then
    corrected = earlier.trust == 0 and later.trust > 0
    if agreement.confidence < (LEAST_SURE_OF_INFERENCE if corrected else LEAST_SURE) or (agreement.outdated < OUTDATED and not parted):
        return None
    denied = any(str(values[1]).startswith("not") for one in agreement.reason.get("differ", ()) if (values := one["values"]))
    if denied and not parted and (listed := listing(earlier)) is not None and len(listed[1]) > 1:
        return None  # one of several things is denied: the others still hold
    herself = later.trust > 0 and not later.derived and later.author is not None and later.author == earlier.author
    if later.trust >= earlier.trust or herself:
        return 0, State.FORGOTTEN if denied else State.SUPERSEDED
    return (1, State.FORGOTTEN) if earlier.derived and later.trust == 0 else None


def _stands(entry: Thought) -> bool:
    """Whether an entry of a tally says no more than how many there are."""
    told = steps(entry.quote)
    return bool(told) and all(step.sets for step in told)


def _preferred(later: Thought, earlier: Thought, fuller: bool) -> bool:
    """Whether, of two that say the same, the later one stays."""
    if later.trust != earlier.trust:
        return later.trust > earlier.trust
    return fuller and earlier.id is None


# ---- sets -----------------------------------------------------------------------------------------------------------


def _merge_lists(thoughts: Sequence[Thought], pairs: Sequence[tuple[int, int]], out: Settled) -> None:
    """Join thoughts that give one set-valued relation of one subject further values."""
    listed: dict[int, tuple[str, tuple[str, ...]]] = {}
    groups: dict[tuple[str, str | None, str], set[int]] = {}
    for at in sorted({at for pair in pairs for at in pair}):
        thought = thoughts[at]
        if at in out.ends or thought.state is not State.ACTIVE or thought.derived or thought.count is not None:
            continue
        found = listing(thought)
        if found is not None:
            listed[at] = found
            groups.setdefault((thought.head, thought.author, found[0].casefold()), set()).add(at)
    for members in groups.values():
        ordered = sorted(members, key=lambda at: _key(thoughts, at))
        while len(ordered) > 1:
            taken, items = [ordered[0]], list(listed[ordered[0]][1])
            for at in ordered[1:]:
                more = [item for item in listed[at][1] if item.casefold() not in {known.casefold() for known in items}]
                if len(items) + len(more) <= MOST_ITEMS:
                    items += more
                    taken.append(at)
            ordered = [at for at in ordered if at not in taken]
            if len(taken) > 1:
                _join(thoughts, taken, listed[taken[0]][0], items, out)


def _join(thoughts: Sequence[Thought], taken: Sequence[int], prefix: str, items: Sequence[str], out: Settled) -> None:
    sentence = f"{prefix}{', '.join(items[:-1])} and {items[-1]}." if len(items) > 1 else f"{prefix}{items[0]}."
    if len(sentence.split()) > MOST_WORDS:
        return
    parts = [thoughts[at] for at in taken]
    first = parts[0]
    events = [part.event_at for part in parts if part.event_at is not None]
    place = len(thoughts) + len(out.made)
    out.made.append(replace(
        first, tail=", ".join(item.casefold() for item in items), sentence=sentence, quote=sentence,
        confidence=min(part.confidence for part in parts), event_at=max(events, default=None), merges=len(parts), id=None, by="rules",
        sources=tuple(dict.fromkeys(source for part in parts for source in part.sources)),
    ))  # fmt: skip
    for at in taken:
        out.ends[at] = End(State.MERGED, place)


def listing(thought: Thought) -> tuple[str, tuple[str, ...]] | None:
    """(how its sentence begins, the things that it lists) of a sentence that does nothing but give a set-valued relation its values."""
    if thought.valid_from is not None or thought.valid_to is not None or not thought.sentence.endswith("."):
        return None
    said = read_statements(thought.sentence, None)
    slots = {one.slot for one in said}
    if len(slots) != 1 or not slots <= _SETS or any(one.single or one.standing is not Standing.STATE or one.cue for one in said):
        return None
    if any(one.value.numbers or one.value.times or one.occasion for one in said) or len({one.positive for one in said}) != 1:
        return None
    text = thought.sentence.rstrip(".")
    starts = [text.find(one.value.shown) for one in said]
    if min(starts) <= 0:
        return None
    prefix, rest = text[: min(starts)], text[min(starts) :]
    items = tuple(item.strip() for item in _ITEM.split(rest))
    if not fold(prefix).startswith(thought.head) or prefix.split(" ")[0].lower() in FORMS or any(_POINTING.search(item) for item in items):
        return None
    if len(items) != len(said) or not prefix.endswith(" ") or len(prefix.split()) < 2 or any(not item or len(item.split()) > 5 for item in items):
        return None
    return prefix, items
