"""A program of instructions, run without a model: a handbook from a specification, killed on the way, and finished.

python examples/program.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mnemos
from mnemos.text.program.workers import call, write

SPEC = """# A library in Python

## Books
- A book has a title and an author.
- Two books are equal where both are the same.

## Shelf
- A shelf holds books, in the order in which they came.
- A book that is there is not added twice.
"""

BOOK = '''from dataclasses import dataclass


@dataclass(frozen=True)
class Book:
    title: str
    author: str
'''
SHELF = '''from book import Book


class Shelf:
    def __init__(self) -> None:
        self.books: list[Book] = []

    def add(self, book: Book) -> None:
        if book not in self.books:
            self.books.append(book)
'''
TESTS = {
    "test_book.py": 'from book import Book\n\n\ndef test_equal():\n    assert Book("a", "b") == Book("a", "b")\n',
    "test_shelf.py": "from book import Book\nfrom shelf import Shelf\n\n\ndef test_once():\n    shelf = Shelf()\n"
    '    shelf.add(Book("a", "b"))\n    shelf.add(Book("a", "b"))\n    assert len(shelf.books) == 1\n',
}


def worker(request: Any) -> Any:
    """Stands in for a model: writes a module with a mistake, sees what the checks say, corrects it, adds a test, and completes."""
    if request.purpose != "work":
        return "The module and its test stand."
    name, code = (("book.py", BOOK), ("shelf.py", SHELF))[request.address]
    if name not in request.files:
        return [write(**{name: code.replace("class", "clas", 1) if request.address == 1 else code})]
    if any("THE CHECKS FAIL" in message["content"] for message in request.messages[-2:]):
        return [call("view_files", names=[name]), call("patch_files", edits=[{"path": name, "find": "clas Shelf", "replace": "class Shelf"}])]
    if f"test_{name}" not in request.files:
        return [write(**{f"test_{name}": TESTS[f"test_{name}"]})]
    return [call("step_complete")]


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        path = str(Path(home, "memory.db"))
        with mnemos.open(path, embedder="none") as mem:
            program = mem.space("library").program(SPEC, window=4000)
            print(*(one.text.splitlines()[0] for one in program.instructions()), sep="\n")
            print("stopped by its budget:", program.run(worker, calls=4).ended)
            id = program.id
        with mnemos.open(path, embedder="none") as mem:  # another process, another day
            program = mem.space("library").program(id=id)
            outcome = program.run(worker)
            print("then:", outcome.ended, dict(outcome.instructions), f"{outcome.cost.calls} calls, {outcome.cost.tokens_in:,} tokens read")
            for name in program.files():
                cube = program.file(name)
                print(f"  {name}: version {cube.version}, by instruction {cube.metadata['instruction']}, had read {list(cube.metadata['read'])}")
            out = program.export(Path(home, "library.zip"))
            print(f"exported {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
