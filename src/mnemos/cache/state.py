"""The state of a policy as JSON values and back: containers keep their kind and order, and nothing is run when they are read."""

from __future__ import annotations

import base64
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid, shown
from mnemos.cache.random_set import RandomSet

_PLAIN = (str, int, float, bool, type(None))


def packed(value: Any) -> Any:
    """`value` as JSON. Plain values stand for themselves, everything else is `[kind, content]`. Raises `Invalid` for what it cannot write."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, bytes | bytearray):
        return [type(value).__name__, base64.b64encode(value).decode()]
    if isinstance(value, OrderedDict | dict):
        kind = "ordered" if isinstance(value, OrderedDict) else "dict"
        return [kind, [[packed(key), packed(item)] for key, item in value.items()]]
    if isinstance(value, list | tuple | set | deque) and type(value).__name__ in _READERS:  # not a kind derived from one, which would not come back
        return [type(value).__name__, [packed(item) for item in value]]
    if isinstance(value, RandomSet):
        return ["members", [packed(key) for key in value]]
    if isinstance(value, random.Random):
        version, internal, gauss = value.getstate()
        return ["random", [version, list(internal), gauss]]
    if isinstance(value, np.ndarray):
        return ["array", [str(value.dtype), list(value.shape), base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()]]
    raise Invalid(f"cache state: a key or value of type {type(value).__name__} ({shown(value)}) cannot be written: use text, numbers, tuples")


def _random(content: Any) -> random.Random:
    generator = random.Random()
    generator.setstate((content[0], tuple(content[1]), content[2]))
    return generator


def _array(content: Any) -> Any:
    dtype, shape, data = content
    return np.frombuffer(base64.b64decode(data), dtype=np.dtype(dtype)).reshape(shape).copy()


_READERS: dict[str, Callable[[Any], Any]] = {
    "bytes": base64.b64decode,
    "bytearray": lambda content: bytearray(base64.b64decode(content)),
    "ordered": lambda content: OrderedDict((unpacked(key), unpacked(item)) for key, item in content),
    "dict": lambda content: {unpacked(key): unpacked(item) for key, item in content},
    "list": lambda content: [unpacked(item) for item in content],
    "tuple": lambda content: tuple(unpacked(item) for item in content),
    "set": lambda content: {unpacked(item) for item in content},
    "deque": lambda content: deque(unpacked(item) for item in content),
    "members": lambda content: RandomSet(unpacked(item) for item in content),
    "random": _random,
    "array": _array,
}


def unpacked(value: Any) -> Any:
    """What `packed` made JSON of. Raises `Invalid` for anything else."""
    if isinstance(value, _PLAIN):
        return value
    try:
        kind, content = value
        return _READERS[kind](content)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Invalid(f"cache state: {shown(value)} is nothing that a policy wrote ({error}); give what `state_dict` gave, unchanged") from None


def copied(value: Any) -> Any:
    """A copy of containers and generators, however nested, that shares the keys in them."""
    if isinstance(value, OrderedDict | dict):
        return type(value)((key, copied(item)) for key, item in value.items())
    if isinstance(value, list | set | deque):
        return type(value)(copied(item) for item in value)
    if isinstance(value, random.Random):
        twin = random.Random()
        twin.setstate(value.getstate())
        return twin
    if isinstance(value, np.ndarray | bytearray | RandomSet):
        return value.copy()
    return value
