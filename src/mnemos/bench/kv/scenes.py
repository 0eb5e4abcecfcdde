"""`mnemos bench kv-scenes`: texts that a model reads ahead, and contexts that take what was read (MemOS, arXiv 2505.22101, section 4).

Foresight: a walk over topics by a Markov chain, one text of a store for each; before each step the store has idle time. Seconds are processor time
of one thread, so that what else runs on the machine does not lengthen them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import LlamaConfig

import mnemos
from mnemos.base.errors import ModelUnavailable
from mnemos.base.stats import bootstrap_ratio
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.threads import one_thread
from mnemos.kernel.kv.asking import Asking
from mnemos.kernel.scheduling import FORESIGHT
from mnemos.kernel.space import Space
from mnemos.models import reference
from mnemos.models.local.model import LocalModel
from mnemos.models.reference import language, tasks

HITS, SAVED, KEPT = 1.5, 1.0, 0.5
"""Least hits of what is read ahead ÷ those of recency; most time to the first token ÷ that of either other way; and with what was kept of a context ÷
without."""
ARMS = ("nothing", "recency", "scenes")
FORM = "\n{question}\n"
NOTES = (
    "Each topic is followed by three others with 0.55, 0.25 and 0.1, else by any. All ways have the same texts, the same room and the same walk: "
    "'nothing' keeps what the scheduler keeps by itself, 'recency' has in idle time read what was used last, 'scenes' is the default.",
    "Wasted: seconds of reading ahead texts that were let go of, or were there at the end, without having been used.",
    "Asking: to the first token, with the search for the context; keeping a prompt comes after that. Without: the same prompt, all of it read.",
)


@dataclass(frozen=True)
class Sizes:
    """Walks and their steps, over so many topics of so many tokens, with room for so many; groups of three documents that are asked about."""

    walks: int = 2
    steps: int = 240
    topics: int = 16
    tokens: int = 200
    room: int = 4
    groups: int = 2
    turns: int = 3


QUICK = Sizes(walks=1, steps=100, groups=1, turns=2)
BLOCK = 20
"""Steps that are drawn together for the intervals."""
QUESTION = "what is it ?"


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures both parts."""
    with one_thread():
        return in_parts(benchmark, options, (foresight, asking), NOTES)


def walk(rng: np.random.Generator, steps: int, topics: int) -> list[int]:
    """Topics, one after the other."""
    follows = np.full((topics, topics), 0.1 / topics)
    for row in follows:
        row[rng.choice(topics, 3, replace=False)] += (0.55, 0.25, 0.1)
    follows /= follows.sum(axis=1, keepdims=True)
    path = [0]
    while len(path) < steps:
        path.append(int(rng.choice(topics, p=follows[path[-1]])))
    return path


@dataclass
class Walked:
    """Of one walk in one way: for each step whether the text was there and the seconds to the first token, and the seconds of idle time."""

    hits: NDArray[np.float64]
    seconds: NDArray[np.float64]
    idle: float = 0.0
    wasted: float = 0.0
    built: int = 0


def foresight(options: Options) -> Measured:
    """The three ways beside one another."""
    sizes = QUICK if options.quick else Sizes()
    config = LlamaConfig(vocab_size=len(language.VOCABULARY), hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=8,
                         num_key_value_heads=4, max_position_embeddings=4096, initializer_range=0.1, eos_token_id=None)  # fmt: skip
    model = LocalModel.random(config, options.seed, tokenizer=reference.load()[1])
    walked: dict[str, list[Walked]] = {arm: [] for arm in ARMS}
    for number in range(sizes.walks):
        rng = np.random.default_rng([options.seed, 41, number])
        path = walk(rng, sizes.steps, sizes.topics)
        words = [[str(word) for word in rng.choice(language.VOCABULARY[100:], sizes.tokens)] for _ in range(sizes.topics)]
        for arm in ARMS:
            walked[arm].append(_walked(arm, model, path, [" ".join(each) for each in words], sizes.room))
        options.say(", ".join(f"{arm} {walked[arm][-1].hits.mean():.2f} of {sizes.steps}" for arm in ARMS))
    blocks = [(number, step // BLOCK) for number in range(sizes.walks) for step in range(sizes.steps)]
    hits, seconds = ({arm: np.concatenate([getattr(one, name) for one in ones]) for arm, ones in walked.items()} for name in ("hits", "seconds"))
    checks = [Check.of("hits of what is read ahead ÷ hits of recency, same bytes", bootstrap_ratio(hits["scenes"], hits["recency"], blocks,
                                                                                                  options.rng()), HITS)]  # fmt: skip
    for arm in ARMS[:2]:
        ratio = bootstrap_ratio(seconds["scenes"], seconds[arm], blocks, options.rng())
        checks.append(Check.of(f"time to the first token ÷ that of {arm}", ratio, SAVED, at_least=False))
    idle = sum(one.idle for one in walked["scenes"])
    wasted = sum(one.wasted for one in walked["scenes"])
    built = sum(one.built for one in walked["scenes"])
    checks.append(Check("share of the reading ahead that was wasted", wasted / idle if idle else 0.0, None, n=built))
    table = {arm: {
        "hits": float(hits[arm].mean()), "ms to the first token": 1e3 * float(seconds[arm].mean()), "seconds saved in all": float(
            (seconds["nothing"] - seconds[arm]).sum()), "read ahead": sum(one.built for one in ones), "idle seconds": sum(one.idle for one in ones),
        "of these wasted": sum(one.wasted for one in ones),
    } for arm, ones in walked.items()}  # fmt: skip
    return checks, {"foresight": table}


def _walked(arm: str, model: LocalModel, path: list[int], texts: list[str], room: int) -> Walked:
    """One way through the store, step by step: the text of the topic and a question after it, then idle time."""
    question = model.encode(QUESTION, special=False)
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:
        size = _bytes_of_one(model, texts[0], Path(home, "one.db"))
        ahead = FORESIGHT if arm == "scenes" else None
        with mnemos.open(Path(home, "memory.db"), embedder="none", language_model=model, kv_memory=int((room + 0.5) * size), kv_ahead=ahead) as mem:
            space = mem.space("walk")
            ids = [space.add(text).id for text in texts]
            out = Walked(np.zeros(len(path)), np.zeros(len(path)))
            waiting: dict[str, float] = {}
            recent: list[str] = []
            for step, topic in enumerate(path):
                id = ids[topic]
                out.hits[step] = id in _kept(space)
                if id in waiting and out.hits[step]:
                    del waiting[id]
                out.seconds[step] = _seconds(partial(_first, space, id, question))
                before = _kept(space)
                recent = [id, *(each for each in recent if each != id)][:room]
                spent = _seconds(partial(_idle, arm, space, recent))
                new = _kept(space) - before
                out.idle += spent
                out.built += len(new)
                gone = [each for each in waiting if each not in _kept(space)]
                out.wasted += sum(waiting.pop(each) for each in gone)
                waiting |= {each: spent / len(new) for each in new}
            out.wasted += sum(waiting.values())
    return out


def _first(space: Space, id: str, question: list[int]) -> None:
    model = space.system.language_model
    assert model is not None
    model.prefill(question, space.kv.take([id]).memory)


def _idle(arm: str, space: Space, recent: list[str]) -> None:
    if arm == "scenes":
        space.system.jobs.drain(600)
    elif arm == "recency":
        for source in _kept(space) - set(recent):
            space.kv.drop(source)
        space.kv.warm(recent)


def _kept(space: Space) -> set[str]:
    return {entry.source for entry in space.kv.entries() if entry.source is not None}


def _bytes_of_one(model: LocalModel, text: str, path: Path) -> int:
    with mnemos.open(path, embedder="none", language_model=model) as mem:
        space = mem.space("one")
        space.kv.warm(space.add(text).id)
        return space.kv.entries()[0].bytes


def _seconds(what: Callable[[], Any]) -> float:
    start = time.process_time()
    what()
    return time.process_time() - start


def asking(options: Options) -> Measured:
    """Groups of three documents that the reference model is asked about, again and again: of a store that keeps what was read, and from nothing."""
    sizes = QUICK if options.quick else Sizes()
    try:
        module, tokenizer = reference.load()
    except ModelUnavailable:
        return [Check("time to the first token (the reference model is not there)", float("nan"), KEPT, at_least=False)], {}
    model, rows = LocalModel(module, tokenizer=tokenizer), []
    for group in range(sizes.groups):
        for order in ("context", "reuse"):
            rows += _asked(model, order, group, sizes.turns, options.seed)
            options.say(f"group {group + 1}, order {order!r}: {sum(row.kept for row in rows) / sum(row.full for row in rows):.2f} of the time so far")
    checks, table = [], {}
    for order in ("context", "reuse"):
        its = [row for row in rows if row.order == order]
        ratio = bootstrap_ratio([row.kept for row in its], [row.full for row in its], [row.question for row in its], options.rng())
        same = float(np.mean([row.same for row in its]))
        checks.append(Check.of(f"time to the first token with what was kept ÷ without, order {order!r}", ratio, KEPT, at_least=False))
        checks.append(Check(f"greedy answers that are the same, order {order!r}", same, 1.0, n=len(its)))
        table[order] = {
            "ms without": 1e3 * float(np.mean([row.full for row in its])), "ms with": 1e3 * float(np.mean([row.kept for row in its])),
            "tokens": float(np.mean([row.tokens for row in its])), "taken": float(np.mean([row.taken for row in its])),
            "ms that were said to be saved": 1e3 * float(np.mean([row.saved for row in its])), "questions": len(its),
        }  # fmt: skip
    return checks, {"asking about a context": table}


@dataclass(frozen=True)
class Row:
    """One question: processor seconds to the first token with what was kept and without, both with the search, and what was said of it."""

    question: tuple[int, int, int]
    """Group, turn and document: it is asked twice."""
    order: str
    kept: float
    full: float
    same: bool
    tokens: int
    taken: int
    saved: float


def _asked(model: LocalModel, order: str, group: int, turns: int, seed: int) -> list[Row]:
    """Two rounds of questions; the first question has nothing that was kept, and counts, too."""
    sessions = [tasks.make("kv", 380, turns, seed + 9000 + 10 * group + number) for number in range(3)]
    how, out = Asking(order=order, budget_tokens=1600, form=FORM), []
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home, \
            mnemos.open(Path(home, "memory.db"), embedder="none", language_model=model, kv_ahead=None) as mem:  # fmt: skip
        space = mem.space("group")
        keeping = _Timed(space.kv.keep)
        space.kv.keep = keeping  # type: ignore[assignment,method-assign]
        for session in sessions:
            space.add(language.text(session.context))
        for _ in range(2):
            for turn in range(turns):
                for number, session in enumerate(sessions):
                    question = language.text(session.turns[turn].question)
                    start, keeping.seconds = time.process_time(), 0.0
                    told = space.kv.ask(question, how, max_tokens=8)
                    kept = time.process_time() - start - keeping.seconds
                    prompt = _same_prompt(space, model, question, told.reused.sources, order)
                    start = time.process_time()
                    space.context(question, 1600, tokenizer=model)
                    read = model.prefill(prompt)
                    full = time.process_time() - start
                    assert len(prompt) == told.reused.tokens
                    same = [row.tokens for row in told.run()] == [row.tokens for row in model.generate((), read, max_tokens=8).run()]
                    out.append(Row((group, turn, number), order, kept, full, same, len(prompt), told.reused.taken, told.reused.saved or 0.0))
    return out


class _Timed:
    """A call whose processor seconds are counted."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call, self.seconds = call, 0.0

    def __call__(self, *given: Any) -> Any:
        start = time.process_time()
        try:
            return self._call(*given)
        finally:
            self.seconds += time.process_time() - start


def _same_prompt(space: Space, model: LocalModel, question: str, sources: tuple[str, ...], order: str) -> list[int]:
    """The prompt that was asked, made anew."""
    after = FORM.replace("{question}", question.strip())
    if order == "context":
        return model.encode(f"{space.context(question, 1600, tokenizer=model)}\n{after}")
    tokens = [token for number, id in enumerate(sources) for token in model.encode(f"{space.get(id).text.strip()}\n", special=number == 0)]
    return [*tokens, *model.encode(after, special=False)]
