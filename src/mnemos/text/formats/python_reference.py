"""The Python language reference that every Python carries, as a collection of documents to try a memory on."""

from __future__ import annotations

from collections.abc import Iterator

from mnemos.text.formats.record import Record


def python_reference_documents() -> Iterator[Record]:
    """A document per topic of `pydoc_data.topics` (about 80 documents, 450 kB), in order; `metadata` has `title` and `topic`."""
    from pydoc_data.topics import topics  # half a megabyte of text, loaded only when it is asked for

    for topic, text in topics.items():
        title = next((line.strip() for line in text.splitlines() if line.strip()), topic)
        metadata = {"title": title.replace('"', ""), "topic": topic}
        yield {"text": text, "type": "document", "source": f"python-reference/{topic}", "tags": ["python"], "metadata": metadata}
