"""How granularity scales: what a search costs among 20,000 sessions of four turns, and what one more session does.

Consolidating 20,000 sessions takes several minutes, most of it for key phrases and mixtures, which do not depend on how many sessions there are.
So the views of all but the new sessions are written at once, with as many links as the strategy gives a session (some twenty), to random sessions
before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import numpy as np

import mnemos
from mnemos.base.cube import Link, MemCube
from mnemos.base.lineage import VIEW_OF
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.kernel.space import Space
from mnemos.models.hashed import HashedEmbedder
from mnemos.text.granularity.strategy import GRAINS, Granularity

SESSIONS, QUICK_SESSIONS = 20_000, 2_000
TURNS = 4
QUERY_MS, INSERT_MS = 150.0, 100.0
_LINKS = 21
_NEW = 10
_WORDS = 5_000


def speed(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """Check 7 of the sheet, by the clock and by this process's own time; queries are given by their vector."""
    sizes = (QUICK_SESSIONS // 4, QUICK_SESSIONS) if options.quick else (SESSIONS // 10, SESSIONS)
    rows = {size: _scaled(options.rng(), size, options) for size in sizes}
    most, bounds = rows[sizes[-1]], (None, None) if options.quick else (QUERY_MS, INSERT_MS)
    return [
        Check(f"query over {sizes[-1]:,} sessions, CPU ms, p95", most["query CPU ms p95"], bounds[0], at_least=False, n=40),
        Check("the same by the clock, ms, p95", most["query ms p95"], bounds[0], at_least=False, n=40),
        Check(f"one more session among {sizes[-1]:,}, CPU ms, median", most["insert CPU ms"], bounds[1], at_least=False, n=_NEW,
              baseline=rows[sizes[0]]["insert CPU ms"]),
        Check("the same by the clock, ms, median", most["insert ms"], bounds[1], at_least=False, n=_NEW, baseline=rows[sizes[0]]["insert ms"]),
    ], {"Speed": {f"{size:,} sessions": row for size, row in rows.items()}}  # fmt: skip


def _scaled(rng: np.random.Generator, sessions: int, options: Options) -> dict[str, float]:
    options.say(f"{sessions:,} sessions")
    with mnemos.open(":memory:", embedder=HashedEmbedder()) as memory:
        space = memory.space("many", strategy=Granularity.name)
        texts = [" ".join(f"word{n}" for n in row) for row in rng.integers(0, _WORDS, (TURNS * sessions, 12)).tolist()]
        turns = space.add_many([{"text": text, "type": "turn", "metadata": {"session": at // TURNS}} for at, text in enumerate(texts)])
        _views(space, turns, rng)
        position = memory.position()
        with space.system.writing(alone=True) as transaction:
            transaction.set_setting(f"consolidated/{space.num}/{Granularity.name}", position)
        _add(space, texts[:TURNS], "first")  # what is held in memory is made here
        new = _timed(lambda number: _add(space, texts[TURNS * number : TURNS * (number + 1)], f"new {number}"), range(_NEW))
        queries = [_across(texts[TURNS * at : TURNS * (at + 1)]) for at in rng.integers(0, sessions, 40).tolist()]
        vectors = memory.embedding.matrix(queries)
        assert vectors is not None
        space.search(queries[0], vector=vectors[0])
        took = _timed(lambda at: space.search(queries[at], vector=vectors[at]), range(len(queries)))
    return {
        "query ms p50": took[0](50), "query ms p95": took[0](95), "query CPU ms p95": took[1](95),
        "insert ms": new[0](50), "insert CPU ms": new[1](50),
    }  # fmt: skip


def _across(turns: list[str]) -> str:
    """A question that only a whole session answers, as none of its turns says much of it: a search walks for that one."""
    return " ".join(word for turn in turns for word in turn.split()[:3])


def _timed(work: Callable[[int], object], numbers: Iterable[int]) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Percentiles, in ms, of how long each piece of work takes: by the clock, and of this process's own time."""
    walls, own = [], []
    for number in numbers:
        wall, cpu = time.perf_counter(), time.process_time()
        work(number)
        own.append(1e3 * (time.process_time() - cpu))
        walls.append(1e3 * (time.perf_counter() - wall))
    return (lambda share: float(np.percentile(walls, share))), (lambda share: float(np.percentile(own, share)))


def _add(space: Space, texts: list[str], session: str) -> None:
    """One session, consolidated."""
    space.add_many([{"text": text, "type": "turn", "metadata": {"session": session}} for text in texts])
    done = space.consolidate()
    assert done.added == 2, done


def _views(space: Space, turns: list[MemCube], rng: np.random.Generator) -> None:
    """A summary and key phrases of each session, as the strategy writes them."""
    ids: list[str] = []
    for start in range(0, len(turns), 1000 * TURNS):
        records: list[dict[str, Any]] = []
        for at in range(start, min(start + 1000 * TURNS, len(turns)), TURNS):
            sources = [Link(UUID(turn.id), 1, VIEW_OF) for turn in turns[at : at + TURNS]]
            edges = [
                {"to": ids[other], "kind": f"{GRAINS[1 + n % 3]}-{GRAINS[1 + n // 3 % 3]}", "weight": 0.9}
                for n, other in enumerate(rng.integers(0, max(len(ids), 1), _LINKS).tolist() if ids else ())
            ]
            said = {"origin": "inference", "derived_from": sources}
            own = {"strategy": Granularity.name, "by": "rules"}
            records.append({"text": turns[at].text, "type": "summary", "metadata": {"edges": edges, **own}, **said})
            records.append({"text": ", ".join(turns[at].text.split()), "type": "keywords", "metadata": own, **said})
        ids += [cube.id for cube in space.add_many(records)][::2]
