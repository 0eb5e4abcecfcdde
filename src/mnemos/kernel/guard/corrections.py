"""Who may correct whom, and how a majority among claims is counted: an update that contradicts five stale records is no poison."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mnemos.kernel.guard.actions import Risk
from mnemos.kernel.guard.claims import Flags
from mnemos.kernel.guard.paths import Path
from mnemos.kernel.guard.records import Candidate
from mnemos.kernel.guard.settings import Settings


def corrections(
    records: Sequence[Candidate], trusts: Sequence[float], paths: Sequence[Path], exclude: Flags, standing: Collection[int], settings: Settings
) -> list[tuple[int, int]]:
    """Pairs (who corrects, who is corrected) of indices.

    A record corrects those that it says it supersedes, where it is trusted at least as far as they are and its labels can be believed or name
    the same author; and those that its claim excludes, where it is newer and either trusted further or by the same author. What does more
    than read is not corrected by a claim of the same author alone: there, being corrected must be said.
    """
    index = {record.id: i for i, record in enumerate(records)}
    found: list[tuple[int, int]] = []
    for i in standing:
        for id in records[i].supersedes:
            j = index.get(id)
            if j is None or j == i or j not in standing or trusts[i] < trusts[j]:
                continue
            if trusts[i] >= settings.attested_trust or _one_author(records[i], records[j]):
                found.append((i, j))
        for j in standing:
            if not exclude[i, j] or not _newer(records[i], records[j]):
                continue
            own = _one_author(records[i], records[j]) and trusts[i] >= trusts[j]
            acts = any(path.action is not None and path.action.risk > Risk.READ_ONLY for path in (paths[i], paths[j]))
            if trusts[i] > trusts[j] or (own and not acts):
                found.append((i, j))
    return found


def _one_author(a: Candidate, b: Candidate) -> bool:
    return a.author is not None and a.author == b.author


def _newer(a: Candidate, b: Candidate) -> bool:
    return a.created_at is not None and b.created_at is not None and a.created_at > b.created_at


def outvoted(
    standing: Sequence[int], votes: Mapping[int, float], witness: Sequence[int], exclude: Flags, agree: Flags, settings: Settings
) -> dict[int, bool]:
    """For each record whose claim another excludes: whether a majority of independent records is against it.

    Of two that exclude each other, each has the votes of those that agree with it and exclude the other.
    """
    out: dict[int, bool] = {}
    for i in standing:
        for j in standing:
            if not exclude[i, j]:
                continue
            ours = [m for m in standing if m == i or (agree[m, i] and exclude[m, j])]
            theirs = [m for m in standing if m == j or (agree[m, j] and exclude[m, i])]
            against, whole = sum(votes[m] for m in theirs), sum(votes[m] for m in (*ours, *theirs))
            sources = len({witness[m] for m in theirs})
            out[i] = out.get(i, False) or (against > settings.quorum * whole and sources >= settings.independent_sources)
    return out
