"""Upkeep of thoughts: planted contradictions and mergeable pairs among what has to stay, and what a second run changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.cube import MemCube
from mnemos.base.stats import wilson
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.fact_families import PARTS
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.bench.updating import FIRST_DAY, life
from mnemos.text.thoughts.hashing import DEFAULTS, HashedIndex

LIVES, QUICK = 50, 6
REMOVED, FALSE, PRECISE = 0.95, 0.01, 0.98
_THINGS = ("jazz", "tea", "chess", "opera", "sushi", "tango", "rugby", "poetry", "rain", "cheese", "hiking", "pottery")
_TONGUES = ("French", "Polish", "Greek", "Hindi", "Korean", "Welsh", "Danish", "Farsi")
_PLAYED = ("the cello", "the piano", "the drums", "the flute", "the harp", "the oboe")
MERGEABLE = (("I like {v}.", _THINGS), ("I love {v}.", _THINGS), ("I speak {v}.", _TONGUES), ("I play {v}.", _PLAYED), ("I enjoy {v}.", _THINGS))
NOTE = (
    "Upkeep: 50 people with ten facts each that change (of the families of `mnemos bench updating`; half of these were at hand while statements "
    "were learnt to be compared), ten pairs each that one sentence says, fifteen facts that stay, and ten statements of a friend about the same "
    "attributes. A false removal is a thought that holds in truth and was superseded or forgotten. Apart: pairs that share no bucket of one table "
    "among all thoughts of the run, hashed."
)
Said = tuple[str, str]
"""Who said what."""


@dataclass
class _Told:
    """What was said in one life, by what has to become of it."""

    older: list[Said]
    newer: list[Said]
    part: list[str]
    pairs: list[tuple[Said, Said]]
    stay: list[Said]


def measure(options: Options, embedder: CountingEmbedder, folder: Path) -> tuple[list[Check], dict[str, Any]]:
    """What is removed, what is removed though it holds, what is merged, and what a second run does."""
    rng = options.rng()
    removed, wanted, counts = Counter[str](), Counter[str](), Counter[str]()
    sentences: dict[str, None] = {}
    outcomes: list[tuple[str, str, bool]] = []
    lives = QUICK if options.quick else LIVES
    with mnemos.open(str(folder / "upkeep.db"), embedder=embedder) as memory:
        for number in range(lives):
            options.say(f"upkeep: person {number + 1}")
            told, records = _life(number, rng)
            space = memory.space(f"person {number}", strategy="thoughts")
            space.add_many(records)
            space.consolidate()
            position = memory.position()
            again = space.consolidate()
            counts["changed again"] += again.added + again.revised + again.retired + (memory.position() != position)
            thoughts = space.list(types=["thought"], limit=5000)
            of = _by_source(thoughts, space.list(types=["fact"], limit=5000))
            counts["drawn"] += len(thoughts)
            for older, newer, part in zip(told.older, told.newer, told.part, strict=True):
                wanted[part] += 1
                gone = all(_over(cube) for cube in of.get(older, ()))  # where no thought was drawn, none misleads
                removed[part] += gone
                if of.get(older) and of.get(newer):
                    outcomes.append((of[older][0].text or "", of[newer][0].text or "", gone))
            for said in told.stay:
                counts["stay"] += len(of.get(said, ()))
                counts["false"] += sum(_over(cube) for cube in of.get(said, ()))
            for cube in thoughts:
                if cube.metadata.get("merges"):
                    counts["merges"] += 1
                    counts["right"] += len({(author, *text.split()[:2]) for (author, text), cubes in of.items() if cube in cubes}) == 1
            counts["joined"] += sum(any(cube.metadata["state"] == "merged" for cube in of.get(one, ())) for one, _ in told.pairs)
            sentences |= dict.fromkeys(cube.text or "" for cube in thoughts)
    apart = _apart(list(sentences), outcomes, embedder)
    total = sum(wanted.values())
    rows = {part: {"n": wanted[part], "removed": removed[part] / wanted[part]} for part in PARTS if wanted[part]}
    checks = [
        Check.of("contradicted thoughts removed", wilson(sum(removed.values()), total), REMOVED),
        Check.of("thoughts removed that hold", wilson(counts["false"], counts["stay"]), FALSE, at_least=False),
        Check.of("merges of what belongs together", wilson(counts["right"], counts["merges"]), PRECISE),
        Check.of("pairs that belong together merged", wilson(counts["joined"], 10 * lives), None),
        Check("changes of a second run", counts["changed again"], 0, at_least=False, n=counts["drawn"]),
        Check.of("contradicted thoughts removed, of those that hash apart", wilson(sum(apart), len(apart)), None),
    ]
    return checks, {"Contradicted thoughts removed, by part of the families": rows}


def _over(cube: MemCube) -> bool:
    return cube.metadata["state"] in ("superseded", "forgotten")


def _life(number: int, rng: np.random.Generator) -> tuple[_Told, list[dict[str, Any]]]:
    """One person's facts as records in no special order, and what has to become of each."""
    one = life(number, rng)
    person = one.pairs[0].person
    records: list[dict[str, Any]] = []
    for pair in one.pairs:
        records += [{"text": pair.older, "author": person, "event_at": pair.told}, {"text": pair.newer, "author": person, "event_at": pair.changed}]
    records += one.stable
    pairs: list[tuple[Said, Said]] = []
    for frame in rng.permutation(len(MERGEABLE)).tolist():
        says, values = MERGEABLE[frame]
        chosen = [says.format(v=values[i]) for i in rng.choice(len(values), 4, replace=False)]
        pairs += [((person, chosen[0]), (person, chosen[1])), ((person, chosen[2]), (person, chosen[3]))]
        records += [{"text": text, "author": person, "event_at": FIRST_DAY + timedelta(hours=float(rng.uniform(0, 700)))} for text in chosen]
    records = [records[i] for i in rng.permutation(len(records)).tolist()]
    stay = [(str(record["author"]), str(record["text"])) for record in one.stable]
    older, newer = [(person, pair.older) for pair in one.pairs], [(person, pair.newer) for pair in one.pairs]
    return _Told(older, newer, [pair.family.part for pair in one.pairs], pairs, stay), [{**record, "type": "fact"} for record in records]


def _by_source(thoughts: Iterable[MemCube], sources: Iterable[MemCube]) -> dict[Said, list[MemCube]]:
    """Who said what → the thoughts that were drawn of it."""
    said = {str(cube.id): (cube.author or "", cube.text or "") for cube in sources}
    out: dict[Said, list[MemCube]] = {}
    for cube in thoughts:
        for link in cube.derived_from:
            if str(link.id) in said:
                out.setdefault(said[str(link.id)], []).append(cube)
    return out


def _apart(sentences: list[str], outcomes: list[tuple[str, str, bool]], embedder: CountingEmbedder) -> list[bool]:
    """Whether each contradiction was removed of which the two thoughts share no bucket of the first table."""
    if not sentences:
        return []
    vectors = embedder.embed(sentences)
    index = HashedIndex(vectors.shape[1], parameters=replace(DEFAULTS, exact_below=1))
    index.add(np.arange(len(sentences)), vectors)
    key = dict(zip(sentences, index.keys(vectors)[:, 0].tolist(), strict=True))
    return [gone for older, newer, gone in outcomes if key.get(older) != key.get(newer)]
