"""An assistant's notes on its user, kept by a policy: a core, facts that change in place, events with their time.

python examples/constructor.py
"""

from __future__ import annotations

import mnemos

TALKS = (
    ("2024-05-01", ["My dentist is Vale.", "Bob's boss is Kern.", "Haha, that is so funny!", "How are things with you otherwise?"]),
    ("2024-05-09", ["On 3 May I visited the harbour of Trieste with Bob.", "My door code is 4711."]),
    ("2024-06-02", ["My dentist is Moor now.", "Bob's boss is Lund now.", "Messages about parking get the label P7."]),
)


def main() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("ann", strategy="constructor")
        for day, turns in TALKS:
            space.add_many({"text": text, "type": "turn", "author": "Ann", "event_at": day, "metadata": {"session": day}} for text in turns)
            done = space.consolidate()
            print(f"{day}: {done.added} kept, {done.revised} changed, {done.retired} let go")
            for kind in ("core", "semantic", "episodic"):
                for view in space.list(types=[kind]):
                    print(f"  {kind} (version {view.version}): {view.text}")
        question = "Who is my dentist?"
        print(f"\n{question} {space.search(question, k=1)[0].cube.text}")


if __name__ == "__main__":
    main()
