"""Archives against plain JSON lines: rates, bytes, and what they notice: flipped bytes, sensitive strings, and whether a copy answers alike."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.meter import Seconds, disk_bytes, machine
from mnemos.base.signing import SigningKey
from mnemos.base.stats import wilson
from mnemos.bench.datasets import data_folder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.sensitive_texts import NAMES, samples
from mnemos.bench.store_texts import questions, recombined, sentences
from mnemos.kernel.exchange import diff, export_archive, import_archive, sync, verify_archive
from mnemos.kernel.exchange.transfer import export_jsonl, import_jsonl
from mnemos.models.hashed import HashedEmbedder
from mnemos.text.detectors.folding import Folded
from mnemos.text.sensitivity import Redactor

CUBES, QUICK_CUBES = 20_000, 2_000
FLIPS, QUICK_FLIPS = 4_000, 1_000
FLIPPED_CUBES = 40
ASKED = 50
PLANTED_EACH = 40
SHORTEST_LEAK = 8
Table = dict[str, dict[str, float | int]]


def run(benchmark: Benchmark, options: Options) -> Result:
    """Rates of export, check and import beside those of JSON lines, on the same store, with and without its vectors."""
    rng = options.rng()
    pool = sentences(data_folder(options.data))
    texts = recombined(pool, QUICK_CUBES if options.quick else CUBES, rng)
    with Seconds() as whole, tempfile.TemporaryDirectory(prefix="mnemos-exchange-") as name:
        folder = Path(name)
        options.say("writing and reading")
        rated, table, alike = rates(folder, texts, questions(pool, ASKED, rng))
        options.say("flipping bytes")
        noticed = flips(folder, texts[:FLIPPED_CUBES], QUICK_FLIPS if options.quick else FLIPS, rng)
        options.say("looking for what was redacted")
        leaked, looked_for = leaks(folder, rng)
    checks = [
        Check.of("flipped bytes noticed", noticed, 1.0),
        Check.of("questions with the same ten answers after export and import, over both back ends", alike, 1.0),
        Check("redacted strings found in an archive", float(leaked), 0.0, at_least=False, n=looked_for),
        *rated,
    ]
    notes = [
        "The store: sentences of novels and speeches, recombined, one of ten corrected once, a document of parts, rules and a frozen memory.",
        "Flips: one bit of one byte, anywhere in the file, the zip's own headers included; no key is used.",
        "JSON lines carry no vectors: an import embeds anew (here with the hashed embedder, the fastest there is) or takes them over.",
    ]
    return Result.of(
        benchmark.name,
        benchmark.paper,
        benchmark.claim,
        checks,
        seconds=whole.seconds,
        machine=machine().as_dict(),
        details={"tables": {"rates": table}, "notes": notes},
    )


def furnish(memory: mnemos.Mnemos, texts: Sequence[str]) -> None:
    """A store with many memories and some of what else there can be."""
    space = memory.space("bench", acl={"read": ["bob"]})
    fields = [{"author": f"author {i % 7}", "tags": [f"tag {i % 13}"], "metadata": {"n": i}} for i in range(len(texts))]
    cubes = space.add_many([{"text": text, **more} for text, more in zip(texts, fields, strict=True)])
    with memory.transaction():
        for cube in cubes[::10]:
            space.update(cube.id, cube.text + " Corrected.")
    space.freeze(cubes[0].id)
    space.add("\n\n".join(texts[:40]), type="document", derived_from=[cubes[1].id])


def rates(folder: Path, texts: Sequence[str], asked: Sequence[str]) -> tuple[list[Check], Table, Any]:
    """(checks of the rates, table of them, on how many questions the copies answer as the original does)."""
    embedder = HashedEmbedder()
    key = SigningKey.generate()
    table: Table = {}

    def timed(what: str, count: int, act: Callable[[], object], size: Path | None = None) -> float:
        with Seconds() as took:
            act()
        table[what] = {"entries/s": count / took.seconds, "seconds": took.seconds, "MB": disk_bytes(size) / 1e6 if size else 0.0}
        return count / took.seconds

    with mnemos.open(folder / "store.db", embedder=embedder) as memory:
        furnish(memory, texts)
        count = memory.position()
        lines, zipped, lean = folder / "all.jsonl", folder / "all.zip", folder / "lean.zip"
        plain_out = timed("JSON lines: export", count, lambda: export_jsonl(memory, lines), lines)
        out = timed("archive: export, signed", count, lambda: export_archive(memory, zipped, sign_with=key), zipped)
        timed("archive without vectors: export", count, lambda: export_archive(memory, lean, vectors=False), lean)
        verify = timed("archive: verify", count, lambda: verify_archive(zipped, key.public), zipped)
        with mnemos.open(folder / "plain.db", embedder=HashedEmbedder()) as other:
            plain_in = timed("JSON lines: import", count, lambda: import_jsonl(other, lines))
        with mnemos.open(folder / "copy.db", embedder=HashedEmbedder()) as copy, mnemos.open(":memory:", embedder=HashedEmbedder()) as in_memory:
            into = timed("archive: verify and import", count, lambda: import_archive(copy, zipped, public_key=key.public))
            timed("archive: verify and import, in memory", count, lambda: import_archive(in_memory, zipped))
            timed("sync of equal stores", count, lambda: sync(memory, copy))
            same = not diff(memory, copy) and not diff(copy, in_memory)
            answers = [[_answers(one, text) for text in asked] for one in (memory, copy, in_memory)]
    equal = sum(same and a == b == c for a, b, c in zip(*answers, strict=True))
    checks = [
        Check("import ÷ import of JSON lines, entries/s", into / plain_in, 1.0, baseline=1.0, n=count),
        Check("export ÷ export of JSON lines, entries/s", out / plain_out, None, baseline=1.0, n=count),
        Check("verify ÷ import, entries/s", verify / into, None, n=count),
    ]
    return checks, table, wilson(equal, len(asked))


def _answers(memory: mnemos.Mnemos, text: str) -> list[tuple[str, float]]:
    return [(hit.cube.id, hit.score) for hit in memory.space("bench").search(text, k=10)]


def flips(folder: Path, texts: Sequence[str], count: int, rng: np.random.Generator) -> Any:
    """The share of flipped bits that `verify_archive` notices, with its interval."""
    path, flipped = folder / "small.zip", folder / "flipped.zip"
    with mnemos.open(":memory:", embedder=HashedEmbedder(dimensions=32)) as memory:
        furnish(memory, texts)
        export_archive(memory, path, sign_with=SigningKey.generate())
    data = path.read_bytes()
    noticed = 0
    for place, bit in zip(rng.integers(0, len(data), count).tolist(), rng.integers(0, 8, count).tolist(), strict=True):
        flipped.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        noticed += not verify_archive(flipped)
    return wilson(noticed, count)


def leaks(folder: Path, rng: np.random.Generator) -> tuple[int, int]:
    """(redacted strings that stand somewhere in an archive, how many were looked for): each is planted in a text and in other fields."""
    redactor = Redactor(names=NAMES)
    strings: set[str] = set()
    with mnemos.open(":memory:", embedder="none") as memory:
        space = memory.space("planted")
        for sample in samples(rng, PLANTED_EACH):
            found = [string for _, string in redactor.redacted(sample.text)[1]]
            strings.update(string for string in found if len(string) >= SHORTEST_LEAK)
            space.add(sample.text, tags=found[:3], author=found[0][:200] if found else None, metadata={"note": found, "n": 1})
        export_archive(memory, folder / "redacted", redact=redactor)
    written = Folded("".join(path.read_text(encoding="utf-8") for path in (folder / "redacted").rglob("*.json*"))).lower
    return sum(Folded(string).lower in written for string in strings), len(strings)
