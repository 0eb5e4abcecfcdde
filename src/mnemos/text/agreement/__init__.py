"""How memories stand to each other, without a language model: duplicate, supplement, update, contradiction, or independent."""

from mnemos.text.agreement.candidates import Found, Limits, find_relations
from mnemos.text.agreement.comparing import Agreement, Memory, ReadMemory, Relation, compare, compare_read, memory_of, read_memory

__all__ = [
    "Agreement", "Found", "Limits", "Memory", "ReadMemory", "Relation", "compare", "compare_read", "find_relations", "memory_of", "read_memory",
]  # fmt: skip
