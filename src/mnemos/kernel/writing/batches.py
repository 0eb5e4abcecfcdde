"""Memories on their way into a store: encoded by the caller's thread, embedded by another meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mnemos.base.cube import Content
from mnemos.store.base import NewVersion

Vectors = list[bytes | None]
"""Float32 bytes for each version; None for one that is not searched, or where there is no embedder."""


@dataclass(frozen=True, slots=True)
class Batch:
    """New memories, and the versions that are stored of them: `sizes[i]` versions of `contents[i]`, its own first, then its parts."""

    contents: Sequence[Content]
    sizes: Sequence[int]
    versions: Sequence[NewVersion]

    @classmethod
    def of(cls, contents: Sequence[Content], encode: Callable[[Content], Sequence[NewVersion]]) -> Batch:
        groups = [encode(content) for content in contents]
        return cls(contents, [len(group) for group in groups], [version for group in groups for version in group])

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """All of them as one, in their order."""
        return cls(
            [content for batch in batches for content in batch.contents],
            [size for batch in batches for size in batch.sizes],
            [version for batch in batches for version in batch.versions],
        )


def embedded(
    chunks: Iterable[Sequence[Content]], encode: Callable[[Content], Sequence[NewVersion]], embed: Callable[[Sequence[NewVersion]], Vectors]
) -> Generator[tuple[Batch, Callable[[], Vectors]], None, None]:
    """Each chunk as a batch, with what waits for its vectors. While the caller works on one batch, the next is being embedded.

    Chunks are taken and encoded in the caller's thread. Where that raises, the batches before are given first.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="mnemos embedding") as worker:
        before: tuple[Batch, Callable[[], Vectors]] | None = None
        try:
            for chunk in chunks:
                batch = Batch.of(chunk, encode)
                vectors = worker.submit(embed, batch.versions).result
                if before is not None:
                    yield before
                before = batch, vectors
        except Exception:
            if before is not None:
                yield before
            raise
        if before is not None:
            yield before
