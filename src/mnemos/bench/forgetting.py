"""Forgetting, accepted or not: a hundred deletions looked for everywhere, twice, and what they cost the rest (arXiv 2509.18868)."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

import mnemos
from mnemos.base.errors import Invalid
from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import wilson
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.evaluation import deletion
from mnemos.bench.evaluation.systems import MnemosSystem
from mnemos.bench.evaluation.timeline import Shape, make_history
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.forgetting import Certificate, verify_certificate
from mnemos.kernel.system import Mnemos
from mnemos.models.minilm import MiniLM

DELETIONS = 100
TAMPERINGS = 1000
KEPT = 0.98
NOTES = (
    "After the first look the store is closed and opened again, 300 other memories are written, and it is looked for once more.",
    "Tampering: one byte of a certificate's file is exchanged; noticed where it is no JSON, no certificate, or does not hold. What says the same "
    "thing in another byte (a hexadecimal digit in upper case, the name of a field that is null) holds; the comparison with the file that `forget` "
    "would write notices that too.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Thoroughness, sustainability, utility, re-learning, and certificates."""
    clock = Seconds()
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    shape = Shape(sessions=20, facts=180, unknown=0.0, chatter=1.0 if options.quick else 4.0)
    history = make_history("people", np.random.default_rng(options.seed), shape)
    counted = deletion.Acceptance()
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as folder:
        path = str(Path(folder) / "memory.db")
        with mnemos.open(path, embedder=embedder) as memory:
            system = MnemosSystem(memory=memory)
            system.add(history)
            chosen = deletion.targets(memory, history, DELETIONS)
            gone = {target.item.id for target in chosen}
            kept = [item for item in history.items if item.id not in gone]
            before = deletion.utility(system, kept)
            options.say(f"forgetting {len(chosen)} facts")
            certificates = deletion.forget(memory, history, chosen)
            deletion.probe(memory, history, chosen, counted)
            deletion.traces(memory, chosen, certificates, counted)
        with mnemos.open(path, embedder=embedder) as memory:
            options.say("looking again after a restart and 300 more memories")
            memory.space(history.name).add_many([{"text": f"Note {i}: the harbour light was on at {i % 24} o'clock."} for i in range(300)])
            deletion.probe(memory, history, chosen, counted)
            deletion.traces(memory, chosen, certificates, counted)
            system = MnemosSystem(memory=memory)
            system.histories[history.name] = history
            after = deletion.utility(system, kept)
            unnoticed, respelled = tamper(memory, certificates, options.seed)
            deletion.tell_again(memory, history, chosen, counted)
    tables = {"Probes": {kind: {"asked": n, "found something": counted.found[kind]} for kind, n in counted.asked.items()}}
    hits = sum(counted.found.values())
    share = after / before
    checks = [
        Check("probes that found something", float(hits), 0.0, at_least=False, n=sum(counted.asked.values())),
        Check("accuracy on the rest, after ÷ before", share, KEPT, baseline=before, n=len(kept)),
        Check("tampered certificates that were not noticed", float(unnoticed), 0.0, at_least=False, n=TAMPERINGS),
        Check("of them, respelled ones that verify alone lets pass", float(respelled), n=TAMPERINGS),
        Check.of("deletions without a trace", wilson(len(chosen) - min(hits, len(chosen)), len(chosen))),
    ]
    details = {"tables": tables, "notes": list(NOTES), "quick": options.quick, "seed": options.seed}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def tamper(memory: Mnemos, certificates: Sequence[Certificate], seed: int, count: int = TAMPERINGS) -> tuple[int, int]:
    """How many of `count` exchanges of one byte in a certificate's file go unnoticed: (where the file is compared with what its certificate is
    written as, where it is only verified)."""
    rng = random.Random(seed)
    unnoticed = respelled = 0
    for _ in range(count):
        file = bytearray(orjson.dumps(certificates[rng.randrange(len(certificates))].as_json()))
        place = rng.randrange(len(file))
        file[place] ^= rng.randrange(1, 256)
        found = accepted(memory, bytes(file))
        respelled += found is not None
        unnoticed += found is not None and orjson.dumps(found.as_json()) == bytes(file)
    return unnoticed, respelled


def accepted(memory: Mnemos, file: bytes) -> Certificate | None:
    """The certificate of a file, where it holds for the store."""
    try:
        certificate = Certificate.from_json(orjson.loads(file))
    except (orjson.JSONDecodeError, Invalid):
        return None
    return certificate if verify_certificate(certificate, memory) else None
