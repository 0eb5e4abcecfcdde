"""Memories from store to store: archives that carry all that is known of them and prove that nothing was changed, comparing, bringing up to date.

The memory interchange format (MIP) is what MemOS (arXiv 2507.03724, section 7) leaves for later: a manifest in JSON with SHA-256, counts,
fingerprints, rules and lineage, and payloads in JSON lines and safetensors. docs/exchange.md describes it for whoever reads or writes it elsewhere.
"""

from mnemos.kernel.exchange.archive import Limits
from mnemos.kernel.exchange.comparing import Difference, diff
from mnemos.kernel.exchange.exporting import export_archive
from mnemos.kernel.exchange.importing import import_archive, read_manifest, verify_archive
from mnemos.kernel.exchange.manifest import Manifest
from mnemos.kernel.exchange.syncing import Contradiction, Synced, sync

__all__ = [
    "Contradiction",
    "Difference",
    "Limits",
    "Manifest",
    "Synced",
    "diff",
    "export_archive",
    "import_archive",
    "read_manifest",
    "sync",
    "verify_archive",
]
