"""A question that no single memory answers: first by a search, then by an investigation that goes from name to name.

python examples/hypergraph.py
"""

from __future__ import annotations

import mnemos
from mnemos.text.hypergraph.retrieval import Limits
from mnemos.text.hypergraph.session import Settings

LETTERS = {
    "registry": "The sloop Cormorant belongs to the firm of Halvard Lunde.",
    "a diary": "Ines Cobo lent Halvard Lunde the money for his house, which he does not like to be asked about.",
    "a newspaper": "Ines Cobo, the banker, was seen again in Trieste, where she is to live for good.",
    "a postcard": "The sloop Heron was sold in Antwerp. Greetings from all of us!",
    "a bill": "To the owner of the sloop Plover: rope, tar and canvas, delivered to the quay.",
    "a note": "Whoever lent money to the owner of a sloop has not seen it again, in my experience.",
    "minutes": "The harbour will be dredged in spring. The owner of a sloop may moor it at the outer quay.",
    "a letter": "My uncle moved away, as bankers do. The loan for the house has been paid back.",
}
QUESTION = "Where does the banker live now who lent money to the firm that owns the sloop Cormorant?"


def main() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("letters", strategy="hypergraph")
        space.add_many({"text": text, "type": "document", "source": source} for source, text in LETTERS.items())
        print(QUESTION)
        for hit in space.search(QUESTION, k=4):
            print(f"  {hit.cube.source}: {hit.cube.text}")

        investigation = space.investigate(QUESTION, Settings(limits=Limits(of_names=2, plain=2, used=2)))
        for step in investigation:
            print(f"\nturn {step.turn}, asked: {'; '.join(query.text for query in step.queries)}")
            print(f"  {len(step.points)} points, {len(step.merged)} merged; then {step.judgement or 'the end'}")
        print(f"\nended: {investigation.ended}")
        for point in investigation.context().points[:2]:
            print(f"  point {point.id}, from {len(point.passages)} memories: {point.statement}")
        for cube in investigation.promote():
            print(f"\nkept as a relation of {', '.join(cube.entities)}:\n  {cube.text}")


if __name__ == "__main__":
    main()
