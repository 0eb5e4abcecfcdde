"""Which kernel finds the nearest heads, and that it makes no difference to what an index says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from index.spann.faulty_disk import FaultyDisk
from index.spann.test_heads import FAISS
from mnemos.base.errors import Invalid
from mnemos.index.spann.head_index import chosen
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.options import Options


def absent(name: str, *_: object) -> None:
    """No module is found."""


def test_faiss_is_refused_with_a_reason_and_auto_goes_on_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen("numpy") == "numpy"
    with pytest.raises(Invalid, match="numpy, faiss or auto"):
        chosen("hnsw")  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.delitem(sys.modules, "usearch", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert chosen("auto") == "numpy"
    with pytest.raises(Invalid, match="not installed; install faiss-cpu"):
        chosen("faiss")
    with pytest.raises(Invalid, match="not installed"):
        SpannIndex.create(FaultyDisk(), 8, kernel="faiss")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert chosen("auto") == "faiss"
    monkeypatch.setitem(sys.modules, "usearch", ModuleType("usearch"))
    assert chosen("auto") == "numpy"
    with pytest.raises(Invalid, match="usearch is loaded"):
        chosen("faiss")


def test_faiss_is_not_imported_unless_it_is_used() -> None:
    code = (
        "import sys, tempfile; from mnemos.index.spann.index import SpannIndex; from mnemos.index.spann.head_index import chosen;"
        "SpannIndex.create(tempfile.mkdtemp(), 8); chosen('auto'); assert 'faiss' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@FAISS
def test_an_index_says_the_same_with_either_kernel_and_is_opened_by_both() -> None:
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((20, 16))
    vectors = (centres[rng.integers(20, size=700)] + rng.standard_normal((700, 16))).astype(np.float32)
    disks = {"numpy": FaultyDisk(), "faiss": FaultyDisk()}
    answers = []

    def ask(index: SpannIndex) -> None:
        answers.append([index.search(query).ids.tolist() for query in vectors[::40] + np.float32(0.1)])
        assert index.verify() == []

    for kernel, disk in disks.items():
        index = SpannIndex.create(disk, 16, Options(metric="l2", list_limit=40), kernel=kernel)  # type: ignore[arg-type]
        index.build(np.arange(400), vectors[:400])
        index.add(np.arange(400, 700), vectors[400:])
        while index.tend(50):
            pass
        index.remove(np.arange(0, 700, 3))
        index.checkpoint()
        ask(index)
    for kernel, other in (("numpy", "faiss"), ("faiss", "numpy")):
        disks[other].reopen()
        ask(SpannIndex.open(disks[other], kernel=kernel))  # type: ignore[arg-type]
    assert answers[0] == answers[1] == answers[2] == answers[3]
