"""Looking for what a forget left behind in the file itself.

SQLite's `secure_delete` overwrites what is deleted, but when a b-tree page is rebalanced, cells that moved to another page can stay, as
bytes, in the unused gap of the old one (SQLite file format, section 1.6: the unallocated region between the cell pointers and the cells).
So after a forget we look into those gaps, and where a piece of the forgotten text is found that no living row holds, the file is rebuilt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WINDOW = 8
"""A shorter run of bytes is no trace of a text: it could be any other's."""

_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}
_BLOCK_PAGES = 4096


def left_behind(path: str, texts: Sequence[bytes]) -> bool:
    """Whether an unused gap of the file holds at least eight consecutive bytes of one of `texts` that no row of the file holds."""
    wanted = _windows(b"\x00".join(text for text in texts if len(text) >= WINDOW))
    if not wanted.size:
        return False
    gaps = _gaps(Path(path))
    found = _windows(gaps)
    suspects = np.intersect1d(found, wanted)
    if not suspects.size:
        return False
    living = _gaps(Path(path), living=True)
    return any(int(window).to_bytes(WINDOW, "little") not in living for window in suspects)


def _windows(data: bytes) -> NDArray[np.uint64]:
    """Every run of eight bytes in `data` that holds at least four other than NUL (a gap is mostly zeros), each once, as little-endian integers."""
    raw = np.frombuffer(data, dtype=np.uint8)
    if raw.size < WINDOW:
        return np.empty(0, dtype=np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(raw, WINDOW)
    runs = runs[np.count_nonzero(runs, axis=1) >= WINDOW // 2]
    return np.unique(np.ascontiguousarray(runs).view("<u8").ravel())


def _gaps(path: Path, *, living: bool = False) -> bytes:
    """The unused gaps of all b-tree pages that hold anything but zeros; or, with `living`, the file with the gaps blanked."""
    parts: list[bytes] = []
    with open(path, "rb") as file:
        header = file.read(100)
        size = int.from_bytes(header[16:18], "big") or 65536
        size = 65536 if size == 1 else size
        entries = (size - header[20]) // 5
        file.seek(0)
        number = 0
        while block := file.read(size * _BLOCK_PAGES):
            kept = bytearray(block) if living else None
            for offset in range(0, len(block), size):
                number += 1
                start = offset + (100 if number == 1 else 0)
                head = _HEADER_BYTES.get(block[start])
                if head is None or (number > 1 and (number - 2) % (entries + 1) == 0):
                    continue
                cells = int.from_bytes(block[start + 3 : start + 5], "big")
                content = offset + (int.from_bytes(block[start + 5 : start + 7], "big") or 65536)
                first = start + head + 2 * cells
                gap = block[first:content]
                if kept is not None:
                    kept[first:content] = bytes(len(gap))
                elif gap.strip(b"\x00"):
                    parts.append(gap.strip(b"\x00"))
            if kept is not None:
                parts.append(bytes(kept))
    return (b"" if living else b"\x00").join(parts)
