"""The policies by name, as benchmarks, the command line and users name them: `policy("snapkv", share=1/8)`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

from mnemos.activation.policy import Policy
from mnemos.activation.rationing import check
from mnemos.base.errors import Invalid

MODULES = {
    "full": "full",
    "window": "window",
    "snapkv": "snapkv",
    "pyramidkv": "pyramidkv",
    "shadowkv": "shadowkv",
    "h2o": "h2o",
    "tova": "tova",
    "knorm": "knorm",
    "keydiff": "keydiff",
    "expected": "expected",
    "kivi": "kivi",
    "think": "think",
    "lazyeviction": "lazyeviction",
    "raas": "raas",
    "rkv": "rkv",
    "uncomp": "uncomp",
    "landmark": "landmark",
    "blocks": "blocks",
    "ashape": "ashape",
    "trishape": "trishape",
    "topblocks": "topblocks",
}
"""Where `make(**options) -> Policy` of each policy stands."""

PLANS = ("uncomp", "kivi")
"""Policies that know themselves what to do with a plan of heads; of any other the budget is divided by it."""

BY_THEMSELVES = ("shadowkv", "blocks", "landmark", "ashape", "trishape", "topblocks")
"""Policies that know themselves what to do with a share of bytes, or hand it on; parameters of any other are tried until they keep it."""
CHOSEN = {"kivi": ("bits", "plan"), "think": ("share", "values")}
"""Options that a share of bytes chooses; of other policies tokens."""


def policy(name: str, **options: Any) -> Policy:
    """The policy of that name; `plan`: a `calibration.Plan` by which heads keep unequally much; `near`: the share of the full cache's bytes that it
    may hold near (`rationed.within`). Raises `Invalid` for a name that is none, or options that it does not take."""
    if name not in MODULES:
        raise Invalid(f"no KV policy is named {name!r}; there are {', '.join(sorted(MODULES))}")
    make: Callable[..., Policy] = import_module(f"{__name__}.{MODULES[name]}").make
    near = None if name in BY_THEMSELVES else options.pop("near", None)
    check(near, name, options, CHOSEN.get(name, ("tokens", "share")))
    if near is not None and "tokens" in signature(make).parameters:
        options["tokens"] = 2**30
    plan = None if name in PLANS else options.pop("plan", None)
    try:
        signature(make).bind(**options)
    except TypeError as error:
        takes = ", ".join(signature(make).parameters) or "none"
        raise Invalid(f"the KV policy {name!r} does not take these options: {error}; it takes {takes}") from error
    try:
        made = make(**options)
    except TypeError as error:
        raise Invalid(f"the KV policy {name!r}: an option has a value of another type than it takes: {error}") from error
    if plan is not None:
        from mnemos.activation.planned import planned  # which policies are made of

        made = planned(made, plan)
    if near is None:
        return made
    from mnemos.activation.rationed import within  # which policies are made of

    return within(made, near)
