"""Sealing a store, and renewing its keys: what the owner of the file asks for, handed on to the store (`store.sqlite_keys`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mnemos.base.errors import Conflict, Invalid
from mnemos.base.protocols import Progress

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos
    from mnemos.store.sqlite_keys import Keeper


def keeper_of(system: Mnemos) -> Keeper:
    """Who looks after the store's keys. Raises `Conflict` where it has none."""
    if system.store.keeper is None:
        raise Conflict(f"{system.path}: the store is not sealed, so it has no keys; seal it first (`mnemos seal`, or `mem.seal(key)`)")
    return system.store.keeper


def seal(system: Mnemos, key: object) -> None:
    """Close the store, and seal its file."""
    if not system.store.durable:
        raise Invalid("seal: a store in memory has no file to seal")
    if system.store.keeper is not None:
        raise Conflict(f"{system.path}: is sealed already; renew its keys with `rotate_keys`, or change the master key with `change_key`")
    from mnemos.store.keys import checked
    from mnemos.store.sqlite_convert import seal as convert

    checked(key)
    system.close()
    convert(system.path, key, clock=system.clock)


def rotate(system: Mnemos, spaces: Iterable[str] | None, progress: Progress | None) -> int:
    """Begin new keys for the spaces (None: all), and seal their memories anew; give how many versions were."""
    keeper = keeper_of(system)
    from mnemos.store.sqlite_renew import begin

    names = None if spaces is None else [system.existing_space(name).num for name in spaces]
    with system.writing(alone=True) as writer:
        begin(writer, keeper, names)
    return reseal(system, progress)


def reseal(system: Mnemos, progress: Progress | None = None) -> int:
    """Go on sealing anew what waits for it since its keys were renewed; give how many versions were. Nothing waits in a store that is not sealed."""
    if system.store.keeper is None:
        return 0
    from mnemos.store.sqlite_renew import reseal as work
    from mnemos.store.sqlite_renew import waiting

    with system.snapshot() as snapshot:
        total = waiting(snapshot)
    return work(lambda: system.store.transaction(alone=True), total, progress)


def change_key(system: Mnemos, key: object) -> None:
    """Lock the key file with another master key."""
    keeper = keeper_of(system)
    with system.store.exclusively("changing the master key"):
        keeper.change_key(key)
