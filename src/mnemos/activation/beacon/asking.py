"""What a model is asked over its compressed memory: passages to search by, simpler questions, an answer, key points (MemoRAG, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from mnemos.activation.beacon.library import Library
from mnemos.activation.beacon.memory import BeaconMemory
from mnemos.models.local.model import LocalModel

CLUE_TOKENS, ANSWER_TOKENS = 128, 256
"""MemoRAG's."""


@dataclass(frozen=True)
class Prompts:
    """What stands between the memory and what the model writes; "{question}" is replaced. A model trained on other forms wants its own."""

    recall: str = "\n\nQuestion: {question}\nQuote from the text above, one passage a line, what helps to answer it:\n"
    rewrite: str = "\n\nQuestion: {question}\nSimpler questions whose answers in the text above help to answer it, one a line:\n"
    answer: str = "\n\nQuestion: {question}\nAnswer, concisely:"
    summarise: str = "\n\nKey points of the text above, one a line:\n"


PROMPTS = Prompts()


def written(model: LocalModel, memory: BeaconMemory, prompt: str, question: str = "", most: int = CLUE_TOKENS) -> str:
    """What the model writes after a prompt; the memory is left as it was."""
    tokens = model.encode(prompt.replace("{question}", question), special=False)
    return model.generate(tokens, memory.fork(), max_tokens=most).run()[0].text.strip()


def lines(model: LocalModel, memory: BeaconMemory, prompt: str, question: str = "", most: int = CLUE_TOKENS) -> list[str]:
    """The same, line by line, without numbers and dashes before the lines, and without empty ones."""
    found = (line.strip().lstrip("-*•0123456789.) \t").strip() for line in written(model, memory, prompt, question, most).splitlines())
    return [line for line in found if line]


def recall(model: LocalModel, library: Library, question: str, prompts: Prompts = PROMPTS) -> list[str]:
    """Passages that the model remembers to a question: to search by, not to rely on."""
    return lines(model, library.memory, prompts.recall, question)


def rewrite(model: LocalModel, library: Library, question: str, prompts: Prompts = PROMPTS) -> list[str]:
    """Simpler questions."""
    return lines(model, library.memory, prompts.rewrite, question)


def answer(model: LocalModel, library: Library, question: str, prompts: Prompts = PROMPTS) -> str:
    """An answer from the memory alone."""
    return written(model, library.memory, prompts.answer, question, ANSWER_TOKENS)


def summarise(model: LocalModel, library: Library, prompts: Prompts = PROMPTS) -> list[str]:
    """Key points of all documents, each of which can be searched for."""
    return lines(model, library.memory, prompts.summarise, most=ANSWER_TOKENS)
