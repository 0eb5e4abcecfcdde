"""The type in which a processor multiplies matrices quickly."""

from __future__ import annotations

import torch


def quick_products() -> torch.dtype | None:
    """What to let `torch.autocast("cpu")` multiply in: bfloat16 where the processor is quick at it, which takes AVX-512; None, as the weights are,
    where it is not. With AVX2 alone torch makes a product in bfloat16 number by number, in some 30 times the time of float32."""
    return torch.bfloat16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else None
