"""Coloured grids as a domain: constants that a problem's grids suggest, and what can be seen of its pairs without solving it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid, shown
from mnemos.text.concepts.concept import GRID_MANIPULATION, Pair, Problem
from mnemos.text.concepts.domain import Domain
from mnemos.text.concepts.domains.grid_primitives import GRID, LARGEST, PRIMITIVES, Grid, check
from mnemos.text.concepts.terms import Routine

NUMBERS = (2, 3, 4)


def as_grid(rows: object) -> Grid:
    """A grid of rows of colours. Raises `Invalid` for what is none."""
    try:
        grid = np.array(rows, dtype=np.int64)
    except (TypeError, ValueError):
        grid = np.zeros(0, dtype=np.int64)
    if grid.ndim != 2 or not 1 <= min(grid.shape) <= max(grid.shape) <= LARGEST or grid.min() < 0 or grid.max() > 9:
        raise Invalid(f"grid: expected 1 to {LARGEST} rows of as many colours from 0 to 9, not {shown(rows)}")
    return grid.astype(np.int8)


def read_task(record: Mapping[str, Any]) -> Problem:
    """A task in ARC's form: {"task_id", "train": [{"input", "output"}], "test": […]}. Raises `Invalid`."""
    try:
        pairs = {part: tuple(Pair(as_grid(one["input"]), as_grid(one["output"]) if "output" in one else None) for one in record[part])
                 for part in ("train", "test")}  # fmt: skip
        return Problem(str(record["task_id"]), pairs["train"], pairs["test"])
    except (KeyError, TypeError) as error:
        raise Invalid(f"task: expected task_id, train and test with input and output, not {shown(record)} ({error})") from None


def key(value: Any) -> Hashable:
    """What two values have in common exactly where they are the same."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    return tuple(map(key, value)) if isinstance(value, list) else value


def constants(problem: Problem) -> dict[str, Sequence[Any]]:
    """Colours that the pairs have, the background among them where an output lacks what the input has; numbers from 2 to 4."""
    outs = {int(cell) for pair in problem.train for cell in np.unique(pair.output)}
    both = outs | {int(cell) for pair in problem.train for cell in np.unique(pair.input)}
    return {"Colour": sorted(both - {0}), "Int": NUMBERS}


def features(problem: Problem) -> frozenset[str]:
    """What is true of every pair: how shapes, colours and cells of input and output stand to each other."""
    held: frozenset[str] | None = None
    for pair in problem.train:
        told = frozenset(_seen(pair.input, pair.output))
        held = told if held is None else held & told
    return (held or frozenset()) | frozenset(_across(problem))


def _seen(given: Grid, made: Grid) -> Iterator[str]:
    yield from _shapes(given, made)
    yield from _palettes(given, made)
    for name, grid in (("input", given), ("output", made)):
        if (grid == grid[:, ::-1]).all():
            yield f"{name} is mirrored across"
        if (grid == grid[::-1]).all():
            yield f"{name} is mirrored down"
        if grid.shape == grid.T.shape and (grid == grid.T).all():
            yield f"{name} equals its transpose"
        if grid.all():
            yield f"{name} has no background"
        elif not (grid[0].any() or grid[-1].any() or grid[:, 0].any() or grid[:, -1].any()):
            yield f"{name} has an empty rim"
        rim = np.concatenate([grid[0], grid[-1], grid[:, 0], grid[:, -1]])
        if min(grid.shape) > 2 and rim[0] and (rim == rim[0]).all():
            yield f"{name} has a rim of one colour"
        if grid.any() and all((column[np.argmax(column != 0) :] != 0).all() for column in grid.T if column.any()):
            yield f"{name} stands on its bottom"
        if any((line == line[0]).all() and line[0] for line in (*grid[1:-1], *grid.T[1:-1])):
            yield f"{name} has a line from edge to edge"


def _shapes(given: Grid, made: Grid) -> Iterator[str]:
    (height, width), (h, w) = given.shape, made.shape
    if (height, width) == (h, w):
        yield "same shape"
        if (np.where(made != given, 0, 1)).mean() > 0.5:
            yield "most cells stay"
        if ((given == 0) == (made == 0)).all():
            yield "the background stays"
        elif ((given == 0) <= (made == 0)).all():
            yield "nothing is added"
        elif ((given != 0) <= (made == given)).all():
            yield "nothing is removed"
        return
    if (height, width) == (w, h):
        yield "height and width change places"
    if h * w < height * width:
        yield "output is smaller"
    elif h * w > height * width:
        yield "output is larger"
    for times in (2, 3, 4):
        if (h, w) == (times * height, times * width):
            yield f"{times} times the size"
        if (h, w) in ((times * height, width), (height, times * width)):
            yield f"{times} times one side"
    if (h, w) == (height + 2, width + 2):
        yield "two more rows and columns"
    if (height, width) in ((2 * h, w), (h, 2 * w), (2 * h + 1, w), (h, 2 * w + 1)):
        yield "half of one side"
    if h == w:
        yield "output is square"


def _palettes(given: Grid, made: Grid) -> Iterator[str]:
    before, after = {int(c) for c in np.unique(given)}, {int(c) for c in np.unique(made)}
    if before == after:
        yield "same colours"
    elif after < before:
        yield "colours are lost"
    if after - before:
        yield "colours are new"
    if len(after - {0}) == 1:
        yield "output has one colour"
    if len(before - {0}) == 1:
        yield "input has one colour"
    count, counted = int((given != 0).sum()), int((made != 0).sum())
    if count == counted:
        yield "as many cells"
    elif count and counted % count == 0:
        yield "a multiple of the cells"
    if np.array_equal(np.bincount(given.ravel(), minlength=10)[1:], np.bincount(made.ravel(), minlength=10)[1:]):
        yield "as many cells of each colour"


def _across(problem: Problem) -> Iterator[str]:
    outputs = [pair.output for pair in problem.train]
    if len({one.shape for one in outputs}) == 1 and len({pair.input.shape for pair in problem.train}) > 1:
        yield "outputs have one shape, inputs have not"
    common = set.intersection(*({int(c) for c in np.unique(one)} for one in outputs)) - {0} if outputs else set()
    news = [{int(c) for c in np.unique(pair.output)} - {int(c) for c in np.unique(pair.input)} for pair in problem.train]
    if common and all(news) and set.intersection(*news):
        yield "one new colour in all outputs"


@lru_cache(maxsize=8)
def grid_domain(names: tuple[str, ...] | None = None) -> Domain:
    """The domain of grids: with all primitives, or with those named. Raises `Invalid` for a name that there is not."""
    known: dict[str, Routine] = {one.name: one for one in PRIMITIVES}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise Invalid(f"grids: there is no primitive {shown(unknown[0])}; there are {', '.join(known)}")
    chosen = tuple(known[name] for name in names) if names is not None else PRIMITIVES
    return Domain("grids", GRID, GRID, chosen, constants, features, key, check, GRID_MANIPULATION)
