"""Cutting the middle out of a context that is too long, around its evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mnemos.base.errors import Invalid
from mnemos.bench.scbench.records import COMPACT, Record, Span, Turn, with_about
from mnemos.text.tokens import count_tokens

CUT = "\n[…]\n"
"""Stands where text was cut; a space in the compact rendering, whose language has no sign for it."""
LONGEST = 200
"""Characters of a word that is kept whole."""


def truncate_middle(record: Record, length: int, count: Callable[[str], int] = count_tokens) -> Record:
    """The record with a context of at most `length` tokens: what lies nearest the middle goes, and evidence stays.

    Where the evidence alone is longer, or the question is about the whole context, evidence is cut too, and `about["evidence_cut"]` names the
    turns whose answer may no longer follow. `about["middle_truncated"]` tells that anything was cut. Raises `Invalid` for a length below 1.
    """
    if length < 1:
        raise Invalid(f"middle truncation: a length of {length} tokens leaves nothing; give 1 or more")
    context = record.context
    if count(context) <= length:
        return record
    evidence = _merged([span for turn in record.turns for span in turn.evidence])
    whole = [(0, len(context))]
    mark = " " if record.rendering == COMPACT else CUT
    kept = _fitting(context, evidence, length, count, mark) or _fitting(context, [], length, count, mark) or [(0, 0)]
    cut_turns = [i for i, turn in enumerate(record.turns) if any(_moved(span, kept, mark) is None for span in turn.evidence)]
    text, turns = _assembled(context, kept, record.turns, mark)
    more: dict[str, Any] = {"middle_truncated": kept != whole}
    if cut_turns:
        more["evidence_cut"] = cut_turns
    return with_about(replace(record, context=text, turns=turns), **more)


def _fitting(context: str, evidence: Sequence[Span], length: int, count: Callable[[str], int], mark: str) -> list[Span] | None:
    """The pieces that stay when as little as possible is cut, by bisection on half the width of the cut; None where evidence alone is too long."""
    middle = len(context) // 2
    low, high = 0, middle + 1
    if not _fits(context, _without(context, evidence, middle - high, middle + high), length, count, mark):
        return None
    while high - low > 1:
        width = (low + high) // 2
        if _fits(context, _without(context, evidence, middle - width, middle + width), length, count, mark):
            high = width
        else:
            low = width
    return _without(context, evidence, middle - high, middle + high)


def _fits(context: str, kept: Sequence[Span], length: int, count: Callable[[str], int], mark: str) -> bool:
    return count(mark.join(context[start:end] for start, end in kept)) <= length


def _without(context: str, evidence: Sequence[Span], start: int, end: int) -> list[Span]:
    """What is left of the context without (start, end), words whole, and evidence inside kept whole."""
    size = len(context)
    start, end = _between_words(context, max(0, start), -1), _between_words(context, min(size, end), 1)
    pieces = [(0, start), *((max(a, start), min(b, end)) for a, b in evidence if a < end and b > start), (end, size)]
    return _merged([(a, b) for a, b in pieces if a < b])


def _between_words(context: str, at: int, step: int) -> int:
    """The nearest place from `at` on, in the direction of `step`, that lies between words; `at` where none is near, as in Chinese."""
    for place in range(at, at + step * LONGEST, step):
        if not 0 < place < len(context) or context[place - 1].isspace():
            return min(max(place, 0), len(context))
    return at


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, those that touch as one."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def _moved(span: Span, kept: Sequence[Span], mark: str) -> Span | None:
    """Where a span of the old context lies in the new one; None where it was cut."""
    at = 0
    for start, end in kept:
        if start <= span[0] and span[1] <= end:
            return at + span[0] - start, at + span[1] - start
        at += end - start + len(mark)
    return None


def _assembled(context: str, kept: Sequence[Span], turns: Sequence[Turn], mark: str) -> tuple[str, tuple[Turn, ...]]:
    text = mark.join(context[start:end] for start, end in kept)
    moved = []
    for turn in turns:
        places = [_moved(span, kept, mark) for span in turn.evidence]
        moved.append(replace(turn, evidence=tuple(place for place in places if place is not None)))
    return text, tuple(moved)
