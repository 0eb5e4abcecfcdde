"""Runs and relevance judgements in the form of TREC, so that other evaluators can check ours.

A run line is `query Q0 document rank score tag`, a judgement line `query 0 document relevance`. Names hold no white space: it is written as
`%20` and the like, and read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, unquote

from mnemos.base.errors import Invalid

Run = dict[str, list[tuple[str, float]]]
"""Query → (document, score), best first."""
Judgements = dict[str, dict[str, int]]
"""Query → document → relevance, 0 or more."""

_SAFE = "!#$&'()*+,/:;=?@[]-._~"


def write_run(run: Mapping[str, Sequence[tuple[str, float]]], tag: str) -> str:
    """The run as text; ranks from 1, in the order given. Raises `Invalid` where scores rise along a ranking: evaluators sort by score."""
    lines = []
    for query, ranking in run.items():
        for rank, (document, score) in enumerate(ranking, 1):
            if rank > 1 and score > ranking[rank - 2][1]:
                raise Invalid(f"run: the scores of query {query!r} rise at rank {rank}; give them best first")
            lines.append(f"{_name(query)} Q0 {_name(document)} {rank} {score!r} {_name(tag)}")
    return "\n".join(lines) + ("\n" if lines else "")


def read_run(text: str) -> Run:
    """The run that `text` holds, each query's documents by falling score, equal ones by rank. Raises `Invalid`, naming the line."""
    rows: dict[str, list[tuple[float, int, str]]] = {}
    for number, fields in _fields(text, 6):
        try:
            rows.setdefault(unquote(fields[0]), []).append((-float(fields[4]), int(fields[3]), unquote(fields[2])))
        except ValueError:
            raise Invalid(f"run, line {number}: expected 'query Q0 document rank score tag', with a number as rank and score") from None
    return {query: [(document, -score) for score, _, document in sorted(ranking)] for query, ranking in rows.items()}


def write_judgements(judgements: Mapping[str, Mapping[str, int] | Iterable[str]]) -> str:
    """The judgements as text. A plain list of documents means that each is relevant (1)."""
    lines = []
    for query, documents in judgements.items():
        graded = documents if isinstance(documents, Mapping) else dict.fromkeys(sorted(documents), 1)
        lines += [f"{_name(query)} 0 {_name(document)} {grade}" for document, grade in graded.items()]
    return "\n".join(lines) + ("\n" if lines else "")


def read_judgements(text: str) -> Judgements:
    """The judgements that `text` holds. Raises `Invalid`, naming the line."""
    out: Judgements = {}
    for number, fields in _fields(text, 4):
        try:
            out.setdefault(unquote(fields[0]), {})[unquote(fields[2])] = int(fields[3])
        except ValueError:
            raise Invalid(f"judgements, line {number}: expected 'query 0 document relevance', with a whole number as relevance") from None
    return out


def _fields(text: str, count: int) -> Iterable[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            fields = line.split()
            if len(fields) != count:
                raise Invalid(f"line {number}: has {len(fields)} fields, not {count}; names hold no white space")
            yield number, fields


def _name(name: str) -> str:
    return quote(name, safe=_SAFE)
