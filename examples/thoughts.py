"""Some days with an assistant: what is concluded is kept, what changes replaces what was, and an objection corrects a conclusion.

python examples/thoughts.py
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import mnemos

TOLD = (
    ("user", "I live in Lisbon, and I work as a nurse."),
    ("user", "I bought 12 eggs at the market."),
    ("user", "I like jazz."),
    ("user", "I used 3 eggs for a cake."),
    ("user", "I like pottery."),
    ("user", "I have moved to Porto!"),
)


def main() -> None:
    """Tell, think, ask; object, think, ask again."""
    with mnemos.open(":memory:") as mem:
        space = mem.space("ada", strategy="thoughts")
        start = datetime(2024, 3, 4, 9, tzinfo=UTC)
        for day, (author, text) in enumerate(TOLD):
            space.add(text, type="turn", author=author, event_at=start + timedelta(days=day))
        space.consolidate()
        print("Thoughts:")
        for thought in space.list(types=["thought"]):
            print(f"  {thought.metadata['state']:>10}  {thought.text}")
        for question in ("Where do I live?", "How many eggs do I have left?"):
            print(f"\n{question}")
            for hit in space.search(question, k=2, types=["thought"]):
                print(f"  {hit.cube.text}   (from {len(hit.cube.derived_from)} turns)")
        space.add("No, I have 8 eggs left.", type="turn", author="user", event_at=start + timedelta(days=9))
        space.consolidate()
        print("\nHow many eggs do I have left?")
        print(f"  {space.search('How many eggs do I have left?', k=1, types=['thought'])[0].cube.text}")


if __name__ == "__main__":
    main()
