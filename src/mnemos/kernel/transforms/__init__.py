"""Deriving one memory from others, with gates, lineage and cost."""
