"""A plan for one model: which heads and layers carry how much (UNComp, arXiv 2410.03090), measured once on a few texts and kept as JSON.

Heads by the truncated entropy of their queries before those are turned by position, layers by that of the hidden states that enter them. Whether
heads of higher entropy really need more is another question, and models differ: `signal` measures it, and what each head needs, which can be followed
instead. A plan that carries no signal, and whose needs are not steady, is not followed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnemos.activation.attending import ROWS_AT_ONCE
from mnemos.activation.deletion import likeness, most_alike
from mnemos.activation.entropy import RULES, matrix_entropy
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.planning import DROP, RULE, Grid, in_groups, query_entropies, stages_of
from mnemos.activation.policy import Policy
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid

VERSION = 2
LEAST_SIGNAL = 0.4
"""Rank correlation of entropy and need under which a plan has no signal; of needs on some prompts and on others under which they are not steady."""
SOURCES = ("auto", "entropy", "need")

MORE = ("head_need", "head_cost")
"""What a plan may have of each head beside its entropy."""
Values = tuple[tuple[float, ...], ...]
"""[layers][key-value heads]."""


@dataclass(frozen=True)
class Plan:
    """What a calibration found. `head_entropy` [layers][key-value heads], `layer_entropy` [layers], in nats; `head_group` and `layer_stage` number
    from 0, which keeps the most. `fingerprint` is the model's (weights, tokenizer, positions), `sample` the digest of the token ids that were read.
    `alike` [layers][query heads]: the other heads of the layer, those whose attention is most like the head's first.

    `signal`: the rank correlation of entropy and need that was measured, None where it was not; NaN is kept as 0. `head_need` is that need (see
    `signal.needs`), () where it was not measured, and `steadiness` the rank correlation of what two halves of the prompts say of it. `head_cost` is
    what deleting the head costs (see `signal.costs`), () where it was not measured."""

    fingerprint: str
    sample: str
    head_entropy: Values
    layer_entropy: tuple[float, ...]
    head_group: Grid
    layer_stage: tuple[int, ...]
    groups: int = 2
    rule: str = RULE
    rotated: bool = False
    drop: float = DROP
    signal: float | None = None
    head_need: Values = ()
    steadiness: float | None = None
    alike: tuple[Grid, ...] = ()
    head_cost: Values = ()
    version: int = VERSION

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hex."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()

    @property
    def has_signal(self) -> bool:
        """False where it was measured that entropy does not say what heads need: such a plan is not followed."""
        return self.signal is None or self.signal >= LEAST_SIGNAL

    @property
    def has_need(self) -> bool:
        """Whether needs were measured, and other prompts say the same of them."""
        return bool(self.head_need) and self.steadiness is not None and self.steadiness >= LEAST_SIGNAL

    def source(self, by: str = "auto", follow: bool = False) -> str | None:
        """What heads are to be told apart by: "entropy" or "need"; None: by nothing, since what is asked for was measured to say nothing, which
        `follow` overlooks. "auto": by need where it was measured and is steady, else by entropy. Raises `Invalid` for needs that nobody measured."""
        if by not in SOURCES:
            raise Invalid(f"heads are not told apart by {by!r}; there are {', '.join(SOURCES)}")
        if by == "need" and not self.head_need:
            raise Invalid("what heads need was not measured: plan = with_need(plan, needs(model, prompts)), of mnemos.activation.signal")
        if by == "auto":
            by = "need" if self.has_need else "entropy"
        known = self.has_need if by == "need" else self.has_signal
        return by if known or follow else None

    def values(self, source: str) -> Values:
        """What heads are told apart by."""
        return self.head_need if source == "need" else self.head_entropy

    def with_signal(self, signal: float) -> Plan:
        """The same with what was measured of its signal."""
        return replace(self, signal=0.0 if math.isnan(signal) else signal)

    def agreement(self, other: Plan) -> float:
        """Share of heads that are in the same group in both."""
        return float(np.mean(np.asarray(self.head_group) == np.asarray(other.head_group)))

    def candidates(self, count: int) -> list[tuple[int, int]]:
        """(layer, head) of the highest entropy: where to look first for heads that fetch from afar."""
        flat = [(entropy, layer, head) for layer, its in enumerate(self.head_entropy) for head, entropy in enumerate(its)]
        return [(layer, head) for _, layer, head in sorted(flat, key=lambda each: -each[0])[:count]]

    def report(self) -> str:
        """A table to read: a line for each layer, its stage, its entropy and how far that fell, and entropy/group of its heads; then the candidates
        for heads that fetch from afar."""
        said = "not measured" if self.signal is None else f"{self.signal:+.2f}"
        said += "" if self.has_signal else ": no signal"
        if self.steadiness is not None:
            said += f"; needs are {'' if self.has_need else 'not '}steady ({self.steadiness:+.2f})"
        said += f"; budgets by {self.source() or 'nothing: equal ones'}"
        lines = [f"signal: {said}", "layer stage entropy   fall  heads: entropy/group"]
        before = self.layer_entropy[0]
        for layer, entropy in enumerate(self.layer_entropy):
            heads = " ".join(f"{its:.3f}/{group}" for its, group in zip(self.head_entropy[layer], self.head_group[layer], strict=True))
            lines.append(f"{layer:5} {self.layer_stage[layer]:5} {entropy:7.3f} {before - entropy:+6.3f}  {heads}")
            before = entropy
        lines.append("highest: " + ", ".join(f"layer {layer} head {head}" for layer, head in self.candidates(4)))
        return "\n".join(lines)

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def save(self, path: Path | str) -> None:
        """Writes it as JSON."""
        Path(path).write_text(self.dumps() + "\n", encoding="utf-8")

    @classmethod
    def loads(cls, text: str, fingerprint: str) -> Plan:
        """The plan that `dumps` wrote, for the model of this fingerprint. Raises `FingerprintMismatch` where it is another model's, `Corrupt` for
        what is no plan or one of another version."""
        try:
            plain = json.loads(text)
            if plain["version"] != VERSION:
                raise Corrupt(f"the plan has version {plain['version']!r}; this one reads {VERSION}: calibrate again")
            layers = {name: tuple(tuple(its) for its in plain.get(name, ())) for name in ("head_entropy", "head_group", *MORE)}
            layers["alike"] = tuple(tuple(tuple(others) for others in its) for its in plain.get("alike", ()))
            flat = {name: tuple(plain[name]) for name in ("layer_entropy", "layer_stage")}
            plan = cls(**{**plain, **layers, **flat})
            shapes = {len(plan.head_entropy), len(plan.head_group), len(plan.layer_entropy), len(plan.layer_stage)}
            grids = (plan.head_entropy, plan.head_group, *(getattr(plan, name) or plan.head_entropy for name in MORE))
            widths = [[len(its) for its in grid] for grid in grids]
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"this is no plan of heads and layers: {error!r}") from error
        if len(shapes) != 1 or any(its != widths[0] for its in widths) or len(plan.alike) not in (0, len(plan.head_entropy)):
            raise Corrupt("the plan's parts are of unlike numbers of layers or heads: calibrate again")
        if plan.fingerprint != fingerprint:
            raise FingerprintMismatch(f"the plan is of the model {plan.fingerprint}, this one is {fingerprint}: calibrate for it")
        return plan

    @classmethod
    def load(cls, path: Path | str, fingerprint: str) -> Plan:
        """From a file; raises as `loads` does, and `OSError`."""
        return cls.loads(Path(path).read_text(encoding="utf-8"), fingerprint)


class _Watch(Policy):
    """Drops nothing, and has layers keep all queries, and know how they were turned, where that is wanted."""

    name = "watch"
    query_window = 1 << 30

    def __init__(self, unrotates: bool) -> None:
        self.unrotates = unrotates


def calibrate(model: Any, fingerprint: str, sequences: Sequence[Sequence[int]], groups: int = 2, rule: str = RULE, drop: float = DROP,
              votes: bool = False, rotated: bool = False) -> Plan:  # fmt: skip
    """Reads token sequences, some tens of them, and plans. A key-value head's entropy, by `rule`, is the mean over the query heads that share it; of
    a layer's hidden states a quarter of the eigenvalues count. `votes`: heads are grouped by the sum of their ranks in each sequence, not by their
    mean entropy. `rotated`: entropy is of queries as attention sees them, turned by their positions. Raises `Invalid` for no sequences, or one of
    under 2 tokens."""
    if not sequences or min(len(each) for each in sequences) < 2:
        raise Invalid("a calibration needs at least one sequence, and each of at least 2 tokens")
    if rule not in RULES:
        raise Invalid(f"no rule for the elbow of a spectrum is named {rule!r}; there are {', '.join(RULES)}")
    heads, layers, cosines = [], [], []
    for sequence in sequences:
        memory = KVMemory.of(model, _Watch(not rotated))
        with torch.no_grad():
            ids = torch.tensor([list(sequence)], device=model.device)
            hidden = model(ids, cache=memory, output_hidden_states=True, logits_to_keep=1).hidden_states
        if len(memory.managed) != len(memory.layers):
            raise Invalid(f"{type(model).__name__} has layers of limited sight, whose heads cannot be planned for")
        heads.append([query_entropies(layer.view(), rule) for layer in memory.managed])
        cosines.append(torch.stack([_likeness(layer) for layer in memory.managed]))
        layers.append([float(matrix_entropy(states[0])) for states in hidden[: len(memory.layers)]])
    each = np.asarray(heads)  # [sequences, layers, heads]
    mean, order = each.mean(0), each.argsort(-1).argsort(-1).sum(0) if votes else each.mean(0)
    layer_entropy = tuple(np.asarray(layers).mean(0).tolist())
    sample = hashlib.sha256(json.dumps([[int(one) for one in sequence] for sequence in sequences]).encode()).hexdigest()
    return Plan(
        fingerprint=fingerprint,
        sample=sample,
        head_entropy=tuple(tuple(its) for its in mean.tolist()),
        layer_entropy=layer_entropy,
        head_group=in_groups(order.tolist(), groups),
        layer_stage=stages_of(layer_entropy, drop),
        groups=groups,
        rule=rule,
        rotated=rotated,
        drop=drop,
        alike=tuple(most_alike(its) for its in torch.stack(cosines).mean(0)),
    )


def _likeness(layer: MemoryLayer) -> Tensor:
    """[H, H]: how alike the layer's query heads attended to one sequence."""
    return likeness(some.window_attention()[0].flatten(0, 1) for some in layer.view().in_blocks(ROWS_AT_ONCE))
