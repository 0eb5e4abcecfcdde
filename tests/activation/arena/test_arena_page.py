"""The page on the arena: its example with KV memories runs as it stands, and gives what it says."""

from __future__ import annotations

import ast
from typing import Any

from test_docs import blocks, statements


def test_the_example_with_kv_memories_gives_what_the_page_says() -> None:
    (block,) = [block for block in blocks("arena.md", "python") if "KVArena(" in block]
    names: dict[str, Any] = {}
    said = 0
    for code, value in statements(block):
        if value is None:
            exec(compile(code, "arena.md", "exec"), names)
        else:
            assert eval(code, names) == ast.literal_eval(value), code
            said += 1
    assert said == 10
