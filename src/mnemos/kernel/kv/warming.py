"""The job "warm": texts that a language model is to read when there is time, for whoever asked, where that model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from mnemos.base.errors import Conflict, Invalid, NotFound, PermissionDenied, QuotaExceeded
from mnemos.kernel.consolidation import Uncounted
from mnemos.kernel.kv.shapes import FULL_NAME
from mnemos.kernel.kv.shelf import KVShelf
from mnemos.kernel.work.jobs import MOST_PAYLOAD

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.work.running import Running

KIND = "warm"


def warm_later(space: Space, fingerprint: str, ids: Sequence[UUID], uses: int | None, policy: str) -> int:
    """Lets texts wait beside those that wait already for this model, and gives the number of the job. `policy`: the form in which they are to be
    kept. Raises `Conflict` where too many wait."""
    system = space.system
    asked = {"space": space.name, "principal": system.principal, "ids": [str(id) for id in ids], "uses": uses, "policy": policy}
    with system.writing() as transaction:
        open_ones = (row for row in transaction.jobs(("waiting", "running"), (KIND,)) if row.key == fingerprint)
        waiting: list[dict[str, Any]] = next((row.payload["asked"] for row in open_ones), [])
        payload = {"asked": waiting if asked in waiting else [*waiting, asked]}
        if len(orjson.dumps(payload)) > MOST_PAYLOAD:
            raise Conflict("too many texts wait to be read already: ask again when some have been")
        now = system.clock()
        return transaction.enqueue(KIND, fingerprint, payload, run_at=now, priority=0, every=None, now=now)


def warm_job(system: Mnemos, job: Running) -> None:
    """Reads what waits. What has gone meanwhile, is out of use, has no room, or may not be read or kept any more by who asked, is left out."""
    texts = [(asked, id) for asked in job.payload["asked"] for id in asked["ids"]]
    for done, (asked, id) in enumerate(texts, 1):
        try:
            space = system.as_principal(asked["principal"]).existing_space(asked["space"])
            KVShelf(Uncounted(space)).warm(id, uses=asked["uses"], policy=asked.get("policy", FULL_NAME))
        except (NotFound, Conflict, Invalid, PermissionDenied, QuotaExceeded):
            continue
        job.progress(done, len(texts))
