"""Typed primitives of coloured grids (ARC-AGI-1): arrays of int8 (height, width), colours 0 to 9, 0 the background, at most 30 × 30."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.concepts.terms import Failed, Routine
from mnemos.text.concepts.types import Type, function, parse_type

Grid = NDArray[np.int8]
GRID, COLOUR, INT, GRIDS = Type("Grid"), Type("Colour"), Type("Int"), parse_type("list[Grid]")
MAP, MEASURE = function([GRID], GRID), function([GRID], INT)
LARGEST = 30
MOST_PIECES = 60


def check(value: Any) -> None:
    """Raise `Failed` for a grid, or a list of grids, beyond what is allowed."""
    if isinstance(value, np.ndarray) and not (1 <= value.shape[0] <= LARGEST and 1 <= value.shape[1] <= LARGEST):
        raise Failed("a grid is empty or too large")
    if isinstance(value, list) and not 1 <= len(value) <= MOST_PIECES:
        raise Failed("no pieces, or too many")


# ---- whole grids ----------------------------------------------------------------------------------------------------


def crop(grid: Grid) -> Grid:
    rows, columns = np.flatnonzero(grid.any(axis=1)), np.flatnonzero(grid.any(axis=0))
    if not rows.size:
        raise Failed("nothing but background")
    return grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fall(grid: Grid) -> Grid:
    out = np.zeros_like(grid)
    for column in range(grid.shape[1]):
        held = grid[:, column][grid[:, column] != 0]
        out[grid.shape[0] - len(held) :, column] = held
    return out


def without_repeats(grid: Grid) -> Grid:
    rows = [0, *(row for row in range(1, grid.shape[0]) if (grid[row] != grid[row - 1]).any())]
    grid = grid[rows]
    columns = [0, *(column for column in range(1, grid.shape[1]) if (grid[:, column] != grid[:, column - 1]).any())]
    return grid[:, columns]


def symmetrical(grid: Grid) -> Grid:
    out = grid.copy()
    for other in (out[:, ::-1], out[::-1], out[::-1, ::-1]):
        out = np.where(out == 0, other, out)
    return out


def fractal(grid: Grid) -> Grid:
    if max(grid.shape) > 5:
        raise Failed("too large")
    out: Grid = np.kron((grid != 0).astype(np.int8), grid)
    return out


def _half(axis: int, second: bool) -> Callable[[Grid], Grid]:
    def cut(grid: Grid) -> Grid:
        length = grid.shape[axis]
        if length < 2:
            raise Failed("too small")
        at = slice(length - length // 2, None) if second else slice(0, length // 2)
        return grid[at] if axis == 0 else grid[:, at]

    return cut


def swapped(grid: Grid) -> Grid:
    """The two colours in each other's place, of a grid with two."""
    colours = np.unique(grid)
    if len(colours) != 2:
        raise Failed("not two colours")
    made: Grid = np.where(grid == colours[0], colours[1], colours[0]).astype(np.int8)
    return made


def inside(grid: Grid) -> Grid:
    return grid[1:-1, 1:-1]


# ---- with colours and numbers ---------------------------------------------------------------------------------------


def keep(grid: Grid, colour: int) -> Grid:
    return _changed(grid, np.where(grid == colour, grid, 0))


def drop(grid: Grid, colour: int) -> Grid:
    return _changed(grid, np.where(grid == colour, 0, grid))


def paint(grid: Grid, colour: int) -> Grid:
    return np.where(grid != 0, colour, 0).astype(np.int8)


def ground(grid: Grid, colour: int) -> Grid:
    return _changed(grid, np.where(grid == 0, colour, grid))


def recolour(grid: Grid, colour: int, other: int) -> Grid:
    return _changed(grid, np.where(grid == colour, other, grid))


def frame(grid: Grid, colour: int) -> Grid:
    return np.pad(grid, 1, constant_values=colour)


def rim(grid: Grid, colour: int) -> Grid:
    out = grid.copy()
    out[0] = out[-1] = colour
    out[:, 0] = out[:, -1] = colour
    return out


def fill_holes(grid: Grid, colour: int) -> Grid:
    """Background that no path of background, in four directions, joins with the edge."""
    free = grid == 0
    reached = np.zeros_like(free)
    reached[0], reached[-1], reached[:, 0], reached[:, -1] = free[0], free[-1], free[:, 0], free[:, -1]
    while True:
        wider = reached.copy()
        wider[1:] |= reached[:-1]
        wider[:-1] |= reached[1:]
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider &= free
        if (wider == reached).all():
            break
        reached = wider
    return _changed(grid, np.where(free & ~reached, colour, grid))


def _changed(grid: Grid, made: NDArray[Any]) -> Grid:
    if (made == grid).all():
        raise Failed("nothing to change")
    return made.astype(np.int8)


def scale(grid: Grid, times: int) -> Grid:
    _sized(grid, times, times)
    return np.repeat(np.repeat(grid, times, axis=0), times, axis=1)


def tile(grid: Grid, times: int) -> Grid:
    _sized(grid, times, times)
    return np.tile(grid, (times, times))


def _sized(grid: Grid, down: int, across: int) -> None:
    if down < 1 or across < 1 or grid.shape[0] * down > LARGEST or grid.shape[1] * across > LARGEST:
        raise Failed("too large")


def commonest(grid: Grid) -> int:
    return _by_count(grid)[0]


def rarest(grid: Grid) -> int:
    return _by_count(grid)[-1]


def _by_count(grid: Grid) -> list[int]:
    counts = Counter(int(cell) for cell in grid.flat if cell)
    if not counts:
        raise Failed("nothing but background")
    return [colour for colour, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


# ---- two grids ------------------------------------------------------------------------------------------------------


def beside(grid: Grid, other: Grid) -> Grid:
    if grid.shape[0] != other.shape[0] or grid.shape[1] + other.shape[1] > LARGEST:
        raise Failed("heights differ")
    return np.hstack([grid, other])


def above(grid: Grid, other: Grid) -> Grid:
    if grid.shape[1] != other.shape[1] or grid.shape[0] + other.shape[0] > LARGEST:
        raise Failed("widths differ")
    return np.vstack([grid, other])


def over(grid: Grid, other: Grid) -> Grid:
    _alike(grid, other)
    return np.where(grid != 0, grid, other)


def both(grid: Grid, other: Grid) -> Grid:
    _alike(grid, other)
    return np.where((grid != 0) & (other != 0), grid, 0).astype(np.int8)


def either_alone(grid: Grid, other: Grid) -> Grid:
    _alike(grid, other)
    return np.where((grid != 0) == (other != 0), 0, np.maximum(grid, other)).astype(np.int8)


def neither(grid: Grid, other: Grid) -> Grid:
    _alike(grid, other)
    empty: Grid = ((grid == 0) & (other == 0)).astype(np.int8)
    return empty


def _alike(grid: Grid, other: Grid) -> None:
    if grid.shape != other.shape:
        raise Failed("shapes differ")


# ---- pieces ---------------------------------------------------------------------------------------------------------


def boxes(grid: Grid) -> list[tuple[slice, slice, NDArray[np.bool_]]]:
    """The connected pieces (eight directions, any colours but 0), by their top left: rows, columns, and the mask within them."""
    labels = np.zeros(grid.shape, dtype=np.int32)
    number = 0
    height, width = grid.shape
    for start in zip(*np.nonzero(grid), strict=True):
        if labels[start]:
            continue
        number += 1
        if number > MOST_PIECES:
            raise Failed("too many pieces")
        labels[start] = number
        stack = [(int(start[0]), int(start[1]))]
        while stack:
            row, column = stack.pop()
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(column - 1, 0), min(column + 2, width)):
                    if grid[r, c] and not labels[r, c]:
                        labels[r, c] = number
                        stack.append((r, c))
    out = []
    for one in range(1, number + 1):
        rows, columns = np.nonzero(labels == one)
        at = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
        out.append((*at, labels[at] == one))
    return out


def pieces(grid: Grid) -> list[Grid]:
    return [np.where(mask, grid[rows, columns], 0).astype(np.int8) for rows, columns, mask in boxes(grid)]


def panels(grid: Grid) -> list[Grid]:
    """What lines of one colour, from edge to edge, divide; of equal shapes."""
    for colour in _by_count(grid):
        rows = [-1, *np.flatnonzero((grid == colour).all(axis=1)), grid.shape[0]]
        columns = [-1, *np.flatnonzero((grid == colour).all(axis=0)), grid.shape[1]]
        if len(rows) + len(columns) > 4:
            cut = [grid[a + 1 : b, c + 1 : d] for a, b in pairwise(rows) if b > a + 1
                   for c, d in pairwise(columns) if d > c + 1]  # fmt: skip
            if len(cut) > 1 and len({one.shape for one in cut}) == 1:
                return cut
    raise Failed("no lines divide it")


def each(grid: Grid, change: Callable[[Grid], Grid]) -> Grid:
    """Every piece changed where it stands."""
    out = np.zeros_like(grid)
    for rows, columns, mask in boxes(grid):
        made = change(np.where(mask, grid[rows, columns], 0).astype(np.int8))
        if made.shape != mask.shape:
            raise Failed("a piece changes its shape")
        out[rows, columns] = np.where(made != 0, made, out[rows, columns])
    return out


def mapped(grids: list[Grid], change: Callable[[Grid], Grid]) -> list[Grid]:
    return [change(one) for one in grids]


def most(grids: list[Grid], measure: Callable[[Grid], int]) -> Grid:
    return _pick(grids, measure, 1)


def least(grids: list[Grid], measure: Callable[[Grid], int]) -> Grid:
    return _pick(grids, measure, -1)


def _pick(grids: list[Grid], measure: Callable[[Grid], int], sign: int) -> Grid:
    told = [sign * measure(one) for one in grids]
    best = max(told)
    if told.count(best) > 1:
        raise Failed("several are alike")
    return grids[told.index(best)]


def first(grids: list[Grid]) -> Grid:
    return grids[0]


def last(grids: list[Grid]) -> Grid:
    return grids[-1]


def odd(grids: list[Grid]) -> Grid:
    """The one that differs where all others are the same."""
    keys = [(one.shape, one.tobytes()) for one in grids]
    alone = [place for place, key in enumerate(keys) if keys.count(key) == 1]
    if len(alone) != 1 or len(grids) < 3:
        raise Failed("not one that is alone")
    return grids[alone[0]]


def usual(grids: list[Grid]) -> Grid:
    """The one that is there most often."""
    keys = [(one.shape, one.tobytes()) for one in grids]
    (key, times), *rest = Counter(keys).most_common(2)
    if times < 2 or (rest and rest[0][1] == times):
        raise Failed("none is there more often")
    return grids[keys.index(key)]


def row_of(grids: list[Grid]) -> Grid:
    if len({one.shape[0] for one in grids}) != 1 or sum(one.shape[1] for one in grids) > LARGEST:
        raise Failed("heights differ")
    return np.hstack(grids)


def column_of(grids: list[Grid]) -> Grid:
    if len({one.shape[1] for one in grids}) != 1 or sum(one.shape[0] for one in grids) > LARGEST:
        raise Failed("widths differ")
    return np.vstack(grids)


def size(grid: Grid) -> int:
    return int((grid != 0).sum())


def colours(grid: Grid) -> int:
    return len({int(cell) for cell in grid.flat if cell})


def area(grid: Grid) -> int:
    return int(grid.size)


def mirrored(grid: Grid) -> int:
    """How many of the four mirrorings leave it as it is."""
    return sum(other.shape == grid.shape and bool((other == grid).all()) for other in (grid[::-1], grid[:, ::-1], grid.T, grid[::-1, ::-1].T))


def _routine(name: str, run: Callable[..., Any], types: Sequence[Type], result: Type, about: str) -> Routine:
    names = {GRID: "grid", COLOUR: "colour", INT: "number", GRIDS: "grids", MAP: "change", MEASURE: "measure"}
    parameters: list[tuple[str, Type]] = []
    for type in types:
        name_of = names[type]
        parameters.append((name_of if all(name_of != one for one, _ in parameters) else f"other_{name_of}", type))
    return Routine(name, tuple(parameters), result, run, about=about)


PRIMITIVES: tuple[Routine, ...] = (
    _routine("flip_across", lambda grid: grid[:, ::-1], [GRID], GRID, "mirror left and right"),
    _routine("flip_down", lambda grid: grid[::-1], [GRID], GRID, "mirror top and bottom"),
    _routine("turn", lambda grid: np.rot90(grid, -1), [GRID], GRID, "turn by a quarter, clockwise"),
    _routine("transpose", lambda grid: grid.T, [GRID], GRID, "rows become columns"),
    _routine("crop", crop, [GRID], GRID, "the smallest box around what is not background"),
    _routine("fall", fall, [GRID], GRID, "cells fall to the bottom"),
    _routine("paint", paint, [GRID, COLOUR], GRID, "all that is not background in one colour"),
    _routine("keep", keep, [GRID, COLOUR], GRID, "the cells of one colour alone"),
    _routine("drop", drop, [GRID, COLOUR], GRID, "without the cells of one colour"),
    _routine("ground", ground, [GRID, COLOUR], GRID, "background in a colour"),
    _routine("frame", frame, [GRID, COLOUR], GRID, "a frame of one colour around"),
    _routine("scale", scale, [GRID, INT], GRID, "each cell as a square of cells"),
    _routine("tile", tile, [GRID, INT], GRID, "the grid repeated down and across"),
    _routine("recolour", recolour, [GRID, COLOUR, COLOUR], GRID, "cells of one colour in another"),
    _routine("rim", rim, [GRID, COLOUR], GRID, "the outermost cells in one colour"),
    _routine("fill_holes", fill_holes, [GRID, COLOUR], GRID, "background that is enclosed in one colour"),
    _routine("half_turn", lambda grid: grid[::-1, ::-1], [GRID], GRID, "turn by a half"),
    _routine("without_repeats", without_repeats, [GRID], GRID, "rows and columns that repeat the one before left out"),
    _routine("symmetrical", symmetrical, [GRID], GRID, "background filled from the mirrored cells"),
    _routine("fractal", fractal, [GRID], GRID, "the grid in the place of each of its cells"),
    _routine("left", _half(1, False), [GRID], GRID, "the left half"),
    _routine("right", _half(1, True), [GRID], GRID, "the right half"),
    _routine("top", _half(0, False), [GRID], GRID, "the upper half"),
    _routine("bottom", _half(0, True), [GRID], GRID, "the lower half"),
    _routine("swapped", swapped, [GRID], GRID, "two colours in each other's place"),
    _routine("inside", inside, [GRID], GRID, "without the outermost cells"),
    _routine("commonest", commonest, [GRID], COLOUR, "the colour of most cells but the background"),
    _routine("rarest", rarest, [GRID], COLOUR, "the colour of the fewest cells"),
    _routine("beside", beside, [GRID, GRID], GRID, "one left of the other"),
    _routine("above", above, [GRID, GRID], GRID, "one on top of the other"),
    _routine("over", over, [GRID, GRID], GRID, "one laid over the other"),
    _routine("both", both, [GRID, GRID], GRID, "cells that both have"),
    _routine("either_alone", either_alone, [GRID, GRID], GRID, "cells that one alone has"),
    _routine("neither", neither, [GRID, GRID], GRID, "cells that neither has, in colour 1"),
    _routine("pieces", pieces, [GRID], GRIDS, "the connected pieces"),
    _routine("panels", panels, [GRID], GRIDS, "the panels between lines"),
    _routine("each", each, [GRID, MAP], GRID, "every piece changed where it stands"),
    _routine("mapped", mapped, [GRIDS, MAP], GRIDS, "every grid of a list changed"),
    _routine("most", most, [GRIDS, MEASURE], GRID, "the grid of a list with the most of something"),
    _routine("least", least, [GRIDS, MEASURE], GRID, "the grid of a list with the least of something"),
    _routine("first", first, [GRIDS], GRID, "the first of a list"),
    _routine("last", last, [GRIDS], GRID, "the last of a list"),
    _routine("odd", odd, [GRIDS], GRID, "the one of a list that differs"),
    _routine("usual", usual, [GRIDS], GRID, "the one of a list that is there most often"),
    _routine("row_of", row_of, [GRIDS], GRID, "a list side by side"),
    _routine("column_of", column_of, [GRIDS], GRID, "a list on top of each other"),
    _routine("size", size, [GRID], INT, "how many cells are not background"),
    _routine("colours", colours, [GRID], INT, "how many colours it has"),
    _routine("area", area, [GRID], INT, "how many cells it has"),
    _routine("mirrored", mirrored, [GRID], INT, "how many mirrorings leave it as it is"),
)
"""The seed library. The first fourteen are the ones that the synthetic benchmark draws its twelve from."""
