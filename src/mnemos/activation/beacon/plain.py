"""MemoRAG's memories without memory tokens: plain keys and values of all that is read ("LongLLM"), or of gists that a model writes of it ("Lite").

Both are kept in a `PrefixStore`, and each question goes on from a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from mnemos.activation.memory import KVMemory
from mnemos.activation.prefixes import PrefixStore
from mnemos.base.errors import Invalid
from mnemos.models.local.model import LocalModel

CHUNK_TOKENS, GIST_TOKENS = 4096, 512
"""MemoRAG's: of what a gist is written of, and of a gist."""
GIST = "\n\nThe gist of the text above, shorter, with all names and numbers:\n"


def remembered(model: LocalModel, store: PrefixStore, tokens: Sequence[int], chunk: int | None = 2048) -> KVMemory:
    """A memory that has read all tokens ("LongLLM"): what is stored of them is taken from there, the rest is read, `chunk` at a time, and stored.
    Raises `Invalid` for no tokens, or more than the model takes, and `StoreFull`."""
    if not tokens:
        raise Invalid("there is nothing to remember: give at least one token")
    memory, known = store.take(model.module, tokens)
    model.prefill(list(tokens[known:]), memory, chunk=chunk)
    store.put(tokens, memory)
    return memory


def gists(model: LocalModel, tokens: Sequence[int], chunk: int = CHUNK_TOKENS, most: int = GIST_TOKENS, prompt: str = GIST) -> list[str]:
    """What the model writes of each `chunk` of tokens, at most `most` tokens each. Raises `Invalid` for chunks of no tokens."""
    if chunk < 1 or most < 1:
        raise Invalid(f"gists of {most} tokens, of chunks of {chunk}, cannot be: both have to be 1 or more")
    asked = model.encode(prompt, special=False)
    return [
        model.generate([*tokens[start : start + chunk], *asked], max_tokens=most).run()[0].text.strip() for start in range(0, len(tokens), chunk)
    ]


def lite(model: LocalModel, store: PrefixStore, tokens: Sequence[int], chunk: int = CHUNK_TOKENS, most: int = GIST_TOKENS,
         prompt: str = GIST) -> tuple[list[int], KVMemory]:  # fmt: skip
    """Gists of the tokens ("Lite"): their own tokens, by which `remembered` finds them again, and a memory that has read them."""
    told = model.encode("\n".join(gists(model, tokens, chunk, most, prompt)))
    return told, remembered(model, store, told)
