"""A-MEM (arXiv 2502.12110): what links and evolution find, what contexts cost, what is refused, how far descriptions drift, and how it scales."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.clock import to_micros
from mnemos.base.protocols import ChatModel
from mnemos.base.stats import bootstrap_difference
from mnemos.bench import notes_scale
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.notes_world import Asked, late_world, linked_world, names
from mnemos.bench.parts import in_parts
from mnemos.bench.reader_data import f1
from mnemos.bench.reader_data import load as load_cases
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.strategies.sets import load as load_sets
from mnemos.kernel.space import Space
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.minilm import MiniLM
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.reader import answer
from mnemos.text.notes.note import Note
from mnemos.text.notes.parameters import DEFAULTS, Parameters
from mnemos.text.notes.strategy import Notes
from mnemos.text.tokens import token_counter

Numbers = NDArray[np.float64]
K = 10
READ = 8
"""Memories that the reader is given: as `Space.answer`."""
NOTES = (
    "Generated memories and drift: hashed n-grams embed; LoCoMo: MiniLM. `without links` is the strategy with no reserved slots.",
    "The drift guard is tried with a chat model's double that writes words of new memories over the context, one by one; budgets are lifted.",
    "Scale: random vectors of 384 dimensions that lie together as topics do; the look-up is among the notes, the search the whole of `Space.search`.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """The sheet's checks, each with its threshold."""
    return in_parts(benchmark, options, (_links, _evolution, _tokens, notes_scale.scale, _drift), NOTES)


@contextmanager
def _written(records: Sequence[dict[str, Any]], parameters: Parameters = DEFAULTS, chat: ChatModel | None = None) -> Iterator[Space]:
    with mnemos.open(":memory:", embedder=HashedEmbedder(), chat=chat) as memory:
        space = memory.space("world", strategy=Notes.name)
        use(space, parameters)
        space.add_many(list(records))
        space.consolidate()
        yield space


def use(space: Space, parameters: Parameters) -> None:
    """Let a store's strategy have other parameters."""
    space.system._strategies[Notes.name] = Notes(parameters)


def _recall(space: Space, asked: Sequence[Asked]) -> tuple[Numbers, float]:
    """Share of the evidence among the first ten, a value for each question; and the mean tokens of these ten."""
    count = token_counter(None)
    values, tokens = [], 0
    for question in asked:
        hits = space.search(question.text, k=K)
        values.append(len({hit.cube.source for hit in hits} & question.evidence) / len(question.evidence))
        tokens += sum(count(hit.cube.text) for hit in hits)
    return np.array(values), tokens / max(len(asked), 1)


# ---- 1 and 8: links, and what is not there --------------------------------------------------------------------------


def _links(options: Options) -> tuple[list[Check], dict[str, Any]]:
    asked = 60 if options.quick else 300
    world = linked_world(options.rng(), notes=600 if options.quick else 2000, asked=asked)
    table: dict[str, Any] = {}
    found: dict[tuple[str, str], Numbers] = {}
    with _written(world.records) as space:
        for name, parameters in (("with links", DEFAULTS), ("without links", Parameters(reserve=0.0))):
            use(space, parameters)
            for kind in ("two hops", "one hop"):
                found[name, kind], tokens = _recall(space, world.asked[kind])
                table.setdefault(name, {})[f"{kind}, recall@10"] = float(found[name, kind].mean())
                table[name][f"{kind}, tokens of ten hits"] = tokens
        use(space, DEFAULTS)
        refusals, wrong = _refusals(space, world.asked["unanswerable"][:200]), _refusals(space, world.asked["one hop"][:200])
        plain = space.system.space("world", strategy="plain")
        for kind in ("two hops", "one hop"):
            found["plain", kind], tokens = _recall(plain, world.asked[kind])
            table.setdefault("plain", {})[f"{kind}, recall@10"] = float(found["plain", kind].mean())
            table["plain"][f"{kind}, tokens of ten hits"] = tokens
    gain = bootstrap_difference(found["with links", "two hops"], found["without links", "two hops"], [str(i) for i in range(asked)], options.rng())
    single = float((found["with links", "one hop"] - found["plain", "one hop"]).mean())
    return [
        Check.of("two hops, recall@10, with links − without", gain, 0.15, baseline=float(found["without links", "two hops"].mean())),
        Check("one hop, recall@10, with links − plain", single, -0.01, baseline=float(found["plain", "one hop"].mean()), n=asked),
        Check("tokens of ten hits, with links ÷ without", table["with links"]["two hops, tokens of ten hits"]
              / table["without links"]["two hops, tokens of ten hits"], 1.05, at_least=False, n=asked),
        Check("unanswerable questions refused", float(np.mean(refusals)), 0.9, n=len(refusals)),
        Check("answerable questions refused", float(np.mean(wrong)), 0.05, at_least=False, n=len(wrong)),
    ], {"Links": table}  # fmt: skip


def _refusals(space: Space, asked: Sequence[Asked]) -> list[float]:
    return [float(not space.answer(question.text)) for question in asked]


# ---- 2: evolution ---------------------------------------------------------------------------------------------------


def _evolution(options: Options) -> tuple[list[Check], dict[str, Any]]:
    world = late_world(options.rng(), people=20 if options.quick else 100, noise=300 if options.quick else 1200)
    asked = world.asked["explained later"]
    table: dict[str, Any] = {}
    values: dict[bool, Numbers] = {}
    for evolve in (True, False):
        with _written(world.records, Parameters(evolve=evolve)) as space:
            values[evolve], tokens = _recall(space, asked)
            table["with evolution" if evolve else "without evolution"] = {"recall@10": float(values[evolve].mean()), "tokens of ten hits": tokens}
    gain = bootstrap_difference(values[True], values[False], [str(i) for i in range(len(asked))], options.rng())
    return [Check.of("explained later, recall@10, with evolution − without", gain, 0.05, baseline=float(values[False].mean()))], {"Evolution": table}


# ---- 3: tokens ------------------------------------------------------------------------------------------------------


def _tokens(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """LoCoMo's questions of time: the span that the reader takes from eight memories, against the one it takes from the whole history."""
    (corpora,) = load_sets(data_folder(options.data), options, only=("locomo",)).values()
    answers = {case.id: case.answers for case in load_cases(data_folder(options.data)) if case.dataset == "locomo"}
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    count = token_counter(None)
    most = 4 if options.quick else 12
    few, all_, shares = [], [], []
    with mnemos.open(":memory:", embedder=embedder) as memory:
        for corpus in corpora:
            asked = [question for question in corpus.questions if question.category == "temporal" and question.id in answers][:most]
            space = memory.space(corpus.name, strategy=Notes.name)
            space.add_many(list(corpus.records))
            space.consolidate()
            cubes = space.list(types=["turn"], limit=10_000)
            whole = [_source(cube) for cube in cubes]
            tokens = sum(count(source.text) for source in whole)
            for question in asked:
                wanted = answers[question.id]
                chosen = [_source(hit.cube) for hit in space.search(question.text, k=READ)]
                few.append(f1(answer(question.text, chosen, least=0).text, wanted))
                all_.append(f1(answer(question.text, whole, least=0).text, wanted))
                shares.append(sum(count(source.text) for source in chosen) / tokens)
    one, other = float(np.mean(few)), float(np.mean(all_))
    return [
        Check("questions of time, tokens of the context ÷ of the history", float(np.mean(shares)), 0.2, at_least=False, n=len(shares)),
        Check("questions of time, F1 from the context − from the history", one - other, 0.0, baseline=other, n=len(few)),
    ], {"Questions of time": {"eight memories": {"F1": one}, "whole history": {"F1": other}}}


def _source(cube: Any) -> Source:
    return Source(str(cube.id), cube.text, cube.author, to_micros(cube.event_at))


# ---- 9: drift -------------------------------------------------------------------------------------------------------


class _Overwriting:
    """A chat model that gives one memory, at each new one, a context in which one more of its words is replaced by one of the new memory's."""

    fingerprint = "overwriting"

    def __init__(self, own: str) -> None:
        self.own, self.step = own, 0

    def complete(self, conversations: Sequence[Any], *, schema: Any = None, max_tokens: int | None = None) -> list[str]:
        shown = [[json.loads(line) for line in one[-1]["content"].splitlines() if line.startswith("{\"")] for one in conversations]
        return [json.dumps(self._described(lines[0]) if "keywords" in schema["properties"] else self._evolved(lines)) for lines in shown]

    def _described(self, memory: dict[str, Any]) -> dict[str, Any]:
        return {"keywords": memory["text"].split()[:3], "tags": ["event"], "context": memory["text"]}

    def _evolved(self, shown: Sequence[dict[str, Any]]) -> dict[str, Any]:
        target = next((one for one in shown[1:] if one["text"] == self.own), None)
        if target is None:
            return {"links": [], "updates": []}
        words = target["context"].rstrip(".").split()
        at = 1 + self.step % (len(words) - 1)
        self.step += 1
        context = " ".join((*words[:at], shown[0]["text"].rstrip(".").split()[-1], *words[at + 1 :]))
        return {"links": [], "updates": [{"id": target["id"], "context": context, "keywords": target["keywords"], "tags": ["event"]}]}


def _drift(options: Options) -> tuple[list[Check], dict[str, Any]]:
    rounds = 40 if options.quick else 200
    ends = {guarded: _drifted(options.rng(), rounds, guarded) for guarded in (True, False)}
    table = {
        "guarded" if guarded else "not guarded": {"likeness at the end ÷ at the start": share, "evolutions": count}
        for guarded, (share, count) in ends.items()
    }
    return [
        Check(f"likeness of context to content after {rounds} rewritings tried ÷ before", ends[True][0], 0.7, baseline=ends[False][0], n=rounds),
        Check("the same, guarded − not guarded", ends[True][0] - ends[False][0], 1e-9, baseline=ends[False][0], n=rounds),
    ], {"Drift": table}


def _drifted(rng: np.random.Generator, rounds: int, guarded: bool) -> tuple[float, int]:
    """(likeness of the context to the content of one note after so many attempts to rewrite it, as a share of that at the start; rewrites made)."""
    own = "Zorvan keeps the key of the boathouse behind the third brick from the left."
    embedder = HashedEmbedder()
    most = 10**6
    lifted = Parameters(
        neighbours=most, links=most, commonest=most, rewrites=most, rewrites_a_day=most, drift=DEFAULTS.drift if guarded else None
    )  # fmt: skip

    def likeness(space: Space) -> tuple[float, int]:
        note = next(one for one in space.list(types=["note"], limit=10_000) if space.get(one.derived_from[0].id).text == own)
        kept = Note.from_metadata(note.metadata)
        vectors = embedder.embed([kept.now.context, own])
        return float(vectors[0] @ vectors[1]), len(kept.evolutions)

    made = names(rng, rounds)
    with _written([{"text": own}], lifted, _Overwriting(own)) as space:
        start, _ = likeness(space)
        for at in range(rounds):
            space.add(f"Zorvan heard a song about the {made[at].casefold()}.")
            space.consolidate()
        end, count = likeness(space)
    return end / start, count
