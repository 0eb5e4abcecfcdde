"""What tests of changes share: a complete disclosure."""

from __future__ import annotations

from typing import Any

CARD: dict[str, Any] = {
    "time": {"snapshot": "2024-05-01", "index": "2024-05-01T10:00:00+00:00", "weights": None},
    "freshness": {"rules": "the newest statement of the user holds"},
    "leakage": {"method": "MinHash", "threshold": 0.8, "overlap": 0.0, "accepted": 0.007},
    "model": {"name": "pattern reader", "parameters": None, "decoding": {}},
    "retrieval": {"method": "hybrid", "k": 5, "rerank": "none"},
    "memory": {"mode": "online", "replay_budget": 2, "refusal_threshold": None},
    "hardware": {"cpu": "any", "cores": 2, "memory_bytes": 8e9},
    "cost": {"seconds": 1.5},
    "seeds": {"values": [0, 1, 2]},
    "limits": {"text": "synthetic"},
}
