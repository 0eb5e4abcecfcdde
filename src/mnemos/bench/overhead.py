"""What governance costs: adds and searches of a principal in a space with every kind of rule, against the same by the program in a plain space.

Both stores hold the same memories; single operations alternate between them, so that a busy machine slows both alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import bootstrap_statistic
from mnemos.bench.datasets import data_folder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.store_texts import questions, recombined, sentences
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder

ROLES = 20


def plain(folder: Path, texts: list[str]) -> Space:
    """A space without rules, used by the program itself."""
    space = Mnemos(folder / "plain.db", embedder=HashedEmbedder()).space("plain")
    space.add_many({"text": text, "type": "turn", "author": "Ann"} for text in texts)
    return space


def governed(folder: Path, texts: list[str]) -> Space:
    """The same, used by a principal who has its rights by a role; with labels, a clearance, a quota, a rate, and rules of single memories."""
    mem = Mnemos(folder / "governed.db", embedder=HashedEmbedder())
    for number in range(ROLES):
        mem.set_role(f"team-{number}", [f"person-{number + i}" for i in range(10)])
    space = mem.space("governed")
    cubes = space.add_many(
        {"text": text, "type": "turn", "author": "Ann", "sensitivity": ("internal" if number % 5 == 0 else None)} for number, text in enumerate(texts)
    )
    for number, cube in enumerate(cubes):
        if number % 50 == 0:
            space.set_acl(cube.id, {"read": [f"role:team-{number % ROLES}"]})
    mem.space(
        "governed",
        acl={verb: ["role:team-3"] for verb in ("read", "write", "derive", "forget")},
        deny={"read": ["person-99"]},
        clearance={"role:team-3": "personal"},
        quota={"cubes": 10**9, "bytes": 10**12},
        rate={"reads_per_minute": 10**9, "writes_per_minute": 10**9},
    )
    return mem.as_principal("person-5").existing_space("governed")


def paired(first: Callable[[int], Any], second: Callable[[int], Any], rounds: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Seconds of both, one after the other, in turns of which goes first."""
    took = np.empty((rounds, 2))
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            (first, second)[which](number)
            took[number, which] = time.perf_counter() - start
    return took[:, 0], took[:, 1]


def medians(values: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """The median of each `size` values in a row: what a busy moment does to a few of them does not show."""
    middles: np.ndarray[Any, Any] = np.median(values[: len(values) // size * size].reshape(-1, size), axis=1)
    return middles


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures adds and searches."""
    cubes, rounds = (3_000, 400) if options.quick else (20_000, 3_000)
    rng = options.rng()
    pool = sentences(data_folder(options.data))
    with Seconds() as took, tempfile.TemporaryDirectory(prefix="mnemos-overhead-") as home:
        texts = recombined(pool, cubes + rounds, rng)
        asked = questions(pool, rounds, rng)
        bare, ruled = plain(Path(home), texts[:cubes]), governed(Path(home), texts[:cubes])
        for space in (bare, ruled):
            space.search(asked[0])
        options.say(f"{cubes:,} memories in both")

        def add(space: Space) -> Callable[[int], Any]:
            return lambda number: space.add(texts[cubes + number], type="turn", author="Ann")

        def search(space: Space) -> Callable[[int], Any]:
            return lambda number: space.search(asked[number])

        adds = paired(add(bare), add(ruled), rounds)
        searches = paired(search(bare), search(ruled), rounds)
        for space in (bare, ruled):
            space.system.store.close()
    checks = []
    table = {}
    for name, (base, full), bound in (("add", adds, 1.15), ("search", searches, 1.10)):
        ratios = medians(full, 20) / medians(base, 20)
        ratio = bootstrap_statistic(lambda rows: float(np.median(ratios[rows])), range(len(ratios)), options.rng())  # noqa: B023 (used at once)
        checks.append(Check.of(f"{name}: governed ÷ plain", ratio, bound, at_least=False, baseline=1.0))
        table[name] = {"plain ms": float(np.median(base)) * 1e3, "governed ms": float(np.median(full)) * 1e3}
    return Result.of(
        benchmark.name,
        benchmark.paper,
        benchmark.claim,
        checks,
        seconds=took.seconds,
        machine=machine().as_dict(),
        details={"tables": {"medians": table}, "memories": cubes, "rounds": rounds},
    )
