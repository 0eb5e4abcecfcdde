"""Code retrieval and planted pairs in one context (task Mix.RepoQA+KV)."""

from __future__ import annotations

from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.functions import repository
from mnemos.bench.scbench.page import Counter, too_short
from mnemos.bench.scbench.records import Turn

IN_A_TABLE = 4
"""Pairs of a table: so many that a key's line does not tell its value."""
TABLES = 25
"""Tables at most: a hundred pairs, as published."""
SHARE = 3
"""Of the context, one in so many tokens is planted pairs, at most."""


def repoqa_kv(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Questions for functions and for the values of keys, in turn."""
    lookups = turns // 2
    cost = count(_table([(draws.identifier(), draws.identifier()) for _ in range(IN_A_TABLE)], 0))
    n = max(lookups, min(TABLES, length // (SHARE * cost)))
    if n * cost > length:
        raise too_short("repoqa_kv", length, f"{n} tables of pairs need {n * cost} tokens")
    pairs = [[(draws.identifier(), draws.identifier()) for _ in range(IN_A_TABLE)] for _ in range(n)]
    tables = tuple(_table(each, number) for number, each in enumerate(pairs))
    context, asked = repository("repoqa_kv", length, turns - lookups, draws, count, (tables[:lookups], tables[lookups:]))
    found = []
    for each in pairs[:lookups]:
        key, value = draws.choice(each)
        at = context.index(piece := f'"{key}": "{value}"')
        found.append(Turn(f'What is the value of the key "{key}"? Answer with the value only.', value, task="kv", evidence=((at, at + len(piece)),)))
    made = [turn for pair in zip(asked, found, strict=False) for turn in pair] + list(asked[len(found) :])
    return context, tuple(made)


def _table(pairs: list[tuple[str, str]], number: int) -> str:
    inside = ", ".join(f'"{key}": "{value}"' for key, value in pairs)
    return f"TABLE_{number} = {{{inside}}}\n"
