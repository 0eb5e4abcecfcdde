"""The updating and summary benchmarks: their worlds are what they say, and their readers read."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import mnemos
from mnemos.bench import updating, updating_histories, updating_speed
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.fact_families import CONTRASTS, FAMILIES, PARTS, filled, stated
from mnemos.bench.registry import Options
from mnemos.bench.summary import QMSUM_BUDGET, choices, facts_told, msc, qmsum, words_recalled
from mnemos.bench.updating import CHANGES, OTHERS, STABLE, Pair, life
from mnemos.bench.updating_relations import generated
from mnemos.models.hashed import HashedEmbedder
from mnemos.text.summary import Passage
from mnemos.text.tokens import count_tokens


def test_every_family_can_be_stated_and_names_what_it_asks() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert {family.part for family in FAMILIES} == {contrast.part for contrast in CONTRASTS} == set(PARTS)
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        assert len(set(family.values)) == len(family.values) >= 2
        older, newer, value = stated(family, rng)
        for text in (older, newer, family.question.format(name="Ada", v=value)):
            assert "{" not in text
        if family.kind == "value":
            assert value.lower() in newer.lower()
    assert filled("{V} was {o}, is {v}.", "tea", "coffee") == "Tea was coffee, is tea."


def test_a_life_is_reproducible_and_its_changes_come_later() -> None:
    one, again, other = (life(3, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one == again
    assert one != other
    assert len(one.pairs) == CHANGES == len({pair.family.name for pair in one.pairs})
    assert len(one.stable) == STABLE + OTHERS
    for pair in one.pairs:
        gap = pair.changed - pair.told
        assert timedelta(days=1) <= gap <= timedelta(days=5 if pair.family.soon else 300)
    assert {record["author"] for record in one.stable} == {one.pairs[0].person, "Nils"}


def test_the_reader_takes_the_first_choice_of_the_person_asked(tmp_path: Path) -> None:
    family = next(family for family in FAMILIES if family.name == "home")
    pair = Pair("Ada", family, "I live in Lisbon.", "I moved to Berlin.", "Berlin", updating.FIRST_DAY, updating.FIRST_DAY + timedelta(days=30))
    with mnemos.open(str(tmp_path / "m.db"), embedder="hashed") as memory:
        space = memory.space("ada")
        friend, other, right = (space.add(text, author=author) for text, author in (
            ("I live in Oslo.", "Kira"), ("I live well.", "Ada"), ("I live in Berlin.", "Ada"),
        ))  # fmt: skip
        hits = {hit.cube.id: hit for hit in space.search("Where does Ada live?", k=10)}
    order = [hits[cube.id] for cube in (friend, other, right)]
    assert updating._answer(pair, order) == right.id
    assert updating._answer(pair, order[:2]) is None


def test_generated_pairs_are_told_apart_without_a_model() -> None:
    found = generated(np.random.default_rng(0), HashedEmbedder(dimensions=64))
    table = found.table
    assert table["made"]["found"] >= 0.9
    assert table["all"]["precision"] >= 0.99
    assert table["all"]["pairs"] == sum(table[part]["pairs"] for part in PARTS)


def test_every_way_to_fill_a_budget_keeps_it() -> None:
    passages = [Passage(f"Sentence number {i} speaks of apples, and of item {i * 7}.", "ab"[i % 2]) for i in range(60)]
    for name, choice in choices(np.random.default_rng(0)).items():
        text = choice.fill(passages, 80)
        assert 40 <= count_tokens(text) <= 80, name


def test_noted_facts_and_references_are_read(data: Path) -> None:
    rng = np.random.default_rng(0)
    dialogue, meeting = next(msc(data)), next(qmsum(data))
    assert dialogue.facts
    assert len(meeting.facts) == 1
    for choice in choices(rng).values():
        assert facts_told(dialogue, choice, 10**6) > 0.5
        assert 0.0 <= words_recalled(meeting, choice, QMSUM_BUDGET) <= 1.0


def test_what_a_large_space_costs_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating_speed, "QUICK_MEMORIES", 300)
    found = updating_speed.speed(Options(quick=True), tmp_path)
    assert found.table["newest 100"]["memories"] == 300
    assert found.checks[0].measured > 0


def test_histories_are_asked_before_and_after_tending(tmp_path: Path, data: Path) -> None:
    embedder = CountingEmbedder(HashedEmbedder(dimensions=64))
    found = updating_histories.effect(Options(quick=True, data=data), embedder, tmp_path)
    plain, tended = found.table["plain"], found.table["tended"]
    assert plain["n"] == tended["n"] > 0
    assert plain["recall@10"] == tended["recall@10"]  # turns are a record, and are left as they are
    assert tended["superseded or merged"] == 0
