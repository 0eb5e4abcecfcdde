"""Sealing a store, and renewing its keys: what the owner of the file asks for, handed on to the store (`store.sqlite_keys`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnemos.base.errors import Conflict, Invalid, NotFound
from mnemos.base.protocols import Progress
from mnemos.kernel.vector_folder import remove_beside

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
    remove_beside(system.path)
    convert(system.store, key)
    remove_beside(system.path)  # somebody may have been there in between


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


def key_in(file: str | Path) -> bytes | str:
    """The master key in a file: 32 bytes, or 64 hexadecimal digits, or else a passphrase in one line. Raises `Invalid`, `NotFound`."""
    path = Path(file).expanduser()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{file}: there is no key file here; `mnemos new-key FILE` makes one") from None
    except OSError as error:
        raise Invalid(f"{file}: the key cannot be read ({error.strerror})") from None
    try:
        text = data.decode().strip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        return key_from(text)
    if len(data) == 32:
        return data
    raise Invalid(f"{file}: holds no key; give 32 bytes, 64 hexadecimal digits, or a passphrase in one line")


def key_from(text: str) -> bytes | str:
    """The master key that a text stands for: 64 hexadecimal digits are the key itself, anything else is a passphrase."""
    return bytes.fromhex(text) if re.fullmatch("[0-9a-fA-F]{64}", text) else text


def key_from_environment(environ: Mapping[str, str]) -> bytes | str | None:
    """The master key in MNEMOS_KEY, or in the file that MNEMOS_KEY_FILE names; None where neither is set. Raises `Invalid`, `NotFound`."""
    if key := environ.get("MNEMOS_KEY"):
        return key_from(key)
    if file := environ.get("MNEMOS_KEY_FILE"):
        return key_in(file)
    return None
