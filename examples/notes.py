"""A notebook whose pages hang together by names: who is asked about what no page says alone, and what a page meant is learnt later.

python examples/notes.py
"""

from __future__ import annotations

import mnemos

PAGES = [
    "Zorvan rang at noon and would not say why.",
    "Ilse works for Brannock.",
    "The pond behind the mill is frozen.",
    "Somebody left two jars of honey at the door.",
    "Brannock was fined for smuggling saffron.",
    "The choir meets on Thursdays now.",
]
LATER = "Zorvan is the notary of the northern district."
QUESTIONS = ("Whom does Ilse work for, and what is behind that?", "Did the notary of the northern district call?")


def main() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("notebook", strategy="notes")
        space.add_many({"text": page} for page in PAGES)
        space.consolidate()
        first = space.list(types=["note"])[0]
        space.add(LATER)
        print(space.consolidate().as_json())
        for note in space.list(types=["note"]):
            for edge in note.metadata["edges"]:
                print(f"  {note.text.splitlines()[0]}  --{edge['kind']}, {edge['reason']}-->  {space.get(edge['to']).text}")
        evolved = space.get(first.id)
        print(f"\nversion {evolved.version}, since {evolved.metadata['reason']}:\n{evolved.text}")
        for question in QUESTIONS:
            print(f"\n{question}")
            for hit in space.search(question, k=3):
                print(f"  {hit.cube.text}")


if __name__ == "__main__":
    main()
