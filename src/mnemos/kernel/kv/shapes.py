"""In which form what was read is kept, or held for a request: a KV policy by its name and options, as people write it: `shadowkv:near=0.125`.

A KV memory of another form than the full one says in its metadata which one it is, and by a digest what that does: another form of the same text is
another memory. One that says nothing is full.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import Content
from mnemos.base.errors import Invalid, shown

if TYPE_CHECKING:
    from mnemos.activation.policy import Policy

POLICY = "policy"
"""The key of `metadata` of a KV memory that is not full: how its form is written, and the digest of what that does."""
FULL_NAME = "full"
_NEXT = re.compile(r",(?=\s*\w+\s*=)")


@dataclass(frozen=True)
class Shape:
    """A policy's name with its options; a policy that was given as an object has no `options`, and cannot be written."""

    name: str
    options: Mapping[str, Any] | None
    given: Policy | None = None

    @classmethod
    def of(cls, said: str | Policy) -> Shape:
        """`said`: a name, a name with options (`name:option=value,…`, values as JSON, or `name:{…}`), or a policy. Raises `Invalid`; what the name
        and its options mean is looked at when the policy is asked for."""
        if not isinstance(said, str):
            if not hasattr(said, "describe"):
                raise Invalid(f"a KV policy is given by its name, such as 'shadowkv:near=0.125', or as a policy, not as {shown(said)}")
            return cls(said.name, None, said)
        name, colon, rest = said.strip().partition(":")
        if not re.fullmatch(r"\w+", name) or (colon and not rest.strip()):
            raise Invalid(f"a KV policy is written NAME or NAME:option=value,…, such as shadowkv:near=0.125, not {shown(said)}")
        return cls(name, _options(rest.strip(), said) if colon else {})

    def __str__(self) -> str:
        options = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted((self.options or {}).items()))
        return f"{self.name}:{options}" if options else self.name

    @cached_property
    def policy(self) -> Policy:
        """Raises `Invalid` for a name that is none, and options that it does not take."""
        from mnemos.activation.policies import policy  # torch, only where it is needed

        if self.given is not None:
            return self.given
        made = policy(self.name, **(self.options or {}))
        _check_types(made, self.name)
        return made

    @property
    def full(self) -> bool:
        """Whether everything is held as it came."""
        return self.digest == ""

    @cached_property
    def digest(self) -> str:
        """Of what the policy says that it does; "" of the full one."""
        if self.name == FULL_NAME and not self.options and self.given is None:
            return ""
        from mnemos.activation.policy import FULL

        said = self.policy.describe()
        return "" if said == FULL.describe() else hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:32]

    @cached_property
    def against(self) -> str | None:
        """Why it may not be the form of what everybody goes on from; None: it may."""
        if self.full:
            return None
        from mnemos.activation.published import reason_against

        return reason_against(self.policy)

    def kept(self) -> Shape:
        """Itself. Raises `Invalid` where what is kept of a text may not have this form."""
        if self.against is not None:
            raise Invalid(f"the KV policy {self.name!r} {self.against}: what it leaves is of one request, and never kept of a text. Keep the text in "
                          "full, or as kivi, shadowkv or blocks have it, and name this policy where it is taken: take(…, policy=…), "
                          "generate(…, policy=…)")  # fmt: skip
        return self

    def metadata(self) -> dict[str, Any]:
        """What a KV memory of this form says of it. Raises `Invalid` for a policy that cannot be written."""
        if self.full:
            return {}
        if self.options is None:
            raise Invalid(f"the KV policy {self.name!r} was given as an object: to keep what it leaves, write it, such as 'shadowkv:near=0.125'")
        return {POLICY: {"is": str(self), "digest": self.digest}}


FULL_SHAPE = Shape(FULL_NAME, {})


def shape_of(content: Content) -> tuple[str, str]:
    """How the form of a KV memory is written, and its digest; ("full", "") where it says nothing."""
    said = content.metadata.get(POLICY)
    return (str(said["is"]), str(said["digest"])) if isinstance(said, Mapping) else (FULL_NAME, "")


def _check_types(made: Any, name: str) -> None:
    """Raises `Invalid` where a part of a policy has a value of another type than it says: it would be found out when a text has been read."""
    for field in fields(made) if is_dataclass(made) else ():  # the full one has no options
        value, wanted = getattr(made, field.name), str(field.type).removesuffix(" | None")
        for part in value if isinstance(value, tuple) else (value,):
            if is_dataclass(part):
                _check_types(part, name)
        right = _TYPES.get(wanted)
        if right is not None and value is not None and (not isinstance(value, right) or (isinstance(value, bool) and wanted != "bool")):
            raise Invalid(f"the KV policy {name!r}: {field.name} is {shown(value)}, and has to be of type {field.type}")


_TYPES: Mapping[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "bool": bool, "str": str}


def _not_finite(constant: str) -> None:
    raise ValueError(f"{constant} is no value of an option")


def _options(text: str, said: str) -> dict[str, Any]:
    if text.startswith("{"):
        try:
            whole = json.loads(text, parse_constant=_not_finite)
        except ValueError as error:
            raise Invalid(f"the options of the KV policy {shown(said)} are no JSON object: {error}") from None
        return dict(whole)
    options: dict[str, Any] = {}
    for piece in _NEXT.split(text):
        name, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or not name.isidentifier() or not value or name in options:
            raise Invalid(f"the options of the KV policy {shown(said)} are written option=value,…, each once; {shown(piece)} is none")
        try:
            options[name] = json.loads(value, parse_constant=_not_finite)
        except ValueError:
            options[name] = value
    return options
