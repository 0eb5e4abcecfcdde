"""A language model as the reader or the helper of the answerers: what it quotes is looked up, what it says is taken as it says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mnemos.base.protocols import ChatModel
from mnemos.bench.convomem.grammar import NO_INFORMATION
from mnemos.bench.convomem.reader import Numbered, Piece, Reading
from mnemos.text.answering.candidates import Source
from mnemos.text.asking import Refused, Report, ask
from mnemos.text.block_reading import quotes_of
from mnemos.text.prompts import Aliases, prompt


@dataclass
class ChatReader:
    """Any `ChatModel`; `report` counts what came of asking it. Where it fails, extraction goes by rules, and there is no answer."""

    chat: ChatModel
    report: Report = field(default_factory=Report)

    def extract(self, question: str, conversations: Sequence[Numbered], tokens: int) -> list[Piece]:
        return self.extract_all(question, [conversations], [tokens])[0]

    def extract_all(self, question: str, blocks: Sequence[Sequence[Numbered]], tokens: Sequence[int]) -> list[list[Piece]]:
        """All blocks in one batched call."""
        places = {(number, i): message for block in blocks for number, conversation in block for i, message in enumerate(conversation.messages)}
        told = [[Source(f"{number}:{i}", message.text, message.speaker) for number, conversation in block
                 for i, message in enumerate(conversation.messages) if message.text.strip()] for block in blocks]  # fmt: skip
        out = []
        for quotes in quotes_of(question, told, self.chat, self.report):
            found = dict.fromkeys(quote.id for quote in quotes)
            pieces = [(int(number), int(i)) for number, _, i in (id_.partition(":") for id_ in found)]
            out.append([Piece(places[place], place) for place in sorted(pieces)])
        return out

    def noticed(self, question: str, pieces: Sequence[Piece], tokens: int) -> list[Piece]:
        return list(pieces)

    def answer(self, question: str, pieces: Sequence[Piece], tokens: int) -> Reading:
        names = Aliases([str(number) for number in range(len(pieces))], "q")
        shown = [{"id": names.alias(str(number)), "author": piece.message.speaker, "text": piece.message.text} for number, piece in enumerate(pieces)]
        got = ask(self.chat, prompt("answer_from_quotes"), {"question": question, "quotes": shown}, report=self.report)
        if isinstance(got, Refused) or not got["known"] or not str(got["answer"]).strip():
            return Reading(NO_INFORMATION, (), known=False)
        rests_on = names.ids(got["rests_on"])[0]
        return Reading(str(got["answer"]).strip(), tuple(pieces[int(number)].message for number in rests_on))

    def whole(self, question: str, conversations: Sequence[Numbered], tokens: int) -> Reading:
        pieces = [Piece(message, (number, i)) for number, conversation in conversations for i, message in enumerate(conversation.messages)]
        return self.answer(question, pieces, tokens)
