"""Whether what was derived from texts is what the texts give: the text index, the lengths of vectors."""

from __future__ import annotations

import numpy as np

from mnemos.base.errors import MnemosError
from mnemos.index.terms import pack_terms
from mnemos.store.base import Finding, Store
from mnemos.text.encoding import terms_text

_BLOCK = 2000


def check_derived(store: Store, name: str) -> tuple[dict[str, int], list[Finding]]:
    """(what was checked, what is wrong): the stored terms of every searchable version, and every vector."""
    checked = {"text_index": 0, "vectors": 0}
    findings: list[Finding] = []
    try:
        with store.snapshot() as snapshot:
            embedders = snapshot.embedders()
            for space in snapshot.spaces():
                stored: dict[int, bytes] = {row[0]: row[16] for row in snapshot.index_rows(space.num, 0)}
                seqs = list(stored)
                for start in range(0, len(seqs), _BLOCK):
                    for seq, row in snapshot.versions(seqs[start : start + _BLOCK]).items():
                        checked["text_index"] += 1
                        if pack_terms(terms_text(row.content)) != stored[seq]:
                            findings.append(Finding(name, f"text index of log position {seq}", "its terms are not those of the text"))
                for seq, embedder, value in snapshot.vectors(space.num, 0):
                    checked["vectors"] += 1
                    dimensions = embedders[embedder][1] if embedder in embedders else -1
                    vector = np.frombuffer(value[: len(value) // 4 * 4], dtype="<f4")
                    if len(value) != 4 * dimensions or not np.isfinite(vector).all() or not _unit(vector):
                        findings.append(Finding(name, f"vector of log position {seq}", "is not a unit vector of its embedder's dimensions"))
    except MnemosError as error:
        findings.append(Finding(name, "text index and vectors", f"cannot be read to the end: {error}"))
    return checked, findings


def _unit(vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> bool:
    norm = float(np.linalg.norm(vector))
    return norm == 0.0 or abs(norm - 1.0) < 1e-3
