"""Evaluation data: where it lies, and how its files are read. None of it is part of Mnemos."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Corrupt, NotFound

VARIABLE = "MNEMOS_DATA"


def data_folder(given: Path | None = None) -> Path:
    """The folder of evaluation sets: `given`, else the environment's MNEMOS_DATA, else `../shared/data` seen from the working folder
    or from the checkout. Raises `NotFound`, saying where it looked."""
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    places = [named] if named else [Path("..", "shared", "data"), Path(__file__).resolve().parents[4] / "shared" / "data"]
    for place in places:
        if place.is_dir():
            return place
    looked = ", ".join(str(place.absolute()) for place in places)
    raise NotFound(f"evaluation data: no folder {looked}; name it with --data DIR or {VARIABLE} (`mnemos bench --list` names each set's paper)")


def read_json(folder: Path, name: str) -> Any:
    """The one JSON value of a `.json.gz` file. Raises `NotFound`, `Corrupt`."""
    return _parsed(_unpacked(folder / name), folder / name)


def read_lines(folder: Path, name: str) -> list[Any]:
    """The JSON values of a `.jsonl.gz` file, one a line. Raises `NotFound`, `Corrupt`."""
    path = folder / name
    return [_parsed(line, path) for line in _unpacked(path).split(b"\n") if line.strip()]


def read_text(folder: Path, name: str) -> str:
    """The text of a `.txt.gz` file. Raises `NotFound`, `Corrupt`."""
    return _unpacked(folder / name).decode("utf-8")


def file_of(folder: Path, name: str) -> Path:
    """The path of a file that must exist. Raises `NotFound`."""
    if not (folder / name).is_file():
        raise NotFound(f"evaluation data: {folder} has no {name}; the set is public, and `mnemos bench --list` names its paper")
    return folder / name


def present(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of `names` that the folder holds."""
    return [name for name in names if (folder / name).is_file()]


def _unpacked(path: Path) -> bytes:
    file_of(path.parent, path.name)
    try:
        with gzip.open(path) as file:
            return file.read()
    except (gzip.BadGzipFile, EOFError) as error:
        raise Corrupt(f"evaluation data: {path} is no whole gzip file ({error}); fetch it again") from error


def _parsed(data: bytes, path: Path) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Corrupt(f"evaluation data: {path} holds what is no JSON ({error}); fetch it again") from error
