"""Texts that a language model reads ahead, in idle time, because a conversation is likely to come to them next (MemOS, arXiv 2505.22101, section 4).

Each caller of a space has a line of its own: a way over scenes, found in what it takes. A scene is a cluster of texts by their vectors, or a text by
itself where there are none. When a turn has ended, what is foreseen waits as the job "ahead", beneath all others: it outlives a kill, runs where the
model is, acts for the caller, and each text is weighed once more when its turn has come. What one line has seen warms nothing for another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import orjson

from mnemos.base.errors import Conflict, Invalid, NotFound, PermissionDenied, QuotaExceeded, StoreFull
from mnemos.base.ids import parse_id
from mnemos.kernel.consolidation import Uncounted
from mnemos.kernel.kv.shapes import Shape
from mnemos.kernel.kv.tier import TIER, KVTier, key_of, line_of, parts_of_key, tier_of
from mnemos.kernel.scheduling import Action, Cost
from mnemos.kernel.work.jobs import MOST_PAYLOAD

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.work.running import Running

KIND = "ahead"
PRIORITY = -100
"""Of the job, below all that is asked for."""
_FRESH = 3_600_000_000
"""Microseconds after which what was foreseen is not built any more: nobody goes on there."""
_MOST = 64
"""Texts that wait for one line."""


@contextlib.contextmanager
def turn(space: Space, tier: KVTier, sources: Sequence[UUID]) -> Iterator[None]:
    """A caller goes on with these texts: what it uses meanwhile is used in their scene, and nothing is read ahead meanwhile. When it is over, what is
    likely to be next waits to be. A look at the past, and what is read in a transaction, tell nothing."""
    if space.position is not None or space.system.store.inside or not sources:
        yield
        return
    with tier.asked(line_of(space), space.system.clock()):
        space.system.scheduler.at(TIER, _scene(space, tier, sources), line_of(space))
        yield
    with contextlib.suppress(StoreFull):  # to look ahead is a help, and no more
        foresee(space, tier)


def _scene(space: Space, tier: KVTier, sources: Sequence[UUID]) -> int | str:
    """Where these texts are: the scene of the mean of their vectors; that of the first one by itself where they have none."""
    with space.system.snapshot() as snapshot:
        seqs = {standing.seq: cube for cube in sources if (standing := snapshot.standing(cube)) is not None}
        rows = snapshot.vectors_at(space.num, np.array(sorted(seqs), dtype=np.int64))
        own = {seq: value for seq, number, value in rows if space.system.embedding.is_own(number, snapshot)}
    if not own:
        return str(sources[0])
    mean = np.mean([np.frombuffer(value, dtype="<f4") for value in own.values()], axis=0)
    return tier.topics(line_of(space)).of(mean, [seqs[seq] for seq in own])


def foresee(space: Space, tier: KVTier) -> int | None:
    """Lets what the caller's line is likely to need next wait to be read, in place of what waited for it; gives the number of the job. None where
    nothing is worth it, all of it is kept already, or the caller may not write."""
    system, settings = space.system, space.system.kv_ahead
    model = system.language_model
    if settings is None or not settings.share or model is None:
        return None
    line, scheduler = line_of(space), system.scheduler
    texts = []
    for key, size, uses in scheduler.foreseen(TIER, line, settings)[:_MOST]:
        id, digest = parts_of_key(str(key))
        cost, policy = scheduler.cost(TIER, size), tier.shapes.get(digest)
        if cost is not None and policy is not None:
            texts.append({"id": id, "bytes": size, "uses": uses, "policy": policy, "cost": [cost.build, cost.without, cost.within],
                          "held": scheduler.holds(TIER, key)})  # fmt: skip
    if all(text["held"] for text in texts) or not space.kv.may_write():
        return None
    now = system.clock()
    mine = {"space": space.name, "principal": system.principal, "at": now, "texts": texts}
    with system.writing() as transaction:
        rows = [row for row in transaction.jobs(("waiting", "running"), (KIND,)) if row.key == model.fingerprint]
        others = [each for row in rows for each in row.payload["lines"]
                  if (each["space"], each["principal"]) != (mine["space"], mine["principal"]) and now - each["at"] < _FRESH]  # fmt: skip
        while others and len(orjson.dumps({"lines": [mine, *others]})) > MOST_PAYLOAD:
            others.pop()
        at = now + int(settings.pause * 1e6)
        return transaction.enqueue(KIND, model.fingerprint, {"lines": [mine, *others]}, run_at=at, priority=PRIORITY, every=None, now=now)


def ahead_job(system: Mnemos, job: Running) -> None:
    """Reads what is foreseen, text by text, each when nobody asks, until its line has moved on. What has gone meanwhile, is out of use, or may not be
    read or kept any more by the caller, is left out."""
    if system.kv_ahead is None or system.language_model is None:
        return
    tier = tier_of(system)
    for mine in job.payload["lines"]:
        with contextlib.suppress(NotFound):
            space = Uncounted(system.as_principal(mine["principal"]).existing_space(mine["space"]))
            for text in mine["texts"]:
                while not tier.quiet(1.0):
                    job.progress(0)
                job.progress(0)
                if system.clock() - mine["at"] > _FRESH or tier.latest(line_of(space)) > mine["at"]:
                    break
                with contextlib.suppress(NotFound, Conflict, Invalid, PermissionDenied, QuotaExceeded, StoreFull):
                    _read_ahead(space, tier, text)


def _read_ahead(space: Space, tier: KVTier, text: dict[str, Any]) -> None:
    """Reads one text where it still pays and finds room that nothing hotter has. Raises what `KVShelf.warm` does."""
    from mnemos.kernel.kv.shelf import KVShelf  # which has turns, too

    system, settings, size = space.system, space.system.kv_ahead, int(text["bytes"])
    shelf, source, shape = KVShelf(space), parse_id(text["id"]), Shape.of(text["policy"]).kept()
    assert settings is not None
    shelf.readable(source)
    build, without, within = text["cost"]
    key, known, line = key_of(source, shape.digest), Cost(build, without, within, size), line_of(space)
    with tier.building(system):
        wanted = system.scheduler.offer(TIER, key, size, float(text["uses"]), line=line, settings=settings, known=known)
        if wanted.action is not Action.DECLINE:  # also where it is held, as far as the scheduler knows: what is there may be stale
            shelf.build(source, size, shape)
    tier.let_go(system)
