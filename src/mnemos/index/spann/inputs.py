"""What callers give: ids and counts, checked."""

from __future__ import annotations

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.index.spann.parts import Numbers


def checked_count(k: int) -> int:
    """How many vectors are asked for. Raises `Invalid`."""
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise Invalid(f"search: k is {k!r}, must be a whole number from 1 on")
    return int(k)


def checked_ids(ids: Numbers, distinct: bool = True) -> Numbers:
    """Ids (m,) as int64. Raises `Invalid`, also where one is given twice and they have to be `distinct`."""
    values = np.asarray(ids)
    if values.ndim != 1 or (values.dtype.kind not in "iu" and len(values)):
        raise Invalid(f"ids: have shape {values.shape} and type {values.dtype}, must be (m,) whole numbers")
    values = values.astype(np.int64)
    if distinct and len(values) > 1 and len(np.unique(values)) < len(values):
        repeated = np.sort(values)
        raise Invalid(f"ids: {int(repeated[:-1][repeated[1:] == repeated[:-1]][0])} is given twice")
    return values
