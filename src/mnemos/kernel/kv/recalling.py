"""A corpus in compressed keys and values as a global memory that gives clues, beside the statistical one (MemoRAG, arXiv 2409.05591, section 2)."""

from __future__ import annotations

from pathlib import Path

from mnemos.activation.beacon.asking import CLUE_TOKENS, PROMPTS, Prompts, lines
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.library import Library
from mnemos.base.errors import NotFound
from mnemos.models.local.model import LocalModel
from mnemos.text.clues.memory import MOST, SURE, Clue, cleaned


class CompressedMemory:
    """A `text.clues.memory.GlobalMemory`: a local model has read the documents once, and says what it remembers to a question. Its clues serve to
    search (`text.clues.evidence.gather`), and are never evidence.

    A document in two goes is the same as in one where the first ends at a border of the library's windows. `forget` reads the documents after it
    again, so that no trace stays.
    """

    kind = "compressed"

    def __init__(self, model: LocalModel, library: Library, prompts: Prompts = PROMPTS, draft: bool = False, tokens: int = CLUE_TOKENS) -> None:
        """`model` is the one that the library's memory tokens have joined; `draft`: whether a drafted answer is a clue, too; `tokens`: at most that
        the model writes to each prompt."""
        self.model, self.library, self.prompts, self.draft, self.tokens = model, library, prompts, draft, tokens

    def memorise(self, document: str, text: str) -> None:
        """Raises `Invalid` for a text without tokens, and where the model has no positions left."""
        self.library.memorise(document, self.model.encode(text, special=False))

    def forget(self, document: str) -> None:
        """Raises `NotFound`."""
        self.library.forget(document, again=True)

    def clues(self, question: str, most: int = MOST) -> list[Clue]:
        """What the model recalls, and how it would ask, in turns, and last its draft; kinds without a prompt are left out."""
        asked = {"recall": self.prompts.recall, "rewrite": self.prompts.rewrite, "answer": self.prompts.answer if self.draft else ""}
        said = {kind: lines(self.model, self.library.memory, prompt, question, self.tokens) if prompt else [] for kind, prompt in asked.items()}
        drafted = [Clue(" ".join(said.pop("answer")), "answer", SURE["answer"])]
        out = [Clue(texts[at], kind, SURE[kind]) for at in range(max(map(len, said.values()))) for kind, texts in said.items() if at < len(texts)]
        last = cleaned(question, drafted, 1) if drafted[0].text else []
        return [*cleaned(question, out, most - len(last)), *last]

    def save(self, path: Path) -> None:
        """Writes documents and memory to a file, through one beside it."""
        beside = path.with_name(path.name + ".new")
        beside.write_bytes(self.library.dump())
        beside.replace(path)

    @classmethod
    def load(cls, model: LocalModel, beacons: Beacons, path: Path, prompts: Prompts = PROMPTS, draft: bool = False) -> CompressedMemory:
        """What `save` wrote. Raises `NotFound`, `Corrupt`, and `FingerprintMismatch` where another model, or other memory tokens, made it."""
        if not path.is_file():
            raise NotFound(f"there is no memory {path}")
        return cls(model, Library.load(beacons, path.read_bytes()), prompts, draft)
