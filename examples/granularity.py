"""A diary that is asked about a detail, about a theme, and about what belongs together.

python examples/granularity.py
"""

from __future__ import annotations

import mnemos

DIARY = {
    "Monday": [
        "Took the sloop out of the water at Hyères.",
        "The keel leaks at the third plank, and the crane cost 340 euros.",
        "Old Marcel says the wood is soft from years at the mooring.",
        "Ordered oak from the yard in Toulon.",
    ],
    "Tuesday": [
        "Mother called again about the house in Lyon.",
        "She does not sleep since the stairs were rebuilt.",
        "I promised to come in May.",
        "Her doctor wants to see her knee.",
    ],
    "Friday": [
        "The oak came: five planks, still wet.",
        "Marcel showed me how to steam them over the keel.",
        "Burnt my thumb on the steam box.",
        "By evening the third plank sat like a glove.",
    ],
}
QUESTIONS = ("What did the crane cost?", "What worries my mother?", "How was the boat repaired?")


def main() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("diary", strategy="granularity")
        for day, turns in DIARY.items():
            space.add_many({"text": text, "type": "turn", "author": "I", "metadata": {"session": day}} for text in turns)
        print(f"{space.consolidate().added} views of {len(DIARY)} days:")
        for view in space.list(types=["summary", "keywords"]):
            print(f"  {view.type}: {view.text}")
        for question in QUESTIONS:
            print(f"\n{question}")
            for hit in space.search(question, k=2):
                print(f"  {hit.cube.metadata['session']}: {hit.cube.text}")


if __name__ == "__main__":
    main()
