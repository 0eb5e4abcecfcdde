"""For a project's own tests: `-p mnemos.bench.scbench.plugin` gives the fixture `scbench` and the marker of that name, which fail a test where a
KV method no longer keeps what it kept.

    def test_snapkv(scbench):
        scbench.keeps("snapkv:share=1/8:aware", task="kv", at_least=0.9, mode="multi-request")

    @pytest.mark.scbench("kivi:bits=4", task="kv", at_least=0.95, bytes_at_most=0.5)
    def test_kivi(): ...

Neither torch nor a model is loaded before the first test that measures.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

MARK = "scbench"


@dataclass(frozen=True)
class Kept:
    """What was measured: mean scores of the method and of the full cache over `turns` turns, their ratio, and the method's bytes as a share of the
    full cache's."""

    method: str
    task: str
    mode: str
    score: float
    full: float
    bytes: float
    turns: int

    @property
    def share(self) -> float:
        """Of the full cache's score."""
        return self.score / self.full

    def __str__(self) -> str:
        kept = f"{self.score:.3f}, {self.share:.3f} of the full cache's {self.full:.3f}, at {self.bytes:.3f} of its bytes"
        return f"{self.method} on {self.task}, {self.mode}: {kept}, over {self.turns} turns"


class Gate:
    """Measures methods on one model, which is loaded once; what the full cache does is measured once for each set of sessions."""

    def __init__(self, model: str | None = None) -> None:
        """`model` as `mnemos bench scbench --model` takes it, if it runs here; None: the reference model."""
        self.model = model
        self._tiers: dict[int, Any] = {}
        self._full: dict[Hashable, Any] = {}

    def measure(
        self, method: str | Callable[[Any], Any], task: str = "kv", *, mode: str = "multi-turn", length: int = 512, turns: int = 4,
        sessions: int = 10, seed: int = 0
    ) -> Kept:  # fmt: skip
        """What a method keeps on generated sessions. `method`: a name with options, as `--methods` takes them, or a function that gives an empty
        cache for a model. Raises `Invalid` and `NotFound`, and `Invalid` for a task that the full cache does not answer."""
        from mnemos.base.errors import Invalid
        from mnemos.bench.scbench.choosing import FULL, REFERENCE_MODEL, Choice, Way, one_of
        from mnemos.bench.scbench.chosen import records_of, tier_of
        from mnemos.bench.scbench.clients import TokenClient
        from mnemos.bench.scbench.curves import MASTERED
        from mnemos.bench.scbench.harness import MODES, run
        from mnemos.bench.scbench.hf import CacheMethod
        from mnemos.bench.scbench.tasks import task_of

        one_of("mode", mode, MODES)
        choice = Choice((task_of(task).name,), (mode,), model=self.model or REFERENCE_MODEL, length=length, turns=turns, sessions=sessions)
        if length not in self._tiers:
            self._tiers[length] = tier_of(choice)
        tier = self._tiers[length]
        whole = tier.client(Way(FULL))
        if isinstance(method, str):
            client = tier.client(Way.of(method))
        elif isinstance(whole, TokenClient) and isinstance(whole.method, CacheMethod):
            model = whole.method.model
            client = TokenClient(CacheMethod(model, lambda: method(model), getattr(method, "__name__", "cache")), whole.codec, whole.around)
        else:
            raise Invalid(f"scbench: a function that gives a cache needs a model that runs here, not {choice.model}")
        records = list(records_of(choice, tier, seed))
        key = (task, mode, length, turns, sessions, seed)
        if key not in self._full:
            self._full[key] = run(whole, records, mode)
        full, ours = _summary(self._full[key]), _summary(run(client, records, mode))
        if full["score"] < MASTERED:
            raise Invalid(f"scbench: the full cache answers {full['score']:.2f} of {task} on {choice.model}: losing it says nothing about a method")
        return Kept(client.name, task, mode, ours["score"], full["score"], ours["bytes"] / full["bytes"], int(ours["turns"]))

    def keeps(self, method: str | Callable[[Any], Any], task: str = "kv", *, at_least: float, bytes_at_most: float | None = None, **how: Any) -> Kept:
        """Fails the test where the method keeps less than `at_least` of the full cache's score, or holds more than `bytes_at_most` of its bytes;
        further keywords as `measure` takes them."""
        __tracebackhide__ = True
        kept = self.measure(method, task, **how)
        missed = []
        if kept.share < at_least:
            missed.append(f"at least {at_least:g} of the score were asked for")
        if bytes_at_most is not None and kept.bytes > bytes_at_most:
            missed.append(f"at most {bytes_at_most:g} of the bytes")
        if missed:
            pytest.fail(f"{kept}; {' and '.join(missed)}", pytrace=False)
        return kept


def _summary(results: Any) -> Mapping[str, float]:
    """Mean score, mean bytes near the compute, and the number of turns."""
    from mnemos.bench.scbench.curves import rows_of
    from mnemos.bench.scbench.pareto import near_bytes

    rows = rows_of(results)
    return {
        "score": sum(row.score for row in rows) / len(rows), "bytes": sum(map(near_bytes, rows)) / len(rows), "turns": float(len(rows)),
    }  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("mnemos").addoption("--scbench-model", metavar="FOLDER", help="The model that SCBench runs on; else the reference model.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}(method, task='kv', at_least=, bytes_at_most=, …): fails where a KV method keeps less of SCBench")


@pytest.fixture(scope="session")
def scbench(request: pytest.FixtureRequest) -> Gate:
    """`scbench.keeps("snapkv:share=1/8", task="kv", at_least=0.9)` fails the test where the method keeps less."""
    return _gate(request.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    for mark in item.iter_markers(MARK):
        _gate(item.config).keeps(*mark.args, **mark.kwargs)
    return (yield)


_KEY = pytest.StashKey[Gate]()


def _gate(config: pytest.Config) -> Gate:
    if _KEY not in config.stash:
        config.stash[_KEY] = Gate(config.getoption("--scbench-model"))
    return config.stash[_KEY]
