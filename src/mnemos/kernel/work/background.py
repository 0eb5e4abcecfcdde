"""What goes on in the background of an open store: workers, subscriptions, and the kinds of jobs that every store can run."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakSet

from mnemos.base.errors import Invalid
from mnemos.base.signing import SigningKey
from mnemos.kernel.stream.subscriptions import Subscription
from mnemos.kernel.work.running import Kind, Running
from mnemos.kernel.work.workers import Workers

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos


def _embed(system: Mnemos, job: Running) -> None:
    system.embedding.work(system.store, job.progress)


def _expire(system: Mnemos, job: Running) -> None:
    system.expire()


def _tend(system: Mnemos, job: Running) -> None:
    system.tend()


def _rederive(system: Mnemos, job: Running) -> None:
    from mnemos.kernel.transforms.transform import rederive_stale  # only where it is needed: it reads word lists

    done = 0
    while changed := sum(outcome.changed for outcome in rederive_stale(system)):  # what is declined stays stale, and ends it
        done += changed
        job.progress(done)


def _compact(system: Mnemos, job: Running) -> None:
    system.store.compact()


def _index(system: Mnemos, job: Running) -> None:
    system.preload()


def _vectors(system: Mnemos, job: Running) -> None:
    system.vector_files.work(job.progress)


def _own_files(system: Mnemos) -> str | None:
    return "" if system.vector_files.may_work() else None


def _reseal(system: Mnemos, job: Running) -> None:
    system.reseal(job.progress)


def _checkpoint(system: Mnemos, job: Running) -> None:
    from mnemos.kernel.audit.checkpoints import checkpoint  # only where it is needed: signing is an extra

    signer = system.work.signer
    if signer is None:
        raise Invalid("checkpoint: this process holds no signing key any more; give it one with `mem.jobs.sign_checkpoints(key)`")
    checkpoint(system, signer, repeat=False)


def _own_signer(system: Mnemos) -> str | None:
    return None if system.work.signer is None else system.work.signer.id


def _consolidate(system: Mnemos, job: Running) -> None:
    from mnemos.kernel.consolidation import consolidate_job

    consolidate_job(system, job)


def _warm(system: Mnemos, job: Running) -> None:
    from mnemos.kernel.kv.warming import warm_job  # only where it is needed

    warm_job(system, job)


def _ahead(system: Mnemos, job: Running) -> None:
    from mnemos.kernel.kv.ahead import ahead_job  # only where it is needed

    ahead_job(system, job)


def _own_model(system: Mnemos) -> str | None:
    return None if system.language_model is None else system.language_model.fingerprint


def _own_embedder(system: Mnemos) -> str | None:
    return system.embedding.fingerprint


def _program(system: Mnemos, job: Running) -> None:
    from mnemos.kernel.program import run_job  # only where it is needed

    run_job(system, job)


KINDS: dict[str, Kind] = {
    "embedding": Kind(_embed, key=_own_embedder),
    "expire": Kind(_expire),
    "tend": Kind(_tend),
    "rederive": Kind(_rederive),
    "compact": Kind(_compact),
    "index": Kind(_index),
    "vectors": Kind(_vectors, key=_own_files),
    "reseal": Kind(_reseal),
    "warm": Kind(_warm, key=_own_model, backoff_seconds=10.0),
    "ahead": Kind(_ahead, key=_own_model, backoff_seconds=10.0),
    "consolidate": Kind(_consolidate, backoff_seconds=10.0),
    "checkpoint": Kind(_checkpoint, key=_own_signer),
    "program": Kind(_program),
}
"""The kinds of jobs that every open store can run. A new one is a function and a line here; a program adds its own with `Jobs.register`."""


class Work:
    """What goes on in the background of an open store, shared by all its views: the kinds of jobs that it can run, workers, subscriptions.

    `signer`: the key that this process signs checkpoints with, where it holds one. It is never written into the store.
    """

    def __init__(self) -> None:
        self.kinds = dict(KINDS)
        self.signer: SigningKey | None = None
        self._lock = threading.Lock()
        self._pools: list[Workers] = []
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._closed = False

    def keep(self, subscription: Subscription) -> Subscription:
        """Close a subscription with the store."""
        with self._lock:
            self._subscriptions.add(subscription)
        return subscription

    def start(self, pool: Workers) -> Workers:
        """Start workers; they are stopped with the store."""
        with self._lock:
            self._pools = [each for each in self._pools if each.alive]
            if not self._closed:
                self._pools.append(pool)
                pool.start()
        return pool

    def stop(self) -> None:
        """Close all subscriptions; stop all workers, each after the step that it is at."""
        with self._lock:
            self._closed = True
            pools, self._pools = self._pools, []
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.close()
        for pool in pools:
            pool.stop()


def start_embedding(system: Mnemos, work: Work) -> None:
    """Make the vectors that an open store lacks, in the background, and let `system.embedding` wait for it."""
    kinds: Mapping[str, Kind] = {"embedding": work.kinds["embedding"]}

    def ask() -> None:
        own, now = system.embedding.fingerprint, system.clock()
        if own is not None and system.embedding.lacking(system.store):
            with system.store.transaction() as transaction:
                for row in transaction.jobs(("waiting",), ("embedding",)):
                    if row.key != own:  # of an embedder that the store was opened with before
                        transaction.cancel_job(row.id, now)
                transaction.enqueue("embedding", own, None, run_at=now, priority=0, every=None, now=now)

    work.start(Workers(system, kinds, 1, first=ask, until_idle=True, ended=system.embedding.begin()))


def start_vectors(system: Mnemos, work: Work) -> None:
    """Take the vectors of large spaces to disk, in the background."""

    def ask() -> None:
        now = system.clock()
        with system.store.transaction() as transaction:
            transaction.enqueue("vectors", "", None, run_at=now, priority=0, every=None, now=now)

    work.start(Workers(system, {"vectors": work.kinds["vectors"]}, 1, first=ask, until_idle=True, ended=system.vector_files.answered))
