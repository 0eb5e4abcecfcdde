"""What `import mnemos` gives is what the contract names."""

from __future__ import annotations

import importlib

import mnemos
from mnemos.base import errors as raised


def test_every_public_name_is_there_and_shown() -> None:
    for name in mnemos.__all__:
        assert getattr(mnemos, name) is not None
    assert set(mnemos.__all__) <= set(dir(mnemos))


def test_errors_are_imported_from_their_public_home() -> None:
    public = importlib.import_module("mnemos.errors")
    assert public is mnemos.errors
    every = {name for name, value in vars(raised).items() if isinstance(value, type) and issubclass(value, raised.MnemosError)}
    assert set(public.__all__) == every
    assert all(getattr(public, name) is getattr(raised, name) for name in every)
