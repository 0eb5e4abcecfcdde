"""A village chronicle that is asked about people whom the question does not name.

python examples/clues.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mnemos
from mnemos.text.clues.statistical import StatisticalMemory

CHRONICLE = [
    "The owner of Halden Mill is Ruth Varga, who bought it at auction.",
    "Ruth Varga has a sister, Ilona Petri, who rarely visits.",
    "Ilona Petri keeps a collection of barometers in a shed near Graz.",
    "People call Nils Ostermann the Heron of Eskwick.",
    "It was in Lisbon that Nils Ostermann learned to dive.",
    "The owner of Brommark Lodge is Hugo Lunden.",
    "Hugo Lunden has a sister, Clara Stenura.",
    "Clara Stenura paints ships.",
    "Wanda Radic collects stamps, mostly from Riga.",
    "Felix Nordzen began to collect kites in Bari.",
    "Agnes Holt collects sea charts, and her sister Berta Holt thimbles.",
    "The mill at Tromso, owned by the town, burnt down.",
    "Viktor Marlen learned to dive in Split.",
    "A heron was seen at the pond in Eskwick.",
]
QUESTIONS = ("What does the sister of the owner of Halden Mill collect?", "Where did the Heron of Eskwick learn to dive?")


def main() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("chronicle", strategy="clues")
        space.add_many({"text": text, "type": "document"} for text in CHRONICLE)
        space.consolidate()
        for question in QUESTIONS:
            print(question)
            for hit in space.search(question, k=6):
                by = [name.removeprefix("clue ") for name in hit.signals if name.startswith("clue ") and hit.signals[name] > 0]
                print(f"  {hit.cube.text}{f'   <- {by[0]}' if by else ''}")

    print("\nThe same memory without a store, saved and loaded:")
    memory = StatisticalMemory()
    memory.memorise("chronicle", "\n".join(CHRONICLE))
    with tempfile.TemporaryDirectory() as folder:
        memory.save(Path(folder) / "chronicle.memory")
        loaded = StatisticalMemory.load(Path(folder) / "chronicle.memory")
    for clue in loaded.clues(QUESTIONS[0], 3):
        print(f"  {clue.kind}: {clue.text}   ({' -> '.join(clue.via)})")


if __name__ == "__main__":
    main()
