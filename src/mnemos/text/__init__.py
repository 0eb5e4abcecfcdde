"""The first tier: memory as text. Strategies write and recall it; readers bring it in."""
