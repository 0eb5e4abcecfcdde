"""The fuzz of access rules finds nothing in the kernel as it is, and finds what is broken on purpose."""

from __future__ import annotations

import pytest

from mnemos.bench.access import Watcher, World, twins
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights import governance


def watched(requests: int = 1200) -> Watcher:
    watch = Watcher(World(3, spaces=12, principals=12, memories=8))
    for _ in range(requests):
        watch.request()
    return watch


def test_nothing_leaks_and_nothing_that_is_allowed_is_refused() -> None:
    watch = watched()
    assert (watch.leaks, watch.wrong) == ([], [])
    assert watch.outcomes["answered"] > 300
    assert watch.outcomes["NotFound"] + watch.outcomes["PermissionDenied"] > 300
    compared, difference = twins(watch.world, 8)
    assert compared == 8
    assert difference < 1e-4


def test_a_kernel_that_reads_everything_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governance.Access, "may", lambda self, verb, settings, acl=None: True)
    assert len(watched(200).leaks) > 10


def test_a_kernel_that_forgets_the_rules_of_single_memories_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Viewing, "narrowed", lambda self, where: where)
    monkeypatch.setattr(Viewing, "shows", lambda self, row: True)
    assert len(watched(400).leaks) > 10


def test_a_kernel_that_refuses_what_is_allowed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governance.Access, "clearance", lambda self, settings: 0)
    assert len(watched(400).wrong) > 5
