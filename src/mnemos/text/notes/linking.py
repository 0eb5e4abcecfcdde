"""Which earlier memories a new one is linked with, how, and how strongly; without a model.

Source: A-MEM, arXiv 2502.12110, section 3.2: candidates are the nearest notes, and likeness alone is no reason to link. Here whatever shares a rare
name is a candidate, too, however unlike it is: that is what a question over two memories needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mnemos.base.cube import Content
from mnemos.index.terms import fold
from mnemos.index.vectors import Mask
from mnemos.text.agreement import Relation, compare, memory_of
from mnemos.text.bridging import Mentions
from mnemos.text.entities import key_of
from mnemos.text.notes.parameters import Parameters
from mnemos.text.strategy import View

_CAUSE = re.compile(r"\b(?:because|since|therefore|thus|as a result|that(?:'s| is) why|due to|thanks to|led to|caused?|so that)\b")
_CONTRAST = re.compile(r"\b(?:but|however|although|though|instead|unlike|whereas|on the other hand|in contrast|rather than|no longer)\b")
_SEQUENCE = re.compile(r"\b(?:then|after(?:wards| that)?|later|next|finally|meanwhile|subsequently|eventually)\b")
_SURE = 0.9
"""What a name counts for that stands in two memories only, one of which is about it."""
_FAINT = 0.01
"""What is no link any more."""
_ALIKE = 0.6
"""Cosine from which on two memories may tell of one attribute, and are compared by their statements."""
_SHORT = 500
"""Characters up to which a text is compared by its statements: passages hold too many of them to be told apart by one."""
_MENTIONED = 0.4
"""What a shared name counts for where neither memory is about it."""
@dataclass(slots=True)
class Candidate:
    """An earlier memory that a new one may be linked with."""

    row: int
    cosine: float = 0.0
    """Of the two notes."""
    names: dict[str, float] = field(default_factory=dict)
    """Names that both hold, and how much each counts, 0..1: the rarer, the more."""

    def weight(self, parameters: Parameters) -> float:
        """How likely both belong together, 0..1: reasons add up as if they were independent."""
        alike = max(0.0, (self.cosine - parameters.nearest) / (1 - parameters.nearest)) ** 2
        apart = 1 - alike
        for share in self.names.values():
            apart *= 1 - share
        return 1 - apart


def by_names(view: View, mentions: Mentions, row: int, author: str | None, parameters: Parameters) -> dict[int, Candidate]:
    """The allowed rows before `row` that share a rare name with it, as candidates. The speaker's own name is none."""
    out: dict[int, Candidate] = {}
    speaker = key_of(author) if author else None
    for name in dict.fromkeys(mentions.named_by(row).tolist()):
        word = mentions.word(name)
        if word == speaker:
            continue
        rows, about = mentions.naming(name)
        seen = view.allowed[rows]
        count = int(np.count_nonzero(seen))
        if not 2 <= count <= parameters.commonest:
            continue
        mine = bool(about[rows == row].any())
        rarity = _SURE / (count - 1)
        earlier = seen & (rows < row)
        for other, theirs in zip(rows[earlier].tolist(), about[earlier].tolist(), strict=True):
            share = rarity if mine or theirs else rarity * _MENTIONED
            out.setdefault(other, Candidate(other)).names[word] = share
    return out


def best(found: Mapping[int, Candidate], parameters: Parameters) -> list[tuple[Candidate, float]]:
    """(candidate, weight) of the candidates that are linked, the strongest first; of equally strong ones the later memory."""
    weighed = [(one, one.weight(parameters)) for one in found.values()]
    chosen = [(one, weight) for one, weight in weighed if weight >= _FAINT]
    return sorted(chosen, key=lambda pair: (-pair[1], -pair[0].row))[: parameters.links]


def kind_of(new: Content, old: Content, candidate: Candidate, beside: bool, nearest: bool) -> str:
    """How a new memory stands to an earlier one, by cues; `beside`: the earlier one stands right before it; `nearest`: it is the most like it, and so
    the one that it may bring up to date."""
    told, before = new.text or "", old.text or ""
    comparable = nearest and candidate.cosine >= _ALIKE and max(len(told), len(before)) <= _SHORT
    if comparable and compare(memory_of(new, 1), memory_of(old)).relation in (Relation.UPDATE, Relation.CONTRADICTION):
        return "update"
    low = fold(told)
    for kind, cue in (("cause", _CAUSE), ("contrast", _CONTRAST)):
        if cue.search(low):
            return kind
    if beside or _SEQUENCE.search(low):
        return "sequence"
    return "detail" if candidate.names else "subject"


def reason_of(candidate: Candidate) -> str:
    """Why, in words that the new memory itself holds: what both name. A model's own reason might quote the earlier memory, and would have to be
    forgotten with it."""
    names = sorted(candidate.names, key=lambda name: -candidate.names[name])[:3]
    return f"shares {', '.join(names)}" if names else "alike"


def in_thread(view: View, row: int, other: int) -> bool:
    """Whether a row stands right before another in its thread."""
    thread = view.index.thread.view()
    between: Mask = thread[other + 1 : row] == thread[row]
    return bool(thread[row] >= 0 and thread[other] == thread[row] and not between.any())
