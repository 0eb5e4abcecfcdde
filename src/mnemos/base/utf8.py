"""Texts as UTF-8 carries them, and what they cost where no tokenizer is at hand."""

from __future__ import annotations


def sendable(text: str) -> str:
    """`text` as UTF-8 can carry it: half characters become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def tokens_by_bytes(text: str, bytes_of_token: int = 3) -> int:
    """One token for each so many bytes of UTF-8 begun. By 3 it is too many for English and about right for code; by 4 nearer to English."""
    return -(-len(text.encode("utf-8", "replace")) // bytes_of_token)
