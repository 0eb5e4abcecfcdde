"""The words for how one memory comes from another."""

from __future__ import annotations

DERIVED_FROM = "derived_from"
PART_OF = "part_of"
MERGED = "merged"
SUMMARISED = "summarised"
BRANCHED_FROM = "branched_from"
SUPERSEDES = "supersedes"
ABSORBS = "absorbs"
DREW_ON = "drew_on"
"""What a program wrote or said after it had read a file: gone with the file, and not stale where the file changes, since it drew on it as it was."""
VIEW_OF = "view_of"
"""A view says what its sources say, in another form, so that they are found better: a note, a summary, a relation. Plain searches leave it out."""
KV_OF = "kv_of"
"""The keys and values of a language model that has read the text, by itself or as a part of a prompt: stale with it, and gone with it."""

ASSOCIATIONS = frozenset({SUPERSEDES, ABSORBS, "related", "contradicts", "mentions"})
"""Relations that carry no content from one memory to the other: what happens to one does not make the other stale, or gone."""

SETTLED = ASSOCIATIONS | {BRANCHED_FROM, DREW_ON}
"""Relations along which nothing becomes stale: a branch is made from a version as it was. What is forgotten is gone from branches, too."""
