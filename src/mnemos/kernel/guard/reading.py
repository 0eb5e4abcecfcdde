"""What records lead to: their paths by patterns, kept at hand, or by a model, and which of them a clustering or a judge finds consistent."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from mnemos.base.errors import Invalid
from mnemos.base.protocols import ChatModel, Embedder
from mnemos.kernel.guard import clustering, modelled
from mnemos.kernel.guard.actions import Action, Effect, of_answer, of_call
from mnemos.kernel.guard.paths import Path, path_of
from mnemos.kernel.guard.records import Candidate, Plan
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.verdicts import Reason

_CACHED = 20_000


class Reader:
    """Reads records. `effects` says what this system's tools do. Safe to share between threads."""

    def __init__(self, settings: Settings, chat: ChatModel | None, embedder: Embedder | None, effects: Mapping[str, Effect]) -> None:
        self._settings = settings
        self._chat = chat
        self._embedder = embedder
        self._effects = effects
        self._paths: OrderedDict[str, tuple[Candidate, Path]] = OrderedDict()
        self._lock = threading.Lock()

    def replies(self, query: str, records: Sequence[Candidate]) -> tuple[str, ...] | None:
        """What the model says of each record, and last of none; None where there is no model. Raises `ModelUnavailable`."""
        return None if self._chat is None else modelled.derive(self._chat, query, records)

    def read(self, records: Sequence[Candidate], replies: Sequence[str] | None) -> tuple[list[Path], dict[str, Reason], Action | None]:
        """(paths of the records, those whose path could not be read as undecided, the action without memory by the model)."""
        read = [self.path(record) for record in records]
        if replies is None:
            return read, {}, None
        derivation = self._chat.fingerprint if self._chat is not None else "model"
        if len(replies) != len(records) + 1:
            raise Invalid(f"the model answered {len(replies)} of {len(records) + 1} questions")
        paths: list[Path] = []
        garbled: dict[str, Reason] = {}
        for record, path, said in zip(records, read, replies, strict=False):
            try:
                paths.append(modelled.path_said(said, path, derivation, self._effects))
            except Invalid:  # who writes a record may try to garble its path: that must cost him his own vote only
                garbled[record.id] = Reason.UNDECIDED
                paths.append(path)
        try:
            alone = modelled.path_said(replies[-1], Path(), derivation, self._effects).action
        except Invalid:
            alone = None
        return paths, garbled, alone

    def labels(self, query: str, paths: Sequence[Path]) -> tuple[bool, ...] | None:
        """Which paths the clustering or the judge finds consistent; None where paths are compared by D, or are too few. Raises `Invalid` where
        that cannot be said, `ModelUnavailable`."""
        if self._settings.compare == "divergence" or len(paths) < 2:
            return None
        if self._settings.compare == "judge":
            assert self._chat is not None
            return modelled.judge(self._chat, query, paths, safely=self._settings.judge_safety)
        embedder = self._embedder or _hashed()
        vectors = embedder.embed([modelled.as_text(path) for path in paths])
        labels = clustering.dbscan(vectors, self._settings.eps, self._settings.min_samples)
        if (labels == clustering.NOISE).all():
            raise Invalid("no two paths are near enough to each other to form a cluster")
        return tuple(bool(not apart) for apart in clustering.outside_largest(labels))

    def action_of(self, plan: Plan) -> Action | None:
        """What a plan does: its call, or that it answers; None where it says neither."""
        if plan.action is not None:
            return of_call(plan.action, self._effects)
        return of_answer(plan.answer) if plan.answer is not None else None

    def path(self, record: Candidate) -> Path:
        """The path of a record by the patterns; kept while the record is the same."""
        held = self._paths.get(record.id)
        if held is not None and held[0].text == record.text and held[0].metadata == record.metadata:
            return held[1]
        path = path_of(record, self._effects)
        with self._lock:
            self._paths[record.id] = (record, path)
            while len(self._paths) > _CACHED:
                self._paths.popitem(last=False)
        return path

    def let_go(self, ids: Iterable[str] | None = None) -> None:
        """Forget the paths of some records; None: of all."""
        with self._lock:
            if ids is None:
                self._paths.clear()
            for id in ids or ():
                self._paths.pop(id, None)


def _hashed() -> Embedder:
    from mnemos.models.hashed import HashedEmbedder

    return HashedEmbedder()

