"""Whose keys and values a cache holds. What one model made of tokens says nothing to another, even where all shapes are equal.

A cache is marked with the model that reads into it, a model with what its caches are marked with; both marks are one object, so that to compare
them costs nothing. Only where they differ is it looked at whether two models are the same: by their settings, and by their weights, number by number,
once for each pair. Keys and values are of token ids: how texts become ids is not compared here, but in the fingerprint of what lies on disk.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch

from mnemos.base.errors import Invalid, shown
from mnemos.models.local.fingerprint import settings_of

_MARK = "mnemos_origin"
"""The attribute of a model that its origin is, as long as its weights are what they are."""
_marking = threading.Lock()


class Origin:
    """A model with the weights that it had when it read. It keeps no model alive. Copies of a cache have the same; a pickled one has none."""

    def __init__(self, module: Any) -> None:
        self._module = weakref.ref(module)
        self._alike: weakref.WeakSet[Origin] = weakref.WeakSet()
        path = getattr(module.config, "_name_or_path", "")
        self.name = f"{type(module).__name__} {shown(path)}" if path else type(module).__name__

    def __copy__(self) -> Origin:
        return self

    def __deepcopy__(self, memo: Any) -> Origin:
        return self

    def __reduce__(self) -> Any:
        return type(None), ()

    @property
    def module(self) -> Any:
        """The model; None where it is gone, or its weights have changed."""
        module = self._module()
        return module if module is not None and vars(module).get(_MARK) is self else None

    def why_not(self, other: Origin) -> str | None:
        """Why the keys and values of another are not what this model, which is here, would have made; None: they are."""
        mine: Any = self._module()
        its = other.module
        if its is None and other._module() is not None:
            return "whose weights have changed since"
        if its is None:
            return "which is not here any more to be compared with this one"
        if other in self._alike or any(one is its for one in mine.modules()):  # a model may stand within another
            return None
        if (difference := _difference(mine, its)) is None:
            self._alike.add(other)
        return difference


def origin_of(module: Any) -> Origin:
    """What caches are marked with that this model reads into."""
    with _marking:
        found = vars(module).get(_MARK)
        if not isinstance(found, Origin) or found._module() is not module:  # a copied model brings the mark of the other
            found = Origin(module)
            vars(module)[_MARK] = found
        return found


def weights_changed(module: Any) -> None:
    """What this model has read so far, it would read otherwise now; so would those within it."""
    with _marking:
        for one in module.modules():
            vars(one).pop(_MARK, None)


def claim(cache: Any, module: Any) -> None:
    """Marks a cache as what this model reads into. Raises `Invalid` where it holds keys and values of another model, saying whose. What nobody has
    marked, filled by a module of transformers say, is taken as it is."""
    own, known = origin_of(module), getattr(cache, "origin", None)
    if known is own:
        return
    if not isinstance(known, Origin):
        cache.origin = own
    elif (why := own.why_not(known)) is not None:
        raise Invalid(
            f"the cache holds keys and values of another model, {known.name}, {why}, and this one, {own.name}, would misread them: "
            "go on with the model that read it, or give all tokens again with a new cache"
        )


def _difference(one: Any, other: Any) -> str | None:
    """In what two models differ of all that keys and values depend on, in words; None: in nothing."""
    mine, its = settings_of(one), settings_of(other)
    if different := [name for name in mine if mine[name] != its[name]]:
        return f"which differs from this one in its {' and '.join(different)}"
    mine, its = one.state_dict(), other.state_dict()
    if mine.keys() != its.keys():
        return "which has other weights"
    for name, tensor in mine.items():
        if tensor.shape != its[name].shape or tensor.dtype != its[name].dtype or not torch.equal(tensor, its[name].to(tensor.device)):
            return f"whose weights {name} differ from those of this one"
    return None
