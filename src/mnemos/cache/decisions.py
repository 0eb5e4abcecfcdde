"""The log of what a policy decided: enough to run it again, request by request, and to tell how good its bits were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from mnemos.base.errors import Corrupt, Invalid, shown
from mnemos.cache.base import UNIT, Key, Meta
from mnemos.cache.bit_policy import BitPolicy
from mnemos.cache.labels import Errors, discard_bits, discard_errors
from mnemos.cache.policy import Policy
from mnemos.cache.shadows import Shadows
from mnemos.cache.state import packed, unpacked


@dataclass(frozen=True)
class Decision:
    """A request and what came of it. `bit` is the page's bit after it, where the policy follows bits; `victims` are the pages dropped, with the
    bits they had; `leader` is the policy that was followed, where several compete."""

    key: Key
    hit: bool
    bit: int | None
    victims: tuple[tuple[Key, int | None], ...]
    leader: str | None
    meta: Meta = UNIT

    def as_json(self) -> dict[str, Any]:
        """JSON values. Raises `Invalid` for keys that cannot be written, as `state_dict` does."""
        said = {name: value for name, value in asdict(self.meta).items() if value != getattr(UNIT, name)}
        victims = [[packed(key), bit] for key, bit in self.victims]
        return {"key": packed(self.key), "hit": self.hit, "bit": self.bit, "victims": victims, "leader": self.leader, "meta": said}

    @classmethod
    def from_json(cls, record: Any) -> Decision:
        """What `as_json` gave. Raises `Corrupt`."""
        try:
            victims = tuple((unpacked(key), bit) for key, bit in record["victims"])
            known = {field.name for field in fields(Meta)}
            if not set(record["meta"]) <= known:
                raise KeyError(*set(record["meta"]) - known)
            meta = Meta(**record["meta"]) if record["meta"] else UNIT
            return cls(unpacked(record["key"]), bool(record["hit"]), record["bit"], victims, record["leader"], meta)
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"decision log: {shown(record)} is no decision ({error})") from None


class Recorder:
    """Passes requests on to a policy and each decision to `write`."""

    def __init__(self, policy: Policy, write: Callable[[Decision], object]) -> None:
        self.policy = policy
        self._write = write

    def request(self, key: Key, meta: Meta = UNIT) -> list[Key] | None:
        """See `Policy.request`."""
        dropped = self.policy.request(key, meta)
        self._write(_decision(self.policy, key, meta, dropped))
        return dropped


def differences(decisions: Iterable[Decision], policy: Policy) -> Iterator[tuple[int, Decision, Decision]]:
    """Runs the requests of a log again, through a new policy made as the logged one was: (number, as logged, as it came now) where these differ."""
    for number, logged in enumerate(decisions):
        again = _decision(policy, logged.key, logged.meta, policy.request(logged.key, logged.meta))
        if again != logged:
            yield number, logged, again


def errors_of(decisions: Sequence[Decision], capacity: int) -> Errors:
    """How wrong the bits were by which the policy acted: of each request the page's bit when it was dropped, or else when it was asked for.

    The truth is Belady's, for pages of one size. Raises `Invalid` for the log of a policy without bits.
    """
    if all(decision.bit is None for decision in decisions):
        raise Invalid("decision log: none of its decisions has a bit; it is that of a policy that follows none")
    bits = np.zeros(len(decisions), dtype=np.int8)
    last: dict[Key, int] = {}
    for number, decision in enumerate(decisions):
        for victim, bit in decision.victims:
            if bit is not None and victim in last:
                bits[last[victim]] = bit
        bits[number] = decision.bit or 0
        last[decision.key] = number
    return discard_errors(bits, discard_bits([decision.key for decision in decisions], capacity))


def _decision(policy: Policy, key: Key, meta: Meta, dropped: list[Key] | None) -> Decision:
    parts = policy.experts if isinstance(policy, Shadows) else (policy,)
    bits = next((part for part in parts if isinstance(part, BitPolicy)), None)
    bit = bits.bit_of(key) if bits is not None and key in bits.pages else None
    victims = tuple((victim, None if bits is None else bits.victim_bits.get(victim)) for victim in dropped or ())
    return Decision(key, dropped is None, bit, victims, policy.leading.name if isinstance(policy, Shadows) else None, meta)
