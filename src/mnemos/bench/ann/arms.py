"""Which systems are measured, how each is built, and at which settings it is asked: several, so that there is a curve and not a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnemos.base.errors import Invalid

HERE = Path(__file__).parent / "adapters"
MNEMOS = "mnemos"
MIDDLE, LARGE = 300_000, 3_000_000
"""Up to so many vectors an arm is measured: what would only take longer, and what has all vectors in memory while it is built."""
NO_LIMIT = 1 << 62

Setting = Mapping[str, Any]


def _ef(*values: int, **more: Any) -> tuple[Setting, ...]:
    return tuple({"ef": value, **more} for value in values)


@dataclass(frozen=True)
class Arm:
    """One way to build one system: the adapter's file, its options, the settings of a search from cheap to thorough, and the most vectors that it is
    measured with. `quick`: it is in the quick run, too. `typical` is the setting that filters, clients and changes are measured at."""

    name: str
    system: str
    adapter: str
    settings: Sequence[Setting]
    options: Mapping[str, Any] = field(default_factory=dict)
    most: int = NO_LIMIT
    typical: int = 0
    quick: bool = False

    @property
    def path(self) -> Path:
        return HERE / f"{self.adapter}.py"

    @property
    def packages(self) -> list[str]:
        """What pip installs for it, the system itself first; nothing for Mnemos' own."""
        first = self.path.read_text("utf-8").partition("\n")[0]
        return first.removeprefix("# requires: ").split() if first.startswith("# requires: ") else []

    @property
    def package(self) -> str:
        """The distribution whose version is reported."""
        return self.packages[0].partition("==")[0] if self.packages else MNEMOS


_GRAPH = _ef(16, 32, 64, 128, 256, 512)
_PROBES = tuple({"nprobe": count} for count in (1, 2, 4, 8, 16, 32, 64, 128))
_LANCE = tuple({"nprobe": count, "refine": refine} for refine, counts in ((0, (20,)), (5, (5, 20, 50)), (20, (20, 50, 100, 200))) for count in counts)
_LANCE_GRAPH = tuple({"nprobe": 10, "ef": ef, "refine": 2} for ef in (32, 64, 128, 256))
_DISKANN = tuple({"complexity": width, "beam": 4} for width in (10, 20, 40, 80, 160, 320))
_BITS = tuple({"oversample": count} for count in (4, 10, 30, 100))
_LISTS = (*({"lists": count} for count in (4, 8, 16, 32, 64)), {})


def _diskann(degree: int, construction: int, memory: float) -> Mapping[str, Any]:
    """`memory`: the share of the raw vectors that a search may hold."""
    return {"degree": degree, "construction": construction, "memory": memory, "cached": 0}


ARMS: tuple[Arm, ...] = (
    Arm("exact", MNEMOS, "mnemos_exact", ({},), most=LARGE, quick=True),
    Arm("SPANN", MNEMOS, "mnemos_spann", _LISTS, typical=5, quick=True),
    Arm("SPANN, ratio 0.08", MNEMOS, "mnemos_spann", _LISTS, {"head_ratio": 0.08}, typical=5, most=MIDDLE),
    Arm("SPANN, 8-bit codes", MNEMOS, "mnemos_spann", _LISTS, {"code": "int8"}, typical=5, most=MIDDLE),
    Arm("faiss flat", "faiss", "faiss_index", ({},), {"kind": "Flat"}, most=LARGE, quick=True),
    Arm("faiss IVF", "faiss", "faiss_index", _PROBES, {"kind": "IVF{nlist},Flat"}, typical=4, most=LARGE, quick=True),
    Arm("faiss IVF, mapped", "faiss", "faiss_index", _PROBES, {"kind": "IVF{nlist},Flat", "mapped": True}, typical=4, most=LARGE),
    Arm("faiss IVF-PQ", "faiss", "faiss_index", _PROBES, {"kind": "IVF{nlist},PQ48"}, typical=4),
    Arm("faiss HNSW16", "faiss", "faiss_index", _GRAPH, {"kind": "HNSW16", "construction": 100}, typical=2, most=LARGE, quick=True),
    Arm("faiss HNSW32", "faiss", "faiss_index", _GRAPH, {"kind": "HNSW32", "construction": 200}, typical=2, most=MIDDLE),
    Arm("faiss HNSW16, 8 bits", "faiss", "faiss_index", _GRAPH, {"kind": "HNSW16_SQ8", "construction": 100}, typical=2, most=MIDDLE),
    Arm("usearch", "usearch", "usearch_index", _GRAPH, {"dtype": "f32", "connectivity": 16, "construction": 128}, typical=2, most=LARGE, quick=True),
    Arm("usearch, 8 bits", "usearch", "usearch_index", _GRAPH, {"dtype": "i8", "connectivity": 16, "construction": 128}, typical=2, most=MIDDLE),
    Arm("usearch, mapped", "usearch", "usearch_index", _GRAPH, {"dtype": "f32", "connectivity": 16, "construction": 128, "view": True}, typical=2,
        most=MIDDLE),
    Arm("diskannpy, 4 %", "diskannpy", "diskannpy_index", _DISKANN, _diskann(32, 64, 0.04), typical=3, most=LARGE),
    Arm("diskannpy, 12 %", "diskannpy", "diskannpy_index", _DISKANN, _diskann(32, 64, 0.12), typical=3, most=LARGE),
    Arm("diskannpy, degree 64", "diskannpy", "diskannpy_index", _DISKANN, _diskann(64, 100, 0.12), typical=3, most=MIDDLE),
    Arm("LanceDB IVF-PQ", "lancedb", "lancedb_index", _LANCE, {"kind": "IVF_PQ"}, typical=3),
    Arm("LanceDB IVF-PQ, d/4", "lancedb", "lancedb_index", _LANCE, {"kind": "IVF_PQ", "num_sub_vectors": 96}, typical=3, most=MIDDLE),
    Arm("LanceDB IVF-HNSW-SQ", "lancedb", "lancedb_index", _LANCE_GRAPH, {"kind": "IVF_HNSW_SQ"}, typical=2, most=LARGE),
    Arm("sqlite-vec", "sqlite-vec", "sqlite_vec_index", ({},), {"kind": "exact"}, most=MIDDLE, quick=True),
    Arm("sqlite-vec, binary", "sqlite-vec", "sqlite_vec_index", _BITS, {"kind": "binary"}, typical=2, most=LARGE),
    Arm("zvec HNSW", "zvec", "zvec_index", _GRAPH, {"kind": "hnsw", "m": 16, "construction": 128}, typical=2, most=LARGE),
    Arm("zvec HNSW, 8 bits", "zvec", "zvec_index", _GRAPH, {"kind": "hnsw", "m": 16, "construction": 128, "quantize": "INT8", "refine": True},
        typical=2, most=MIDDLE),
    Arm("zvec DiskANN", "zvec", "zvec_index", _ef(16, 32, 64, 128, 256), {"kind": "diskann", "degree": 32, "construction": 64, "chunks": 48},
        typical=3, most=LARGE),
    Arm("qdrant-edge", "qdrant-edge", "qdrant_edge_index", _GRAPH, {"m": 16, "construction": 128}, typical=2, most=LARGE),
    Arm("qdrant-edge, on disk", "qdrant-edge", "qdrant_edge_index", _ef(32, 64, 128, 256, oversample=2.0),
        {"m": 16, "construction": 128, "memory": "Cold", "quantize": "binary"}, typical=2, most=LARGE),
)  # fmt: skip

SYSTEMS = tuple(dict.fromkeys(arm.system for arm in ARMS if arm.system != MNEMOS))


def chosen(n: int, quick: bool, named: Sequence[str]) -> list[Arm]:
    """The arms for `n` vectors: Mnemos' own, and of the others those `named` by their system or by their own name, else all (few in the quick
    run). Raises `Invalid` for a name that is neither."""
    if strange := sorted(set(named) - set(SYSTEMS) - {arm.name for arm in ARMS}):
        arms = ", ".join(f"{arm.name!r}" for arm in ARMS if arm.system != MNEMOS)
        raise Invalid(f"bench ann: no system is named {', '.join(strange)}; there are {', '.join(SYSTEMS)}, or by single arms {arms}")

    def is_named(arm: Arm) -> bool:
        return not {arm.system, arm.name}.isdisjoint(named)

    wanted = [arm for arm in ARMS if arm.system == MNEMOS or not named or is_named(arm)]
    return [arm for arm in wanted if n <= arm.most and (not quick or arm.quick or is_named(arm))]


def named(name: str) -> Arm:
    """The arm of that name. Raises `Invalid`."""
    for arm in ARMS:
        if arm.name == name:
            return arm
    raise Invalid(f"bench ann: no arm is named {name!r}; there are {', '.join(arm.name for arm in ARMS)}")
