"""Trains the policy that comes with the strategy "constructor", and says how well it does on what it was not trained on.

    python -m mnemos.bench.constructor_training [--updates N] [--out FILE]

Development data of MSC, LongMemEval (oracle form) and MemDaily, half of the histories of each by a hash of their texts, and generated streams. The
reader is BM25 and looks answers up; the judge is the rules'. Both are part of what the policy was trained for.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.stats import bootstrap_mean
from mnemos.bench.constructor_world import Newest, Reading, stream
from mnemos.bench.datasets import data_folder, read_lines
from mnemos.index.terms import fold
from mnemos.text.constructor import learnt, rewards
from mnemos.text.constructor.candidates import telling
from mnemos.text.constructor.matching import comparer
from mnemos.text.constructor.memory import Limits
from mnemos.text.constructor.network import Network
from mnemos.text.constructor.policy import Chunk, Turn
from mnemos.text.constructor.reading import Asked, Shown, Told
from mnemos.text.constructor.rollouts import Course, Instance, Rollout, Surroundings, roll, roll_many, train
from mnemos.text.constructor.rules import RulesPolicy
from mnemos.text.formats.longmemeval import session_date, session_order
from mnemos.text.formats.record import Place
from mnemos.text.time_expressions import DAY

MSC, LONGMEMEVAL, MEMDAILY, STREAMS = "msc", "longmemeval", "memdaily", "streams"
ROOMS: tuple[float | None, ...] = (0.5, 0.3, None)
"""Of the memory, as shares of the tokens of all chunks, in turn; None: no limit."""
CHUNKS = 20
"""The longest history that is trained on, in chunks."""
QUESTIONS = 16
COURSE = Course(updates=80, batch=8, rate=3e-2, entropy=0.1, own=12.0, shared=8.0)
_EPOCH = 1_700_000_000_000_000


def instances(folder: Path, reading: Reading, rng: np.random.Generator) -> dict[str, tuple[list[Instance], list[Instance]]]:
    """Set → (instances to train on, the others)."""
    loaders: dict[str, Callable[[], Iterator[tuple[str, Instance]]]] = {
        MSC: lambda: _msc(folder, reading, rng),
        LONGMEMEVAL: lambda: _longmemeval(folder, reading),
        MEMDAILY: lambda: _memdaily(folder, reading),
    }
    out: dict[str, tuple[list[Instance], list[Instance]]] = {}
    for name, load in loaders.items():
        halves: tuple[list[Instance], list[Instance]] = ([], [])
        for text, instance in load():
            halves[hashlib.blake2b(text.encode(), digest_size=1).digest()[0] & 1].append(instance)
        out[name] = halves
    return out


def _chunks(turns: Sequence[Turn], size: int, reading: Reading) -> list[Chunk]:
    """`size` turns a chunk."""
    out = []
    for start in range(0, len(turns), size):
        part = tuple(turns[start : start + size])
        candidates = tuple(c for turn in part for c in telling(turn.text, turn.author, turn.at, turn.id, reading))
        out.append(Chunk(part, candidates, sum(reading.count(turn.text) for turn in part)))
    return out


def _instance(number: int, chunks: Sequence[Chunk], questions: Sequence[Asked]) -> Instance:
    room = ROOMS[number % len(ROOMS)]
    return Instance(chunks, questions, Limits(tokens=None if room is None else max(round(room * sum(chunk.tokens for chunk in chunks)), 40)))


def _msc(folder: Path, reading: Reading, rng: np.random.Generator) -> Iterator[tuple[str, Instance]]:
    """A dialogue of four sessions; asked for are facts that annotators noted, in their words."""
    for number, dialogue in enumerate(read_lines(folder, "msc/msc_dev.jsonl.gz")):
        turns: list[Turn] = []
        facts: list[str] = []
        for session in dialogue["sessions"]:
            for turn in session["turns"]:
                turns.append(Turn(turn["text"], turn["speaker"], _EPOCH + 3 * DAY * session["session"], len(turns)))
                if turn.get("fact"):
                    facts.append(turn["fact"])
        chosen = rng.choice(len(facts), min(QUESTIONS, len(facts)), replace=False).tolist()
        asked = [Told(reading(facts[at]).words, "", reading(facts[at]).words) for at in chosen]
        yield turns[0].text + turns[1].text, _instance(number, _chunks(turns, 4, reading), asked)


def _longmemeval(folder: Path, reading: Reading) -> Iterator[tuple[str, Instance]]:
    """The evidence sessions of a question whose answer can be looked up."""
    for number, question in enumerate(read_lines(folder, "longmemeval/oracle_dev.jsonl.gz")):
        if question["question_id"].endswith("_abs") or question["question_type"] == "single-session-preference":
            continue
        place = Place(question["question_id"])
        turns: list[Turn] = []
        for index, _ in session_order(question, place):
            at = round(session_date(question["haystack_dates"][index], place).timestamp() * 1e6)
            turns += [Turn(turn["content"], turn["role"], at, len(turns) + n) for n, turn in enumerate(question["haystack_sessions"][index])]
        chunks = _chunks(turns, 2, reading)
        if len(chunks) <= CHUNKS:
            answer = str(question["answer"])
            asked = Told(reading(question["question"]).words, fold(answer), reading(answer).words)
            yield question["question"], _instance(number, chunks, [asked])


def _memdaily(folder: Path, reading: Reading) -> Iterator[tuple[str, Instance]]:
    """Some messages of a day's life, with what is needed to answer a question; every fourth of them, which are of all kinds."""
    for number, line in enumerate(read_lines(folder, "memdaily/memdaily_dev.jsonl.gz")[::4]):
        turns = [Turn(message["message"], None, _EPOCH + DAY * at // 4, at) for at, message in enumerate(line["message_list"])]
        place = {message["mid"]: at for at, message in enumerate(line["message_list"])}
        asked: list[Asked] = []
        for question in line["question_list"]:
            evidence = tuple(fold(turns[place[mid]].text.rstrip("。 ")) for mid in question["target_step_id"] if mid in place)
            asked.append(Shown(reading(question["question"]).words, evidence))
        yield turns[0].text + line["question_list"][0]["question"], _instance(number, _chunks(turns, 2, reading), asked)


def streams(seed: int, reading: Reading) -> list[Instance]:
    """Generated histories; those of the seed after that of the training are the ones that it has not seen."""
    rng = np.random.default_rng([seed, 1])
    return [stream(rng, reading, int(rng.integers(8, CHUNKS + 1))).instance for _ in range(32)]


# ---- training -------------------------------------------------------------------------------------------------------


def surroundings(reading: Reading) -> Surroundings:
    """The reader, the judge and the weights of the terms that the shipped policy was trained with."""
    return Surroundings(reading, comparer(), rewards.rule_judge(reading), count=reading.count)


def trained(folder: Path, seed: int, course: Course, say: Callable[[str], None]) -> tuple[Network, dict[str, Any]]:
    """A network and its card."""
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    reading = Reading()
    around = surroundings(reading)
    sets = instances(folder, reading, rng)
    learn = {**{name: halves[0] for name, halves in sets.items()}, STREAMS: streams(seed, reading)}
    others = {**{name: halves[1] for name, halves in sets.items()}, STREAMS: streams(seed + 1, reading)}
    say(f"read in {time.perf_counter() - start:.0f} s")

    def draw(rng: np.random.Generator) -> list[Instance]:
        return [pool[int(at)] for pool in learn.values() for at in rng.integers(0, len(pool), max(course.batch // len(learn), 1))]

    network = learnt.untrained(rng)
    before = network.copy()
    curve = train(network, draw, around, rng, course, say)
    card = {
        "what": "policy of the strategy constructor (Mem-α, arXiv 2509.25911), trained by GRPO with leave-one-out credit",
        "parameters": network.size, "seed": seed, "updates": course.updates, "instances an update": course.batch, "rollouts": course.rollouts,
        "rate": course.rate, "entropy": course.entropy, "own": course.own, "shared": course.shared, "compared": "statement by statement",
        "weights of the terms": {"r2": 1.0, "beta": 0.05, "gamma": 0.1},
        "reader": "BM25, top 20 of each list, answers looked up", "judge": "rules", "rooms": ROOMS,
        "trained on": {name: len(pool) for name, pool in learn.items()},
        "reward": {"first": round(curve[0].reward, 4), "last ten": round(float(np.mean([point.reward for point in curve[-10:]])), 4)},
        "scores on the others": {name: scores(pool, network, before, around) for name, pool in others.items()},
    }  # fmt: skip
    return network, card


MEASURED = 96
"""Instances of each set that scores are of."""


def scores(pool: Sequence[Instance], network: Network, before: Network, around: Surroundings) -> dict[str, Any]:
    """What the policy and others reach (`measures`), and by how much it answers more than each of them, with 95 % intervals over histories."""
    pool = pool[:MEASURED]
    runs = {
        "learnt": roll_many(pool, network, around), "untrained": roll_many(pool, before, around, np.random.default_rng(0)),
        "rules": [roll(instance, RulesPolicy(around.compared), around) for instance in pool],
        "newest": [roll(instance, Newest(), around, confirmed=True) for instance in pool],
    }  # fmt: skip
    out: dict[str, Any] = {name: measures(found) for name, found in runs.items()}
    for name in ("untrained", "rules", "newest"):
        more = [own.answers - other.answers for own, other in zip(runs["learnt"], runs[name], strict=True)]
        found = bootstrap_mean(more, list(range(len(more))), np.random.default_rng(0))
        out[f"learnt − {name}"] = {"mean": _mean(more), "interval": [round(found.low, 4), round(found.high, 4)]}
    return out | {"n": {"instances": len(pool), "questions": sum(len(instance.questions) for instance in pool)}}


def measures(runs: Sequence[Rollout]) -> dict[str, float]:
    """Means over histories, to four places: r1, the memory's tokens as a share of the chunks', and r4."""
    return {
        "answers": _mean([run.answers for run in runs]), "size": _mean([1.0 - run.terms[0].size for run in runs]),
        "types": _mean([run.mean(lambda terms: terms.types) for run in runs]),
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--updates", type=int, default=COURSE.updates)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path(learnt.__file__).with_name(learnt.WEIGHTS))
    options = parser.parse_args()
    network, card = trained(data_folder(options.data), options.seed, replace(COURSE, updates=options.updates), print)
    options.out.write_bytes(learnt.as_file(network, card) + b"\n")
    print(options.out, card)


if __name__ == "__main__":
    main()
