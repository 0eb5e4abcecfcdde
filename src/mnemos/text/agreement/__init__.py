"""How memories stand to each other, without a language model: duplicate, supplement, update, contradiction, or independent."""

from mnemos.text.agreement.candidates import Found, Limits, find_relations
from mnemos.text.agreement.comparing import Agreement, Memory, Relation, compare, memory_of

__all__ = ["Agreement", "Found", "Limits", "Memory", "Relation", "compare", "find_relations", "memory_of"]
