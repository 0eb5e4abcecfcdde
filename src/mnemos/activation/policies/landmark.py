"""Landmark attention (arXiv 2305.16300): a landmark token ends each block and is what the block is found by; each query brings a few blocks back.

For models that were trained with landmarks; of one that was not, landmarks say nothing, and `policy("blocks")` is the way. Which tokens are landmarks
is said with them: `model(ids, cache=memory, landmarks=…)`, and `mnemos.activation.landmark.module.Landmarked` does so by itself. Without landmarks
all tokens are one open block, and attention is the plain one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnemos.activation.chunks import place_of
from mnemos.activation.coding import check_bits
from mnemos.activation.landmark.attending import LANDMARKS, Settings, attend
from mnemos.activation.landmark.index import EXACT, LISTS
from mnemos.activation.landmark.index import make as make_index
from mnemos.activation.landmark.picking import EACH, HEAD, TOKEN
from mnemos.activation.landmark.positions import Layout
from mnemos.activation.policy import Policy
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer


@dataclass(frozen=True)
class Landmark(Policy):
    """Defaults are the paper's for LLaMA."""

    block: int = 50
    """ℓ: tokens before a landmark, as the model was trained."""
    top: int = 5
    """k: blocks that a query brings back."""
    level: str = EACH
    """Who picks: "each" query head for each token; "token", all heads of a token together; "head", each query head for all tokens of a segment that
    are given together, which is for stores that are slow to bring."""
    trained: int | None = None
    """Tokens that the model was trained on at once: segments are as long as these leave room for beside the slots of k + 1 blocks and the local ones.
    None: a block."""
    local: int = 0
    """Complete blocks, the newest, that stay with the tokens being read, all of them seen, so that what was just said leaves the k to what is far.
    The paper has none but those of the segment: then what is near varies by where in a segment a text ends."""
    blocks: int | None = None
    """Blocks that are kept in the store, the newest; None: all."""
    stingy: bool = True
    """Whether blocks are put at few positions, so that a text of any length has none that the model was not trained on; False: where they stood, for
    texts that are no longer than that."""
    bits: int | None = None
    """Of each number of a landmark's key, near, by which blocks are found: 1, 2, 4 or 8; what a block that is brought weighs, its key as it came
    says, which lies far with its tokens. None: as they come."""
    reuse: bool = False
    """Whether blocks that are picked again are not brought again; they count as near then. It pays where what is far is slow, and the processor's own
    memory is not."""
    folder: str | None = None
    """Where blocks lie on disk; None: in the host's memory."""
    index: str = EXACT
    """How landmarks are found: "exact", each query is compared with all; "lists", with those of the lists that are likely to hold the best, which an
    index of each row and key-value head has."""
    index_from: int = 65536
    """Blocks from which on there are lists; with fewer, all landmarks are compared, which is no slower then (`mnemos bench kv-landmark`)."""
    probe: int = 8192
    """Landmarks of lists that a query is compared with."""
    at_once: int = 2**22
    """Numbers of brought blocks that a layer holds at a time while it answers many queries, of one query at least: fewer take less room, and are
    slower (a 64th, 2.5 times as slow, of blocks of 2 tokens)."""
    name = "landmark"
    unrotates = True
    said = (LANDMARKS,)

    def __post_init__(self) -> None:
        for name in ("block", "top"):
            if getattr(self, name) < 1:
                raise Invalid(f"landmark: {name} is {getattr(self, name)}, and has to be at least 1")
        if self.level not in (EACH, TOKEN, HEAD):
            raise Invalid(f"landmark: level is one of {EACH!r}, {TOKEN!r} and {HEAD!r}, not {self.level!r}")
        if self.at_once < 1:
            raise Invalid(f"landmark: at_once is {self.at_once} numbers; use at least 1")
        if self.local < 0:
            raise Invalid(f"landmark: local is {self.local} blocks; use 0 or more")
        if self.trained is not None and self.trained < (least := (self.top + self.local + 3) * (self.block + 1)):
            raise Invalid(f"landmark: slots of {self.top + 1} blocks, {self.local} local ones, an open one and a segment take {least} positions, and "
                          f"the model was trained on {self.trained}: bring fewer blocks back, or keep fewer local")  # fmt: skip
        check_bits(self.bits, "landmark")
        if self.bits is not None and self.blocks is not None:
            raise Invalid("landmark: of landmarks in few bits none is dropped: give bits or blocks, not both")
        if self.index not in (EXACT, LISTS):
            raise Invalid(f"landmark: index is one of {EXACT!r} and {LISTS!r}, not {self.index!r}")
        if self.index == LISTS and (self.blocks is not None or not self.stingy):
            raise Invalid("landmark: lists are for landmarks that are too many to be compared with all, and that stay: give neither blocks nor "
                          "stingy=False with them")  # fmt: skip
        if self.index_from < 1 or self.probe < self.top:
            raise Invalid(f"landmark: index_from is at least 1, probe at least top, {self.top}; not {self.index_from} and {self.probe}")
        if self.blocks is not None and self.blocks < 1:
            raise Invalid(f"landmark: {self.blocks} blocks cannot be kept; use at least 1, or None for all")

    @property
    def segment(self) -> int:
        """Positions of a segment, its landmarks included."""
        slot = self.block + 1
        return slot if self.trained is None else (self.trained - (self.top + self.local + 2) * slot) // slot * slot

    def attend(self, layer: MemoryLayer, queries: Tensor, mask: Tensor | None) -> Tensor | None:
        place = place_of(self.folder, layer.place)
        layout, index = Layout(self.block, self.top, self.stingy), make_index(self.index, self.index_from, self.probe, self.top)
        settings = Settings(layout, self.level, self.segment, self.local, self.blocks, place, self.bits, self.reuse, index, self.at_once)
        return attend(layer, settings, queries, mask)

    def describe(self) -> dict[str, Any]:
        return {"policy": self.name, **{name: value for name, value in vars(self).items() if name != "folder"}}


def make(**options: Any) -> Policy:
    """Options are those of `Landmark`."""
    return Landmark(**options)
