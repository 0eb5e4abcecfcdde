"""Keys that can be destroyed one by one, however many there are: a tree of hashes, of which only what still lives can be computed.

Every number below 2^64 has a key. A node of height h is a secret of 32 bytes from which the keys of the 2^h numbers below it follow, and from
which nothing beside it does: its two children are the halves of its SHA-512 (Goldreich, Goldwasser and Micali, "How to construct random
functions", JACM 1986, section 3). At first the root is all that is kept. To destroy a key is to keep, instead of the node above it, the
nodes beside the way down to it (the puncturing of Boneh and Waters, "Constrained pseudorandom functions and their applications", 2013): the
key cannot be computed any more, all others can. After n of N keys in use are gone at most about n · log2(N / n) nodes are kept, and where they
are neighbours far fewer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from hashlib import sha512

KEY_BYTES = 32
HEIGHT = 64
"""Height of the root: there are 2^64 keys."""

NODE_BYTES = 8 + 1 + KEY_BYTES

Interval = tuple[int, int]
"""Numbers from the first, up to but without the second."""


class Destroyed(LookupError):
    """The key is gone, and cannot be computed."""


class KeyTree:
    """The nodes that cover the living keys. Immutable: destroying gives another tree.

    `nodes`: in the order of their numbers, each the first number below it (8 bytes), its height (1 byte) and its secret.
    """

    __slots__ = ("_nodes", "_way")

    def __init__(self, nodes: Sequence[bytes]) -> None:
        self._nodes = list(nodes)
        # The way down to the key that was asked for last: its number, the height it starts at, and the secret at each height below that.
        self._way: tuple[int, int, list[bytes]] = (0, -1, [])

    @classmethod
    def grown(cls, secret: bytes) -> KeyTree:
        """A whole tree from the secret of its root."""
        return cls([_node(0, HEIGHT, secret)])

    @classmethod
    def decoded(cls, data: bytes) -> KeyTree:
        """The tree that `encoded` wrote. Raises `ValueError` for other bytes."""
        if len(data) % NODE_BYTES:
            raise ValueError(f"a key tree of {len(data)} bytes, which are no nodes of {NODE_BYTES}")
        nodes = [data[at : at + NODE_BYTES] for at in range(0, len(data), NODE_BYTES)]
        ends = 0
        for node in nodes:
            start, height, _ = _parts(node)
            if start < ends or height > HEIGHT or start % (1 << height):
                raise ValueError("nodes of a key tree that are out of order")
            ends = start + (1 << height)
        return cls(nodes)

    def encoded(self) -> bytes:
        return b"".join(self._nodes)

    def __len__(self) -> int:
        """How many nodes are kept."""
        return len(self._nodes)

    def key(self, number: int) -> bytes:
        """The key of a number. Raises `Destroyed`.

        Numbers asked for in order cost about two hashes each; one far from the last costs at most 64.
        """
        last, top, way = self._way
        common = (number ^ last).bit_length()  # the height of the lowest node above both
        if common <= top:
            way = way[: top - common + 1]
        else:
            _, top, secret = self._node_at(number)
            way, common = [secret], top
        secret = way[-1]
        for height in range(common - 1, -1, -1):
            pair = sha512(secret).digest()
            secret = pair[KEY_BYTES:] if number >> height & 1 else pair[:KEY_BYTES]
            way.append(secret)
        self._way = (number, top, way)
        return secret

    def _node_at(self, number: int) -> tuple[int, int, bytes]:
        at = bisect_right(self._nodes, number.to_bytes(8, "big") + b"\xff") - 1
        if at >= 0:
            start, height, secret = _parts(self._nodes[at])
            if (number ^ start) >> height == 0:
                return start, height, secret
        raise Destroyed(number)

    def lives(self, number: int) -> bool:
        """Whether the key of a number can be computed."""
        try:
            self._node_at(number)
        except Destroyed:
            return False
        return True

    def whole(self, interval: Interval) -> bool:
        """Whether no key of an interval (2^h numbers that lie below one node) was destroyed."""
        try:
            start, height, _ = self._node_at(interval[0])
        except Destroyed:
            return False
        return interval[1] <= start + (1 << height)

    def empty(self, interval: Interval) -> bool:
        """Whether every key of an interval was destroyed."""
        first, end = self._reach(interval)
        return first == end

    def _reach(self, interval: Interval) -> tuple[int, int]:
        """From which index to which the nodes lie that have numbers of the interval below them."""
        start, end = interval
        first = bisect_right(self._nodes, start.to_bytes(8, "big") + b"\xff")
        if first and _end(self._nodes[first - 1]) > start:
            first -= 1
        return first, len(self._nodes) if end >= 1 << HEIGHT else bisect_left(self._nodes, end.to_bytes(8, "big"), lo=first)

    def without(self, intervals: Iterable[Interval]) -> KeyTree:
        """The tree in which the keys of the intervals are destroyed, beside those that were so before."""
        reached: dict[int, list[Interval]] = {}
        for interval in _joined(intervals):
            for at in range(*self._reach(interval)):
                reached.setdefault(at, []).append(interval)
        kept: list[bytes] = []
        done = 0
        for at, inside in reached.items():  # in order, since the intervals are
            kept += self._nodes[done:at]
            _cut(*_parts(self._nodes[at]), inside, kept)
            done = at + 1
        return KeyTree(kept + self._nodes[done:])


def _node(start: int, height: int, secret: bytes) -> bytes:
    return start.to_bytes(8, "big") + bytes([height]) + secret


def _parts(node: bytes) -> tuple[int, int, bytes]:
    return int.from_bytes(node[:8], "big"), node[8], node[9:]


def _end(node: bytes) -> int:
    return int.from_bytes(node[:8], "big") + (1 << node[8])


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    """The same numbers as intervals in order that neither overlap nor touch."""
    out: list[Interval] = []
    for start, end in sorted(intervals):
        if start >= end:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _cut(start: int, height: int, secret: bytes, gone: Sequence[Interval], kept: list[bytes]) -> None:
    """Append to `kept` the nodes that cover what of one node lies outside the intervals `gone`."""
    end = start + (1 << height)
    inside = [(a, b) for a, b in gone if a < end and b > start]
    if not inside:
        kept.append(_node(start, height, secret))
    elif inside[0][0] > start or inside[0][1] < end:
        pair = sha512(secret).digest()
        half = 1 << (height - 1)
        _cut(start, height - 1, pair[:KEY_BYTES], inside, kept)
        _cut(start + half, height - 1, pair[KEY_BYTES:], inside, kept)
