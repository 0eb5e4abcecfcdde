"""Methods of the harness beyond a cache and its policy: prompts made shorter, fragments put together, memory tokens, landmarks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mnemos.activation.beacon import reference as beacons_of
from mnemos.activation.beacon import saving
from mnemos.activation.beacon.windows import Windows
from mnemos.activation.fragments import SHARE, Fragment, put_together
from mnemos.activation.landmark import reference as landmark
from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.memory import KVMemory
from mnemos.base.errors import Invalid
from mnemos.bench.scbench.choosing import REFERENCE_MODEL
from mnemos.bench.scbench.hf import CacheMethod, Handle
from mnemos.bench.scbench.methods import Stats
from mnemos.models import reference

SURPRISAL, STATISTICS = "surprisal", "statistics"
AT_ONCE = 512
"""Tokens whose surprisal is computed together."""


@dataclass
class Shortened(Handle):
    """A handle whose cache has read some tokens of a context of `whole`: those at `places`."""

    places: list[int] = field(default_factory=list)
    whole: int = 0


class PromptMethod(CacheMethod):
    """Reads only one of `ratio` tokens of a context, those that say most, as if they were the text (LLMLingua, arXiv 2310.05736, with the model that
    reads as the one that judges). Questions are read whole.

    `by`: "surprisal", −log p of a token after those before it, which costs a pass over the whole context; "statistics", −log of its share of the
    context, which costs nothing. The first token stays.
    """

    def __init__(self, model: Any, ratio: float = 3, by: str = SURPRISAL) -> None:
        if ratio < 1 or by not in (SURPRISAL, STATISTICS):
            raise Invalid(f"prompt: ratio={ratio} has to be 1 or more, and by={by!r} {SURPRISAL!r} or {STATISTICS!r}")
        super().__init__(model, name=f"prompt 1/{ratio:g} by {by}")
        self.ratio, self.by = ratio, by

    def prefill(self, tokens: Sequence[int], query: Sequence[int] = ()) -> Shortened:
        places = self.chosen(tokens)
        short = super().prefill([tokens[place] for place in places], query)
        return Shortened(**vars(short), places=places, whole=len(tokens))

    def chosen(self, tokens: Sequence[int]) -> list[int]:
        """The places of the tokens that are read, in order."""
        scores = torch.tensor(self._surprisals(tokens) if self.by == SURPRISAL else _rarities(tokens), dtype=torch.float64)
        scores[:1] = torch.inf
        best = scores.sort(descending=True, stable=True).indices[: math.ceil(len(tokens) / self.ratio)]
        return sorted(best.tolist())

    def fork(self, handle: Handle) -> Shortened:
        assert isinstance(handle, Shortened)
        return Shortened(**vars(super().fork(handle)), places=handle.places, whole=handle.whole)

    def stats(self, handle: Handle) -> Stats:
        """Positions are those in the whole context."""
        stats = super().stats(handle)
        assert isinstance(handle, Shortened)
        if stats.held is None:
            return stats
        every = [*handle.places, *range(handle.whole, handle.whole + stats.length - len(handle.places))]
        return replace(stats, held=[[[every[place] for place in head] for head in layer] for layer in stats.held])

    def rewind(self, handle: Handle, length: int) -> bool:
        """What is left of a context that changes depends on all of it."""
        return False

    def _surprisals(self, tokens: Sequence[int]) -> list[float]:
        handle, ids, found = Handle(self._make()), torch.tensor([list(tokens)], device=self.model.device), [0.0]
        for at in range(0, len(tokens) - 1, AT_ONCE):
            piece = ids[:, at : min(at + AT_ONCE, len(tokens) - 1)]
            with torch.no_grad():
                logits = self.model(input_ids=piece, cache=handle.cache, use_cache=True).logits[0].float()
            said = ids[0, at + 1 : at + 1 + piece.shape[1]]
            found += torch.nn.functional.cross_entropy(logits, said, reduction="none").tolist()
        return found


def _rarities(tokens: Sequence[int]) -> list[float]:
    counts = Counter(tokens)
    return [-math.log(counts[token] / len(tokens)) for token in tokens]


class FragmentsMethod(CacheMethod):
    """Reads a context in pieces of `size` tokens that do not see each other, and puts them together (CacheBlend, arXiv 2405.16444): `share` of the
    tokens is read again. The seconds of reading are those of a first time, when no piece is there yet."""

    def __init__(self, model: Any, share: float = SHARE, size: int = 64, mode: str = "blended") -> None:
        if size < 2:
            raise Invalid(f"fragments: pieces of {size} tokens cannot be; give 2 or more")
        super().__init__(model, lambda: KVMemory.of(model), f"fragments of {size}, " + (f"{share:.2g} read again" if mode == "blended" else mode))
        self.share, self.size, self.mode = share, size, mode

    def prefill(self, tokens: Sequence[int], query: Sequence[int] = ()) -> Handle:
        """The last token is read behind all others, which says what comes next."""
        head = int(len(tokens) > 1 and tokens[0] == self.model.config.get_text_config().bos_token_id)
        known = list(tokens[:-1])
        pieces = [known[at : at + self.size] for at in range(0, len(known), self.size)]
        if not pieces:
            return super().prefill(tokens, query)
        fragments = [self._fragment([*known[:head], *piece] if number else piece, head) for number, piece in enumerate(pieces)]
        handle = Handle(put_together(self.model, fragments, self.mode, self.share), len(known))
        self._read(handle, [tokens[-1], *query])
        self._settle(handle)
        return handle

    def _fragment(self, tokens: list[int], head: int) -> Fragment:
        handle = Handle(self._make())
        self._read(handle, tokens)
        return Fragment(tuple(tokens), handle.cache, head)


class BeaconMethod(CacheMethod):
    """Windows of `size` tokens become one memory token for each `ratio` tokens once they are full (MemoRAG, arXiv 2409.05591). `beacons` are of the
    model that reads."""

    def __init__(self, beacons: Any, ratio: int | None = 4, size: int = 64) -> None:
        windows = Windows(size, ratio)
        super().__init__(beacons.model, lambda: beacons.memory(windows), f"memory tokens 1/{ratio or 1}")

    def digest(self, handle: Handle) -> str:
        return self.digest_of(handle, saving.dump(handle.cache, ""))


class LandmarkMethod(CacheMethod):
    """A model that was trained with landmarks, which stand behind each `block` tokens of what it reads."""

    def stats(self, handle: Handle) -> Stats:
        """Positions are those of the tokens, as if there were no landmarks."""
        stats, slot = super().stats(handle), self.model.policy.block + 1
        if stats.held is None:
            return stats
        held = [[{place - place // slot for place in head if (place + 1) % slot} for head in layer] for layer in stats.held]
        return replace(stats, held=held)


def _beacon(model: Any, name: str, **options: Any) -> CacheMethod:
    if name != REFERENCE_MODEL:
        raise Invalid(f"--methods: beacon has memory tokens of the reference model alone, not of {name}")
    return BeaconMethod(beacons_of.load(reference.load()[0]), **options)  # a model of its own, for they join it


def _landmark(model: Any, name: str, **options: Any) -> CacheMethod:
    own = Landmarked(landmark.load()[0], block=landmark.BLOCK, **options) if name == REFERENCE_MODEL else Landmarked(model, **options)
    return LandmarkMethod(own, own.new_cache, " ".join(["landmark", *(f"{option}={value}" for option, value in options.items())]))


WAYS: dict[str, Callable[..., CacheMethod]] = {
    "prompt": lambda model, name, **options: PromptMethod(model, **options),
    "fragments": lambda model, name, **options: FragmentsMethod(model, **options),
    "beacon": _beacon,
    "landmark": _landmark,
}
"""How each is made of a model and what the model was called; further options are those of the method."""
