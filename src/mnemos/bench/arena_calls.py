"""How many calls of commit and un-commit a trace of requests makes: reclaiming at once or when pages are short, best fit or first fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import KIB
from mnemos.activation.arena.fake import FakeBackend
from mnemos.activation.arena.layout import Layout
from mnemos.activation.arena.planning import Fit, best_fit, first_fit
from mnemos.bench.arena_memory import log_uniform
from mnemos.bench.result import Check

REQUESTS, BATCH, ANSWER = 300, 16, (32, 257)
LAYOUT = Layout(2, 8, 64, "float16", BATCH, 8192, 64 * KIB)


def measure(seed: int, quick: bool, say: Callable[[str], None]) -> tuple[list[Check], dict[str, Any]]:
    """Checks, and a table of calls by way of reclamation and fit, averages over traces."""
    say("calls of reclamation")
    traces = 3 if quick else 20
    calls = {
        (fit.__name__, deferred): [_calls(np.random.default_rng((seed, trace)), fit, deferred) for trace in range(traces)]
        for fit in (best_fit, first_fit)
        for deferred in (True, False)
    }
    both = {arm: float(np.mean([mapped + unmapped for mapped, unmapped in found])) for arm, found in calls.items()}
    commits = {fit.__name__: float(np.mean([mapped for mapped, _ in calls[fit.__name__, True]])) for fit in (best_fit, first_fit)}
    rows = {
        f"{fit.replace('_', ' ')}, {'when short' if deferred else 'at once'}": {
            "mapped": float(np.mean([mapped for mapped, _ in found])), "unmapped": float(np.mean([unmapped for _, unmapped in found]))
        }
        for (fit, deferred), found in calls.items()
    }  # fmt: skip
    return [
        Check("calls saved by deferred reclamation, share", 1 - both["best_fit", True] / both["best_fit", False], 0.9, n=traces * REQUESTS),
        Check("commits: best fit ÷ first fit", commits["best_fit"] / commits["first_fit"], 1.0, at_least=False, n=traces * REQUESTS),
    ], {f"Pages of {REQUESTS} requests, {BATCH} at once": rows}


def _calls(rng: np.random.Generator, fit: Fit, deferred: bool) -> tuple[int, int]:
    """Pages mapped and unmapped while requests come one after the other, as slots become free; each has a prompt and writes an answer."""
    prompts, answers = log_uniform(rng, REQUESTS), [int(tokens) for tokens in rng.integers(*ANSWER, REQUESTS)]
    backend = FakeBackend()
    with Arena(LAYOUT, backend, fit=fit) as arena:
        waiting = list(zip(prompts, answers, strict=True))[::-1]
        running: dict[int, list[int]] = {}
        """By slot, the tokens there and those still to be written."""
        while waiting or running:
            while waiting and len(running) < BATCH:
                prompt, answer = waiting.pop()
                running[arena.alloc_slot(prompt)] = [prompt, answer]
            gone = [slot for slot, (_, left) in running.items() if left == 0]
            for slot in gone:
                arena.free_slot(slot)
                del running[slot]
            arena.step({slot: tokens for slot, (tokens, _) in running.items()}, eager_reclaim=bool(gone) and not deferred).check()
            for request in running.values():
                request[0] += 1
                request[1] -= 1
        return backend.pages["map"], backend.pages["unmap"]
