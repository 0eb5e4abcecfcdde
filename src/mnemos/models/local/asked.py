"""What callers ask a model to read: tokens as rows, the cache they follow, and whether all of it can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mnemos.base.errors import Invalid
from mnemos.models.local.context import Prefilled


def resumed(cache: Any, rows: list[list[int]]) -> tuple[Prefilled, list[list[int]]]:
    """What has been read, and what is to be read: what is pending in `cache`, then `rows`. Raises `Invalid` for another number of rows, and for a
    point that the cache has left behind."""
    if not isinstance(cache, Prefilled):
        return begin(cache, len(rows)), rows
    if rows == [[]]:  # no tokens for any row
        rows = [[]] * cache.rows
    if cache.rows != len(rows):
        raise Invalid(f"the cache holds {cache.rows} sequences, and {len(rows)} are given: give as many, in the same order")
    if cache.slots != (now := int(cache.cache.get_seq_length())):
        raise Invalid(f"the cache has gone from {cache.slots} places to {now} since: continue from the newest point, or prefill again")
    return cache, [[*pending, *row] for pending, row in zip(cache.pending, rows, strict=True)]


def check_rows(past: Prefilled, rows: Sequence[Sequence[int]], vocabulary: int, window: int | None) -> None:
    """Raises `Invalid` for rows without tokens, with tokens that the model does not know, or more than it, or a cache of fixed size, can take."""
    for number, (row, length) in enumerate(zip(rows, past.lengths, strict=True)):
        if not row:
            raise Invalid(f"row {number} has no tokens: give at least one, such as the token that begins a text")
        wrong = next((place for place, token in enumerate(row) if not 0 <= token < vocabulary), None)
        if wrong is not None:
            known = f"this model knows 0 to {vocabulary - 1}: encode with its own tokenizer"
            raise Invalid(f"row {number} has token {row[wrong]} at place {wrong}, and {known}")
        if window is not None and (whole := length + len(row)) > window:
            cached = f", {length} of them in the cache" if length else ""
            raise Invalid(
                f"row {number} has {whole} tokens{cached}, {whole - window} more than the {window} that the model was made for: "
                "shorten it, or take a model with a longer window"
            )
    needed = past.slots + max(map(len, rows))
    fixed = [layer.get_max_length() for layer in past.cache.layers if not getattr(layer, "is_sliding", False)]
    room = min((size for size in fixed if size > 0), default=None)
    if room is not None and needed > room:
        raise Invalid(f"the cache has room for {room} tokens, and {needed} are needed: make it larger")


def begin(cache: Any, rows: int) -> Prefilled:
    """The state of a cache that holds `rows` sequences of one length without padding, or nothing. Raises `Invalid` for another number of rows."""
    held = rows_of(cache)
    if held is not None and held != rows:
        raise Invalid(f"the cache holds {held} sequences, and {rows} are given: give as many, in the same order")
    seen = int(cache.get_seq_length())
    return Prefilled(cache, None, (seen,) * rows, seen, None, ((),) * rows, ((),) * rows if seen == 0 else None)


def rows_of(cache: Any) -> int | None:
    """Sequences that a cache holds; None where it is empty or does not say."""
    for layer in cache.layers:
        keys = getattr(layer, "keys", None)
        if isinstance(keys, Tensor) and keys.dim() == 4 and keys.shape[2]:
            return int(keys.shape[0])
    return None


def rows_from(tokens: Any) -> list[list[int]]:
    """Token ids as one list for each row, whatever they came as. Raises `Invalid` for what is no sequence of integers, or a batch of them."""
    if hasattr(tokens, "tolist"):
        tokens = tokens.tolist()
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Sequence):
        raise Invalid(f"tokens are a sequence of ids or of such sequences, not a {type(tokens).__name__}: use `encode` for a text")
    first = tokens[0] if len(tokens) else None
    if isinstance(first, Sequence) or getattr(first, "ndim", 0) == 1:
        rows = [row.tolist() if hasattr(row, "tolist") else row for row in tokens]
        if (wrong := next((number for number, row in enumerate(rows) if not isinstance(row, Sequence)), None)) is not None:
            raise Invalid(f"row {wrong} of the batch is a {type(rows[wrong]).__name__}, not a sequence of token ids")
    else:
        rows = [list(tokens)]
    for number, row in enumerate(rows):
        for place, token in enumerate(row):
            if isinstance(token, bool) or not hasattr(token, "__index__"):
                raise Invalid(f"row {number} has at place {place} a {type(token).__name__}, which is no token id")
    return [[int(token) for token in row] for row in rows]
