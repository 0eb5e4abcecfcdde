"""Writing: what callers give is checked, encoded, embedded and stored."""
