"""The twelve tasks, and one way to make a session of any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mnemos.base.errors import Invalid, NotFound
from mnemos.bench.scbench.articles import summary, summary_needles
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.functions import repoqa
from mnemos.bench.scbench.many_shot import many_shot
from mnemos.bench.scbench.mixed import repoqa_kv
from mnemos.bench.scbench.narrative import CHINESE, choice, qa
from mnemos.bench.scbench.numbers import math_find
from mnemos.bench.scbench.page import Counter
from mnemos.bench.scbench.records import COMPACT, RENDERINGS, TEXT, Record, Turn
from mnemos.bench.scbench.strings import kv, multi_hop, prefix_suffix
from mnemos.text.tokens import count_tokens

Make = Callable[[int, int, Draws, Counter], tuple[str, tuple[Turn, ...]]]


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the paper (table 3)."""

    name: str
    title: str
    capability: str
    metric: str
    make: Make
    new_tokens: int
    """Tokens that an answer may have."""


def _chinese(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    return qa(length, turns, draws, count, CHINESE)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("kv", "Retr.KV", "string", "substring", kv, 150),
        Task("prefix_suffix", "Retr.Prefix-Suffix", "string", "substring", prefix_suffix, 150),
        Task("multi_hop", "Retr.MultiHop", "string", "names", multi_hop, 30),
        Task("repoqa", "Code.RepoQA", "semantic", "code", repoqa, 1024),
        Task("qa_english", "En.QA", "semantic", "substring", qa, 40),
        Task("qa_chinese", "Zh.QA", "semantic", "characters", _chinese, 40),
        Task("choice", "En.MultiChoice", "semantic", "letter", choice, 40),
        Task("math_find", "Math.Find", "global", "number", math_find, 5),
        Task("many_shot", "ICL.ManyShot", "global", "substring", many_shot, 10),
        Task("summary", "En.Sum", "global", "rouge", summary, 200),
        Task("summary_needles", "Mix.Sum+NIAH", "mixed", "rouge", summary_needles, 800),
        Task("repoqa_kv", "Mix.RepoQA+KV", "mixed", "code", repoqa_kv, 1024),
    )
}
NEEDLE = Task("needle", "NIAH", "string", "substring", summary_needles, 15)
"""The planted facts of Mix.Sum+NIAH, which are turns of their own kind."""
KINDS: dict[str, Task] = {**TASKS, NEEDLE.name: NEEDLE}
"""Every kind that a turn can have."""
MIXED_NEW_TOKENS = {("summary_needles", "needle"): 15, ("repoqa_kv", "kv"): 80}
COMPACT_NEW_TOKENS = {
    "kv": 6, "prefix_suffix": 6, "multi_hop": 8, "repoqa": 24, "qa_english": 4, "qa_chinese": 4, "choice": 4, "math_find": 4, "many_shot": 4,
    "summary": 28, "summary_needles": 28, "needle": 6, "repoqa_kv": 24,
}  # fmt: skip


def task_of(name: str) -> Task:
    """The task of that name. Raises `NotFound`, listing them."""
    if name not in KINDS:
        raise NotFound(f"scbench has no task {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


def new_tokens(record: Record, turn: Turn) -> int:
    """Tokens that the answer of a turn may have, as published; of the compact rendering, a few more than it takes. Raises `NotFound` for an
    unknown kind."""
    kind = record.kind(turn)
    if record.rendering == COMPACT and kind in COMPACT_NEW_TOKENS:
        return COMPACT_NEW_TOKENS[kind]
    if kind not in KINDS:
        raise NotFound(f"record {record.id}: kind {kind!r} of a turn is not known; there are {', '.join(KINDS)}")
    return MIXED_NEW_TOKENS.get((record.task, kind), KINDS[kind].new_tokens)


def generate(
    task: str, length: int, turns: int = 5, seed: int = 0, rendering: str = TEXT, *, count: Counter = count_tokens
) -> Record:
    """A session of `task`: a context of at most `length` tokens and `turns` questions; equal arguments give equal bytes on every platform. "needle"
    is what Mix.Sum+NIAH plants, asked for by itself.

    `rendering`: "text", for any tokenizer, its tokens counted by `count`; or "compact", for the reference model, a word a token. Raises `NotFound`
    for an unknown task, `Invalid` for another rendering, no turn, or a context too short for what is asked.
    """
    made = task_of(task)
    for name, value in (("length", length), ("turns", turns)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Invalid(f"{name}: expected a whole number, 1 or more, not {value!r:.60}")
    if task == NEEDLE.name:
        return _needles(generate(TASKS["summary_needles"].name, length, 2 * turns, seed, rendering, count=count), turns)
    draws = Draws("scbench", task, length, turns, seed, rendering)
    if rendering == TEXT:
        context, asked = made.make(length, turns, draws, count)
    elif rendering == COMPACT:
        from mnemos.bench.scbench.compact import compact  # only where it is asked for: it reads the reference model's language

        context, asked = compact(task, length, turns, draws)
    else:
        raise Invalid(f"rendering {rendering!r} is not known: use one of {', '.join(RENDERINGS)}")
    about = {"length": length, "seed": seed}
    return Record(f"{task}-{rendering}-{length}-{turns}-{seed}", task, context, asked, rendering, about)


def _needles(record: Record, turns: int) -> Record:
    """The planted facts of a session, without its summaries."""
    asked = tuple(replace(turn, task=None) for turn in record.turns if turn.task == NEEDLE.name)
    length, seed = record.about["length"], record.about["seed"]
    return replace(record, id=f"{NEEDLE.name}-{record.rendering}-{length}-{turns}-{seed}", task=NEEDLE.name, turns=asked)
