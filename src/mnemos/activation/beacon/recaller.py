"""What a model remembers of texts that were each read once, into memory tokens (MemoRAG, arXiv 2409.05591, section 2): a `base.protocols.Recaller`.

Each text is read apart, so that it can be taken away without a trace; a question is asked of all of them together.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from mnemos.activation.beacon import saving
from mnemos.activation.beacon.asking import ANSWER_TOKENS, CLUE_TOKENS, PROMPTS, Prompts, lines
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.library import Library
from mnemos.activation.beacon.windows import Windows
from mnemos.base.protocols import Memorised
from mnemos.models.local.model import LocalModel


class BeaconRecaller:
    """Safe to use from many threads, one at a time."""

    def __init__(
        self,
        model: LocalModel,
        beacons: Beacons,
        windows: Windows | None = None,
        prompts: Prompts = PROMPTS,
        *,
        first: Sequence[int] = (),
        draft: bool = False,
        tokens: int = CLUE_TOKENS,
        section: int | None = None,
    ) -> None:
        """`model` is the one that the memory tokens have joined; `first`: the tokens that begin any text, as the model knows it; `draft`: whether a
        drafted answer is recalled, too; `tokens`: at most that the model writes to each prompt; `section`: tokens that are read together (by default
        one window)."""
        self.model, self.beacons, self.prompts = model, beacons, prompts
        self.windows, self.first = windows or Windows(), tuple(first)
        self.draft, self.tokens = draft, tokens
        self._section = self.windows.size if section is None else section
        self._base = saving.fingerprint(beacons)
        read = hashlib.sha256(repr((self._base, sorted(self.windows.describe().items()), self.first)).encode())
        self._fingerprint = f"recaller:{read.hexdigest()[:32]}"
        self._lock = threading.Lock()

    @classmethod
    def load(cls, model: Path | str, tokens: Path | str, windows: Windows | None = None, **options: Any) -> Self:
        """The model in a folder, in the precision in which the memory tokens in the file `tokens` were trained, and these. Raises as
        `LocalModel.load` and `saving.open_beacons` do."""
        own = LocalModel.load(model, dtype=saving.precision_of(tokens))
        return cls(own, saving.open_beacons(own.module, tokens), windows, **options)

    @property
    def fingerprint(self) -> str:
        """Of the model, its memory tokens, and the windows that texts are read in."""
        return self._fingerprint

    @property
    def section(self) -> int:
        """Tokens that are read together."""
        return self._section

    @property
    def room(self) -> int | None:
        """Places of the model's context without those of a prompt and of what is written after it."""
        window = self.model.context_window
        return None if window is None else max(window - self.tokens - ANSWER_TOKENS, 0)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.model.encode(text, special=False))

    def memorise(self, name: str, text: str) -> Memorised:
        """Raises `Invalid` for a text without tokens, and where the model has no positions left."""
        with self._lock:
            library = self._empty()
            part = library.memorise(name, self.model.encode(text, special=False))
            return Memorised(library.dump(), len(part.tokens), part.stop - part.start)

    def joined(self, payloads: Sequence[bytes]) -> Library:
        """Raises `Corrupt`, `FingerprintMismatch`."""
        with self._lock:
            out = self._empty()
            for payload in payloads:
                out.join(Library.load(self.beacons, payload, self._base))
            return out

    def recall(self, memory: Library, question: str) -> list[tuple[str, str]]:
        """Passages and simpler questions in turns, and last the draft; kinds without a prompt are left out."""
        asked = {"recall": self.prompts.recall, "rewrite": self.prompts.rewrite}
        with self._lock:
            said = [[(kind, text) for text in lines(self.model, memory.memory, prompt, question, self.tokens)]
                    for kind, prompt in asked.items() if prompt]  # fmt: skip
            draft = lines(self.model, memory.memory, self.prompts.answer, question, self.tokens) if self.draft and self.prompts.answer else []
        out = [texts[at] for at in range(max(map(len, said), default=0)) for texts in said if at < len(texts)]
        return [*out, ("answer", " ".join(draft))] if draft else out

    def _empty(self) -> Library:
        return Library(self.beacons, self.windows, self.first, apart=True)
