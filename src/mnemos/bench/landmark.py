"""`mnemos bench landmark`: what landmarks teach (arXiv 2305.16300): small models from nothing on rows of 256 tokens, which `landmark_small` measures,
and the reference model on rows of 512 words, asked for what is in up to 32 times as many.

The same notes are asked of the model that it was taught from, which was trained on 2,048 words, with all of them in sight and with a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from mnemos.activation.landmark import reference as taught
from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.attending import blocks_of
from mnemos.activation.landmark.segments import segmentwise
from mnemos.activation.landmark.softmax import grouped_softmax, groups_of
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.threads import one_thread
from mnemos.models import reference
from mnemos.models.reference import language, tasks

TOP = 2
"""Blocks that a query brings back."""
LENGTHS = {1024: 0.95, 4096: 0.95, 16384: 0.90}
"""Words of the sessions, and the share of questions that is to be answered in them."""
WINDOW, BASE_LENGTH = 512, 2048
"""Words that the model without landmarks sees where it has a window, and those that it was trained on."""
BEYOND, BY_CHANCE, ATTENDED, FOUND, FALLS = 0.50, 0.05, 0.05, 0.97, 0.20
SESSIONS = {1024: 8, 4096: 4, 16384: 2}
QUESTIONS, FAR = 8, 8192
"""Questions of a session; words of those in which positions are compared, 16 times what was trained on."""
NOTES = (
    "From nothing: notes of a key and a value, one of 64, 8 of them among noise and all asked for; `among more notes`: one for each 64 tokens.",
    "Else notes of two symbols with values of two, 2 to 8 of them among words of no meaning; right is an answer with all its words the likeliest.",
    "`hit`: of the layer whose heads bring the answer's block most often on half of the questions, their share on the other half; `by means`: of "
    "the same model, each block found by the mean of its keys.",
    "Attended: tokens of the blocks that a query brings, landmarks included, with the longest segment and an open block.",
    "The reference model learnt landmarks on 512 words, and was trained on 2,048 without; the small models are what the sheet asks for.",
)


@dataclass(frozen=True)
class Lookups:
    """A sequence with questions at its end: `ids` with landmarks; for each question the `places` of its answer's words in it, and in `homes` the
    number of the block in which the first of them stands in the context; `asked`: from where on there are questions; `landmark`: its id, behind all
    others."""

    ids: list[int]
    places: list[list[int]]
    homes: list[int]
    asked: int
    landmark: int = taught.LANDMARK


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts; a quick run few questions of them, with landmarks alone. Raises `ModelUnavailable`."""
    from mnemos.bench import landmark_small as small  # it measures by what stands here

    parts, missing = small.parts(options.quick)
    with one_thread():
        return in_parts(benchmark, options, [*parts, *([notes] if options.quick else [notes, without, positions])], [*NOTES, *missing])


def lookups(words: int, seed: int | str, count: int, block: int) -> list[Lookups]:
    """Sessions of notes, with the landmarks of a grid of that block, none where it is larger than the sessions."""
    found = []
    for number in range(count):
        session = tasks.make("needle", words, QUESTIONS, f"landmark {seed} {number}")
        ids, at, places, homes = language.encode(session.words()), len(session.context), [], []
        for turn in session.turns:
            start = at + len(turn.question)
            at = start + len(turn.answer)
            places.append([tokens.place_of(place, block) for place in range(start, at)])
            (begin, end), said = turn.evidence[0], turn.answer[:-1]
            homes.append(next(place for place in range(begin, end) if session.context[place : place + len(said)] == said) // block)
        found.append(Lookups(tokens.insert(ids, block, taught.LANDMARK), places, homes, tokens.place_of(len(session.context), block)))
    return found


@dataclass(frozen=True)
class Read:
    """Of some sequences: for each question whether all of its answer's words were the likeliest; of each question on a stored block and each layer,
    [questions, layers], whether a head brought that block when the answer's first word was due; tokens that a query attended to at most."""

    right: list[bool]
    hits: Tensor
    attended: int

    @property
    def share(self) -> float:
        return float(np.mean(self.right))

    @property
    def hit(self) -> float:
        """Of the layer that brings the right block most often on every second question, the share of the others."""
        layer = int(self.hits[::2].float().mean(0).argmax())
        return float(self.hits[1::2, layer].float().mean())


def answered(logits: Tensor, one: Lookups, start: int = 0) -> list[bool]:
    """Of logits [n, V] from token `start` on: which answers are said, whatever the landmark's logit is."""
    return [all(int(logits[place - 1 - start, : one.landmark].argmax()) == one.ids[place] for place in answer) for answer in one.places]


def segment(trained: int = taught.TRAINED) -> int:
    """Tokens of the longest segment of a model that was trained on so many."""
    made = policy("landmark", block=taught.BLOCK, top=TOP, trained=trained)
    return int(made.segment)  # type: ignore[attr-defined]


def by_landmarks(model: Any, sequences: Sequence[Lookups], means: bool = False, trained: int = taught.TRAINED) -> Read:
    """Segment by segment, `TOP` blocks for each head and token, at stingy positions; with `means`, blocks are found by the mean of their keys from
    the questions on."""
    right: list[bool] = []
    hits, most, stored = [], 0, 0
    for one in sequences:
        ids = torch.tensor([one.ids])
        _, memory = segmentwise(model, ids[:, : one.asked], top=TOP, trained=trained, keep=1)
        for layer in memory.managed:
            part = blocks_of(layer)
            assert part is not None
            if means:
                layer.parts = [part := part.by_means()]
            part.statistics.picks = []
            stored = int(part.cached[0])
        logits, memory = segmentwise(model, ids[:, one.asked :], top=TOP, memory=memory)
        right += answered(logits[0], one, one.asked)
        at = torch.tensor([answer[0] - 1 - one.asked for answer in one.places])
        homes = torch.tensor(one.homes)[:, None, None, None]
        found = []
        for layer in memory.managed:
            part = blocks_of(layer)
            assert part is not None
            assert part.statistics.picks is not None
            picks = torch.cat(part.statistics.picks, 3)[0][:, :, at].permute(2, 0, 1, 3)
            found.append((picks == homes).flatten(1).any(1))
            brought = int((picks >= 0).sum(-1).max())
            most = max(most, brought * (taught.BLOCK + 1))
        hits.append(torch.stack(found, 1)[torch.tensor(one.homes) < stored])  # what is still local is seen anyway
    return Read(right, torch.cat(hits), most + segment(trained) + taught.BLOCK + 1)


def plainly(model: Any, sequences: Sequence[Lookups], window: int | None) -> list[bool]:
    """All tokens at once, at their true positions, or with the newest `window` alone."""
    right: list[bool] = []
    for one in sequences:
        memory = KVMemory.of(model) if window is None else KVMemory.of(model, policy("window", tokens=window, sinks=0))
        ids, logits = torch.tensor([one.ids]), torch.zeros(0)
        step = len(one.ids) if window is None else 64
        with torch.no_grad():
            for start in range(0, len(one.ids), step):
                kept = len(one.ids) - one.asked if window is None else 0
                logits = torch.cat([logits, model(ids[:, start : start + step], cache=memory, logits_to_keep=kept).logits[0]])
                memory.settle()
        right += answered(logits, one, len(one.ids) - len(logits))
    return right


_TRUE = "landmark at true positions"


def _true_positions(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float,
                    segment_length: int | None = None, **_: Any) -> tuple[Tensor, None]:  # fmt: skip
    """What segment-wise reading attends to, every token at the position at which it stands: as many blocks brought back, the same local tokens."""
    width, step, outputs = taught.BLOCK + 1, segment_length or segment(), []
    key, value = (each.repeat_interleave(query.shape[1] // key.shape[1], 1)[0] for each in (key, value))
    for start in range(0, query.shape[2], step):
        stop = min(query.shape[2], start + step)
        asking, local = query[0, :, start:stop], torch.arange(stop - start)
        logits = torch.matmul(asking, key[:, start:stop].transpose(-1, -2)) * scaling
        groups, landmarks, mask = groups_of(local % width == taught.BLOCK, stop - start)
        values = value[:, start:stop]
        groups, landmarks, mask = (each.expand(logits.shape) for each in (groups, landmarks, mask))
        brought = min(TOP, start // width)
        if brought:
            gates = torch.matmul(asking, key[:, taught.BLOCK : start : width].transpose(-1, -2))
            spots = (gates.topk(brought, -1).indices.sort(-1).values.unsqueeze(-1) * width + torch.arange(width)).flatten(-2)
            theirs = key.gather(1, spots.flatten(1).unsqueeze(-1).expand(-1, -1, key.shape[-1])).unflatten(1, spots.shape[1:])
            logits = torch.cat([(theirs @ asking.unsqueeze(-1)).squeeze(-1) * scaling, logits], -1)
            its = (torch.arange(brought * width) // width + stop).expand(spots.shape)
            groups = torch.cat([its, groups], -1)
            landmarks = torch.cat([(torch.arange(brought * width) % width == taught.BLOCK).expand(spots.shape), landmarks], -1)
            mask = torch.cat([torch.ones_like(spots, dtype=torch.bool), mask], -1)
        weights = grouped_softmax(logits, groups, landmarks, mask)
        mixed = weights[..., brought * width :] @ values
        if brought:
            far = value.gather(1, spots.flatten(1).unsqueeze(-1).expand(-1, -1, value.shape[-1])).unflatten(1, spots.shape[1:])
            mixed = mixed + (weights[..., : brought * width].unsqueeze(-2) @ far).squeeze(-2)
        outputs.append(mixed)
    return torch.cat(outputs, 1).transpose(0, 1)[None].contiguous(), None


AttentionInterface.register(_TRUE, _true_positions)
AttentionMaskInterface.register(_TRUE, sdpa_mask)


def notes(options: Options) -> Measured:
    """Notes in up to 32 times the words that landmarks were learnt on, and whose blocks are brought."""
    model, _ = taught.load()
    rows: dict[str, dict[str, float]] = {}
    checks = []
    for words in list(LENGTHS)[:2] if options.quick else LENGTHS:
        options.say(f"{words} words")
        asked = lookups(words, options.seed, 1 if options.quick else SESSIONS[words], taught.BLOCK)
        read, means = by_landmarks(model, asked), by_landmarks(model, asked, means=True)
        n = len(read.right)
        checks.append(Check(f"notes found in {words} words by {TOP} blocks", read.share, LENGTHS[words], baseline=means.share, n=n))
        checks.append(Check(f"blocks with the answer that landmarks find, {words} words", read.hit, FOUND, baseline=means.hit, n=n // 2))
        rows[f"{words} words"] = {"answered": read.share, "by means": means.share, "hit": read.hit, "hit by means": means.hit,
                                  "attended": float(read.attended)}  # fmt: skip
    longest = max(LENGTHS)
    checks.append(Check(f"tokens that a query attends to at most, share of {longest}", read.attended / longest, ATTENDED, at_least=False))
    return checks, {"Notes, with landmarks": rows}


def without(options: Options) -> Measured:
    """The same notes asked of the model that has no landmarks: beyond what it was trained on, and with a window."""
    model, _ = reference.load()
    rows: dict[str, dict[str, float]] = {}
    checks = []
    for words in LENGTHS:
        options.say(f"{words} words")
        asked = lookups(words, options.seed, SESSIONS[words], 2 * words)
        whole, windowed = (plainly(model, asked, window) for window in (None, WINDOW))
        rows[f"{words} words"] = {"all in sight": float(np.mean(whole)), f"window of {WINDOW}": float(np.mean(windowed))}
        if words > BASE_LENGTH:
            checks.append(Check(f"notes found in {words} words without landmarks", float(np.mean(whole)), BEYOND, at_least=False, n=len(whole)))
        checks.append(Check(f"… with a window of {WINDOW}, {words} words", float(np.mean(windowed)), BY_CHANCE + WINDOW / words, at_least=False,
                            n=len(windowed)))  # fmt: skip
    return checks, {"Notes, without landmarks": rows}


def at_true_positions(model: Any, sequences: Sequence[Lookups], trained: int = taught.TRAINED) -> list[bool]:
    """As `by_landmarks`, each token at the position at which it stands."""
    right: list[bool] = []
    model.set_attn_implementation(_TRUE)
    with torch.no_grad():
        for one in sequences:
            kept = len(one.ids) - one.asked + 1
            logits = model(torch.tensor([one.ids]), use_cache=False, logits_to_keep=kept, segment_length=segment(trained)).logits[0]
            right += answered(logits, one, one.asked - 1)
    return right


def positions(options: Options) -> Measured:
    """Notes in 16 times the words that were trained on, blocks brought to stingy positions and attended to at true ones."""
    model, _ = taught.load()
    asked = lookups(FAR, options.seed, 2, taught.BLOCK)
    stingy, right = by_landmarks(model, asked).right, at_true_positions(model, asked)
    rows = {"stingy": float(np.mean(stingy)), "true": float(np.mean(right))}
    lost = rows["stingy"] - rows["true"]
    return [Check(f"points lost without stingy positions, {FAR} words", lost, FALLS, n=len(right))], {"Positions": {"answered": rows}}
