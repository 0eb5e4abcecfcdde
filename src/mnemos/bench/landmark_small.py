"""The parts of `mnemos bench landmark` on models that learnt from nothing on rows of 256 tokens (`mnemos.activation.landmark.small`).

Notes among noise, in up to 64 times as many tokens; and characters of a book of which nothing was learnt, passages of which come again, in four times
as many. Beside each model the one without landmarks that learnt the same in as many steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mnemos.activation.landmark import lessons, small, tokens
from mnemos.activation.landmark.picking import EACH, HEAD, TOKEN
from mnemos.activation.landmark.segments import segmentwise
from mnemos.base.stats import bootstrap_difference, wilson
from mnemos.bench.datasets import data_folder
from mnemos.bench.landmark import ATTENDED, BEYOND, BY_CHANCE, FALLS, FOUND, TOP, Lookups, answered, at_true_positions, by_landmarks, plainly, segment
from mnemos.bench.parts import Measured, Part
from mnemos.bench.registry import Options
from mnemos.bench.result import Check

LENGTHS = {256: 0.95, 1024: 0.95, 4096: 0.95, 16384: 0.90}
"""Tokens of sessions, landmarks included, and the share of questions that is to be answered in them."""
SESSIONS = {256: 25, 1024: 25, 4096: 25, 16384: 8}
FEWER = 3
"""What else is asked than by landmarks with few notes is asked in one of so many of the sessions."""
NOTES = 8
"""Notes of a session, all of which are asked for: seven distract, and all else is noise, whatever the length."""
FAR = 16 * small.TRAINED
"""Tokens of sessions in which positions are compared."""
DOCUMENTS = 48
TIMES = 4
"""How much longer documents are than rows of training."""
MEMORIES = (64, 128, 256, 512)
"""Tokens that the recurrent model remembers, twice what blocks bring and more: the best of them is what landmarks are measured by."""
AS_WELL = 1.03
KINDS = {"characters, passages coming again": lessons.AGAIN, "characters of a book as it stands": 0.0}
"""Of documents: how often a passage is one that the document has had."""


def asked_for(length: int, seed: int, count: int, landmark: bool = True, notes: int = NOTES) -> list[Lookups]:
    """Sessions of so many tokens with landmarks, or of the same words without."""
    words = length // (small.BLOCK + 1) * small.BLOCK
    block = small.BLOCK if landmark else 2 * words
    made = []
    for number in range(count):
        one = lessons.notes(Random(f"bench {seed} {length} {number}"), words, notes, min(notes, NOTES))
        places = [[tokens.place_of(place, block)] for place in one.places]
        made.append(Lookups(tokens.insert(one.ids, block, lessons.NOTE_WORDS), places, [home // block for home in one.homes],
                            tokens.place_of(one.asked, block), lessons.NOTE_WORDS))  # fmt: skip
    return made


def _some(length: int) -> int:
    return max(1, SESSIONS[length] // FEWER)


def recall(options: Options) -> Measured:
    """Notes in up to 64 times the tokens that were learnt on, whose blocks are brought; found by means of keys; and among more notes the longer
    they are."""
    model = small.load("notes")
    rows: dict[str, dict[str, float]] = {}
    checks = []
    for length, bound in LENGTHS.items():
        options.say(f"{length} tokens")
        count, some = (1, 1) if options.quick else (SESSIONS[length], _some(length))
        sessions = asked_for(length, options.seed, count)
        read = by_landmarks(model, sessions, trained=small.TRAINED)
        means = by_landmarks(model, sessions[:some], means=True, trained=small.TRAINED)
        share, n = wilson(sum(read.right), len(read.right)), len(read.hits)
        checks.append(Check.of(f"from nothing: notes found in {length} tokens by {TOP} blocks", share, bound, baseline=means.share))
        row = {"answered": read.share, "by means": means.share}
        if n > 1:
            checks.append(Check(f"from nothing: blocks with the answer that landmarks find, {length} tokens", read.hit, FOUND, baseline=means.hit,
                                n=n // 2))  # fmt: skip
            row |= {"hit": read.hit, "hit by means": means.hit}
        if length > small.TRAINED and not options.quick:
            dense = asked_for(length, options.seed, some, notes=length // lessons.DENSITY)
            row["answered among more notes"] = by_landmarks(model, dense, trained=small.TRAINED).share
        rows[f"{length} tokens"] = {**row, "attended": float(read.attended), "share attended": read.attended / length}
    seen, longest = read.attended / max(LENGTHS), max(LENGTHS)
    checks.append(Check(f"from nothing: tokens that a query attends to at most, share of {longest}", seen, ATTENDED, at_least=False))
    return checks, {"Notes, learnt from nothing with landmarks": rows}


def recall_levels(options: Options) -> Measured:
    """What each level of selection answers in sessions of the second length."""
    model, length = small.load("notes"), list(LENGTHS)[1]
    sessions = asked_for(length, options.seed, _some(length))
    rows = {level: {"answered": float(np.mean([yes for one in sessions for yes in _said(model, one, level=level)]))} for level in (EACH, TOKEN, HEAD)}
    each, others = rows[EACH]["answered"], max(rows[TOKEN]["answered"], rows[HEAD]["answered"])
    check = Check(f"from nothing: notes found in {length} tokens where each head and token picks; bound: the best other level", each, others,
                  n=len(sessions) * NOTES)  # fmt: skip
    return [check], {f"Levels of selection, learnt from nothing, {length} tokens": rows}


def recall_without(options: Options) -> Measured:
    """The same notes, asked of the model without landmarks, with all in sight."""
    plain = small.load("notes-plain")
    rows: dict[str, dict[str, float]] = {}
    checks = []
    for length in LENGTHS:
        options.say(f"{length} tokens")
        whole = plainly(plain, asked_for(length, options.seed, _some(length) if length > 4096 else SESSIONS[length], landmark=False), None)
        rows[f"{length} tokens"] = {"all in sight": float(np.mean(whole))}
        if length > small.TRAINED:
            share = wilson(sum(whole), len(whole))
            checks.append(Check.of(f"from nothing: notes found in {length} tokens without landmarks", share, BEYOND, at_least=False))
    return checks, {"Notes, learnt from nothing without landmarks": rows}


def recall_window(options: Options) -> Measured:
    """The same notes, asked of the same weights with a window, where they lie beyond it."""
    model = small.load("notes")
    rows: dict[str, dict[str, float]] = {}
    checks = []
    for length in [length for length in LENGTHS if length > small.TRAINED]:
        options.say(f"{length} tokens")
        beyond = windowed(model, asked_for(length, options.seed, _some(length)))
        share = wilson(sum(beyond), len(beyond))
        rows[f"{length} tokens"] = {"answered": share.value}
        checks.append(Check.of(f"… by the same weights, beyond a window of the newest blocks, {length} tokens", share, BY_CHANCE, at_least=False))
    return checks, {"Notes, learnt from nothing, beyond a window": rows}


def windowed(model: Any, sequences: Sequence[Lookups]) -> list[bool]:
    """Read with nothing but the segment, the open block and the newest `TOP` blocks: which answers are said whose notes lie before all these."""
    right: list[bool] = []
    slots = segment(small.TRAINED) // (small.BLOCK + 1) + TOP + 1
    for one in sequences:
        found = _said(model, one, blocks=TOP)
        first = one.asked // (small.BLOCK + 1) - slots
        right += [yes for yes, home in zip(found, one.homes, strict=True) if home < first]
    return right


def _said(model: Any, one: Lookups, **options: Any) -> list[bool]:
    """Which answers are said, by options of `policy("landmark")`."""
    logits, _ = segmentwise(model, torch.tensor([one.ids]), top=TOP, trained=small.TRAINED, keep=len(one.ids) - one.asked + 1, **options)
    return answered(logits[0], one, one.asked - 1)


def recall_positions(options: Options) -> Measured:
    """Notes in 16 times the tokens that were learnt on, blocks brought to stingy positions and attended to at true ones."""
    model = small.load("notes")
    sessions = asked_for(FAR, options.seed, 1 if options.quick else 4)
    stingy, true = by_landmarks(model, sessions, trained=small.TRAINED).share, float(np.mean(at_true_positions(model, sessions, small.TRAINED)))
    return [Check(f"from nothing: points lost without stingy positions, {FAR} tokens", stingy - true, FALLS, n=len(sessions) * NOTES)], {
        "Positions, learnt from nothing": {"answered": {"stingy": stingy, "true": true}}
    }


def characters(options: Options) -> Measured:
    """Perplexity of characters read in four times as many as were learnt on: by landmarks, beside the same text read in pieces as long as those
    learnt on, each from nothing, as the paper's table compares lengths (section 4.1), and by recurrence with memories of several sizes. Of documents
    in which passages come again, and of a book as it stands."""
    model, recurrent = small.load("text"), small.load("text-recurrent")
    texts = [lessons.Texts(data_folder() / "text").held_out]
    count, length = 4 if options.quick else DOCUMENTS, TIMES * small.WORDS
    rows: dict[str, dict[str, float]] = {}
    checks = []
    for kind, again in KINDS.items():
        options.say(kind)
        ids = lessons.documents(Random(f"bench {options.seed} {kind}"), texts, length, count, again)
        whole, pieces = _by_landmarks(model, ids), _by_landmarks(model, ids.view(-1, small.WORDS)).view(count, TIMES, -1)
        remembered = {memory: _recurrently(recurrent, ids, memory).mean(1) for memory in MEMORIES}
        best = min(remembered.values(), key=lambda its: float(its.mean()))
        same = torch.nn.functional.pad(whole, (1, 0)).view(count, TIMES, -1)[:, :, 1:]  # a piece says nothing of its first character
        own = lessons.documents(Random(f"bench {options.seed} {kind} own"), texts, small.WORDS, TIMES * count, again)
        checks.append(_ratio(f"{kind}: perplexity in {length} ÷ that of recurrence with the best memory", whole.mean(1), best, AS_WELL, options))
        checks.append(_ratio(f"{kind}: perplexity in {length} ÷ the same text read {small.WORDS} at a time", same.mean((1, 2)), pieces.mean((1, 2)),
                             1.0, options))  # fmt: skip
        rows[kind] = {
            f"landmarks, {TOP} blocks": _perplexity(whole),
            f"… {small.WORDS} at a time": _perplexity(pieces),
            f"… other documents of {small.WORDS}": _perplexity(_by_landmarks(model, own)),
            **{f"recurrence, memory of {memory}": _perplexity(its) for memory, its in remembered.items()},
        }
    return checks, {f"Perplexity of a character in {length}": rows}


def _ratio(metric: str, ours: Tensor, theirs: Tensor, bound: float, options: Options) -> Check:
    """Of perplexities, from mean losses [documents]."""
    more = bootstrap_difference(ours.double().numpy(), theirs.double().numpy(), range(len(ours)), options.rng())
    return Check(metric, math.exp(more.value), bound, at_least=False, interval=(math.exp(more.low), math.exp(more.high)), n=len(ours))


def _perplexity(losses: Tensor) -> float:
    return math.exp(float(losses.mean()))


def _by_landmarks(model: Any, ids: Tensor) -> Tensor:
    """Losses [documents, n - 1] of characters [documents, n] but the first, read by `TOP` blocks."""
    (marked,) = tokens.in_training(ids, small.BLOCK, len(lessons.CHARACTERS))
    return _losses(segmentwise(model, marked, top=TOP, trained=small.TRAINED)[0], marked)


def _recurrently(model: Any, ids: Tensor, memory: int) -> Tensor:
    """The same by recurrence."""
    model.memory = memory
    logits = []
    with torch.no_grad():
        for start in range(0, ids.shape[1], small.SEGMENT):
            piece = ids[:, start : start + small.SEGMENT]
            logits.append(model(piece, torch.arange(start, start + piece.shape[1]).expand_as(piece)).logits)
    return _losses(torch.cat(logits, 1), ids)


def _losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Losses [documents, characters - 1] of what follows the first token, landmarks not counted; each document has as many."""
    landmark = len(lessons.CHARACTERS)
    wanted = ids[:, 1:]
    each = cross_entropy(logits[:, :-1, :landmark].transpose(1, 2), wanted.clamp_max(landmark - 1), reduction="none")
    return each[wanted != landmark].view(len(ids), -1)


PARTS = (recall, recall_levels, recall_window, recall_without, recall_positions, characters)
QUICK = (recall, recall_positions, characters)


def parts(quick: bool) -> tuple[list[Part], list[str]]:
    """The parts whose models are there, and what is to be said of the others."""
    found: list[Part] = []
    notes = []
    for part in QUICK if quick else PARTS:
        missing = [name for name in _MODELS.get(part.__name__, ("notes",)) if name not in small.card()]
        if missing:
            notes.append(f"Not measured: {part.__name__}, for {', '.join(missing)} has not been trained.")
        else:
            found.append(part)
    return found, notes


_MODELS = {"recall_without": ("notes-plain",), "characters": ("text", "text-recurrent")}
