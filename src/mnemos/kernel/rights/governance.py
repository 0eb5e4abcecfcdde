"""Who may do what: spaces have an owner and rules, cubes may have narrower ones, and what no rule allows is denied.

A store that is opened without a principal is the program's own: it may do everything, as the file's owner may. A rule names principals, roles
("role:editors"), or everybody ("*"). The rules of a cube only narrow those of its space: whom they leave out does not see that it exists.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from mnemos.base.chain import Entry
from mnemos.base.clock import EARLIEST, LATEST, to_micros
from mnemos.base.cube import Json, check_word, check_words
from mnemos.base.errors import Invalid, PermissionDenied, shown
from mnemos.store.base import Snapshot

VERBS = ("read", "write", "share", "derive", "forget")
CHANGES = ("write", "share", "forget")
"""What a read-only space refuses to everybody."""
EVERYBODY = "*"
ROLE = "role:"
LABELS = ("public", "internal", "personal", "secret")
"""Labels of sensitivity, the least first. A cube without one is public; one with a label that is none of these counts as secret."""


class Access:
    """What one principal may do, with the roles that it has. `principal` None may everything."""

    def __init__(self, principal: str | None, roles: Iterable[str] = ()) -> None:
        self.principal = principal
        self.names: tuple[str, ...] = () if principal is None else (principal, *(ROLE + role for role in roles), EVERYBODY)
        """The names under which a rule may mean this principal."""

    def may(self, verb: str, settings: Json, acl: Json | None = None) -> bool:
        """Whether `verb` is allowed in a space with these settings, on a cube with the rules `acl`."""
        if settings.get("read_only") and verb in CHANGES and not (verb == "share" and acl is None):
            return False
        if self.principal is None:
            return True
        if verb == "derive" and not self.may("read", settings, acl):
            return False
        if acl is not None and not self.listed(acl, verb, absent=True):
            return False
        if settings.get("owner") == self.principal:
            return True
        denied = (settings.get("deny") or {}).get(verb, ())
        if any(name in denied for name in self.names):
            return False
        rules = settings.get("acl") or {}
        return self.listed(rules, "read" if verb == "derive" and "derive" not in rules else verb, absent=False)

    def listed(self, rules: Json, verb: str, *, absent: bool) -> bool:
        """Whether the rules name this principal for `verb`; `absent` where they say nothing of the verb."""
        if self.principal is None:
            return True
        named = rules.get(verb)
        return absent if named is None else any(name in named for name in self.names)

    def clearance(self, settings: Json) -> int | None:
        """The highest label (its place in `LABELS`) that may be read in a space; None where every label may be."""
        levels = settings.get("clearance")
        if self.principal is None or levels is None or settings.get("owner") == self.principal:
            return None
        return max((LABELS.index(levels[name]) for name in self.names if name in levels), default=0)

    def require(self, verb: str, space: str, settings: Json) -> None:
        """Raise `PermissionDenied` where `verb` is not allowed in a space. The message tells nothing of the space."""
        if not self.may(verb, settings):
            if settings.get("read_only") and self.may(verb, {**settings, "read_only": False}):
                raise PermissionDenied(
                    f"space {space!r} is read-only; lift that first: mem.space({space!r}, read_only=False), or `mnemos space --writable`"
                )
            raise PermissionDenied(f"principal {self.principal!r} may not {verb} in space {space!r}; ask its owner")


def access(principal: str | None, snapshot: Snapshot) -> Access:
    """What `principal` may do by the roles that it has in this snapshot."""
    if principal is None:
        return Access(None)
    roles = snapshot.settings("role/")
    return Access(principal, sorted(name.removeprefix("role/") for name, members in roles.items() if principal in members))


def told(entry: Entry, access: Access, settings: Json) -> Json:
    """What an entry of a space's log says to whoever may see it: of rules and settings nothing but to those who may share."""
    return entry.body_json() if entry.kind not in ("space", "permission") or access.may("share", settings) else {}


def label_level(label: str | None) -> int:
    """The place of a label among `LABELS`: 0 for none, the highest for one that is not known."""
    if label is None:
        return 0
    return LABELS.index(label) if label in LABELS else len(LABELS) - 1


def check_rules(acl: Any, keyword: str = "acl") -> dict[str, list[str]] | None:
    """The rules `{"read": ["bob", "role:editors"], "write": […], …}`, checked; "*" stands for everybody. Raises `Invalid`."""
    if acl is None:
        return None
    if not isinstance(acl, Mapping):
        raise Invalid(f"{keyword}: expected a dict such as {{'read': ['bob']}}, not {type(acl).__name__}")
    out: dict[str, list[str]] = {}
    for verb, principals in acl.items():
        if verb not in VERBS:
            raise Invalid(f"{keyword}: unknown verb {shown(verb)}; known are {', '.join(VERBS)}")
        if isinstance(principals, str) or not isinstance(principals, (list, tuple, set, frozenset)):
            raise Invalid(f"{keyword}: {verb!r} takes a list of principals")
        out[verb] = sorted(check_words(principals, f"{keyword}.{verb}"))
    return out


def common_rules(rules: Iterable[Json | None]) -> dict[str, list[str]] | None:
    """Rules that let somebody do only what each of `rules` lets: for each verb, the names that all that list it have in common. None where none
    says anything. Names are compared as they are: whom one names by a role, and another by name, both do not have in common."""
    out: dict[str, list[str]] = {}
    for one in rules:
        for verb, names in (one or {}).items():
            known = out.get(verb)
            if known is None or EVERYBODY in known:
                out[verb] = list(names)
            elif EVERYBODY not in names:
                out[verb] = [name for name in known if name in names]
    return out or None


def check_principals(values: Any, keyword: str) -> list[str]:
    """Names of principals, checked and in order: nobody is called like a role, or like everybody. Raises `Invalid`."""
    names = sorted(check_words(values, keyword))
    for name in names:
        check_principal(name, keyword)
    return names


def check_principal(name: str, keyword: str = "principal") -> str:
    """A principal's name. Raises `Invalid` where it is blank, or would be read as a role or as everybody."""
    if not name.strip() or name == EVERYBODY or name.startswith(ROLE):
        raise Invalid(f"{keyword}: {shown(name)} cannot be a principal's name; names are not blank, not '*', and do not begin with 'role:'")
    return name


def check_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `Mnemos.space` that are rules, checked: those that are None are left out. Raises `Invalid`, naming the keyword."""
    out: dict[str, Any] = {}
    for name in ("acl", "deny"):
        if (rules := check_rules(given.get(name), name)) is not None:
            out[name] = rules
    if (read_only := given.get("read_only")) is not None:
        if not isinstance(read_only, bool):
            raise Invalid(f"read_only: expected True or False, not {shown(read_only)}")
        out["read_only"] = read_only
    if (detect := given.get("detect")) is not None:
        if not isinstance(detect, bool):
            raise Invalid(f"detect: expected True or False, not {shown(detect)}")
        out["detect"] = detect
    if (clearance := given.get("clearance")) is not None:
        out["clearance"] = _by_name(clearance, "clearance", _label)
    if (licences := given.get("licences")) is not None:
        out["licences"] = _by_name(licences, "licences", _licence)
    if (quota := given.get("quota")) is not None:
        out["quota"] = _numbers(quota, "quota", ("cubes", "bytes"))
    if (rate := given.get("rate")) is not None:
        out["rate"] = _numbers(rate, "rate", ("reads_per_minute", "writes_per_minute"))
    return out


def _by_name(given: Any, keyword: str, check: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise Invalid(f"{keyword}: expected a dict from principals, roles ('role:…') or '*', not {type(given).__name__}")
    return {str(check_word(name, keyword)): check(value, f"{keyword}[{shown(name)}]") for name, value in sorted(given.items())}


def _label(value: Any, where: str) -> str:
    if value not in LABELS:
        raise Invalid(f"{where}: {shown(value)} is no label; labels are {', '.join(LABELS)}")
    return str(value)


def _licence(value: Any, where: str) -> dict[str, int]:
    """A licence: how many `reads` it allows, and `until` when (a time)."""
    if not isinstance(value, Mapping) or not set(value) <= {"reads", "until"}:
        raise Invalid(f"{where}: expected a dict with 'reads' (a number), 'until' (a time), or both")
    out: dict[str, int] = {}
    if value.get("reads") is not None:
        out |= _numbers({"reads": value["reads"]}, where, ("reads",))
    if value.get("until") is not None:
        until = value["until"]
        if isinstance(until, int) and not isinstance(until, bool):
            if not EARLIEST <= until <= LATEST:
                raise Invalid(f"{where}: {shown(until)} microseconds since 1970 lie outside the years 1 to 9999")
            out["until"] = until
        else:
            micros = to_micros(until, where)
            assert micros is not None
            out["until"] = micros
    return out


def _numbers(given: Any, keyword: str, names: tuple[str, ...]) -> dict[str, int]:
    if not isinstance(given, Mapping):
        raise Invalid(f"{keyword}: expected a dict with {', '.join(names)}, not {type(given).__name__}")
    for name, value in given.items():
        if name not in names:
            raise Invalid(f"{keyword}: unknown limit {shown(name)}; known are {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise Invalid(f"{keyword}.{name}: expected a whole number, 0 or more, not {shown(value)}")
    return {name: given[name] for name in names if name in given}


def licence_of(access: Access, settings: Json) -> tuple[str, Json] | None:
    """The licence under which a principal reads a space: (the name that it is given to, what it allows). The owner, and whoever no licence
    names, needs none; one that names the principal goes before one for a role, and that before one for everybody."""
    licences = settings.get("licences")
    if not licences or access.principal is None or settings.get("owner") == access.principal:
        return None
    return next(((name, licences[name]) for name in access.names if name in licences), None)


def until_text(micros: int) -> str:
    return datetime.datetime.fromtimestamp(micros / 1e6, datetime.UTC).isoformat(timespec="seconds")
