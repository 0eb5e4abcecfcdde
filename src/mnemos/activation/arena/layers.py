"""The arena as a cache of transformers: keys and values are written in place, and attention gets views of them; nothing is copied as it grows."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin, get_layer_types_and_kwargs

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import KIB, Backend
from mnemos.activation.arena.cpu import cpu_backend
from mnemos.activation.arena.layout import Layout, page_for
from mnemos.activation.arena.lease import Lease
from mnemos.activation.arena.tensors import TORCH_TYPES, name_of
from mnemos.base.errors import Invalid

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers that have keys and values for every token."""


class ArenaLayer(CacheLayerMixin):
    """One layer of a lease. `update` gives views (batch, kv_heads, tokens, head_dim) of what the layer holds, valid until the lease is closed.

    With a `window` the views end with it: so many tokens, less one, before the new ones, as transformers' sliding layers have it. The past before
    it is kept, so that the layer can be cropped.
    """

    is_croppable = True
    supports_early_init = False  # the slots are taken for the prompt's length

    def __init__(self, lease: Lease, layer: int, window: int | None = None) -> None:
        super().__init__()
        self._lease, self._layer, self._window = lease, layer, window
        self._length = 0

    @property
    def is_sliding(self) -> bool:
        return self._window is not None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Takes slots for the batch where no other layer has. Raises `Invalid` where shapes or types are not the layout's."""
        layout, device = self._lease.arena.layout, torch.device(self._lease.arena.capabilities.device)
        for states in (key_states, value_states):
            found = (states.shape[1], states.shape[3], states.dtype, states.device)
            if found != (layout.kv_heads, layout.head_dim, TORCH_TYPES[layout.dtype], device):
                raise Invalid(
                    f"layer {self._layer} brings {found[0]} heads of {found[1]} numbers ({found[2]}, {found[3]}), and the arena is made for "
                    f"{layout.kv_heads} of {layout.head_dim} ({layout.dtype}, {device}): `arena_for` makes one for a model"
                )
        if not self._lease.batch:
            self._lease.open(key_states.shape[0], key_states.shape[2])
        self.refresh()
        self.is_initialized = True

    def follow(self, lease: Lease, layer: ArenaLayer) -> None:
        """Shows of `lease` what `layer` shows of its own."""
        self._lease, self._length, self.is_initialized = lease, layer.get_seq_length(), layer.is_initialized
        if self.is_initialized:
            self.refresh()

    def refresh(self) -> None:
        """Looks at the lease's slots anew."""
        self._all_keys, self._all_values = self._lease.view(self._layer, 0), self._lease.view(self._layer, 1)
        self._show(self._length)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes (batch, kv_heads, new tokens, head_dim) behind what is there. Raises as `Lease.write`, before anything is written."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if key_states.shape[0] != self._lease.batch:
            raise Invalid(f"the cache holds {self._lease.batch} sequences, and {key_states.shape[0]} come: `reset` or make a new one")
        start, new = self._length, key_states.shape[2]
        self._lease.write(start, start + new)
        self._all_keys.narrow(2, start, new).copy_(key_states)
        self._all_values.narrow(2, start, new).copy_(value_states)
        self._show(start + new)
        if self._window is None:
            return self.keys, self.values
        hidden = self._hidden(start)
        return self.keys.narrow(2, hidden, start + new - hidden), self.values.narrow(2, hidden, start + new - hidden)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Tokens that the next queries see, with themselves, and the position of the first."""
        hidden = self._hidden(self._length)
        return self._length - hidden + query_length, hidden

    def get_seq_length(self) -> int:
        return self._length

    def get_max_length(self) -> int:
        return self._lease.arena.layout.max_ctx

    def crop(self, tokens_to_remove: int) -> None:
        """Takes tokens, told as a negative number, from the end. Pages stay until somebody needs them."""
        if tokens_to_remove > 0:
            raise ValueError(f"`crop` takes the number of tokens to remove as a negative number, not {tokens_to_remove}")
        if self.is_initialized:
            self._show(max(0, self._length + tokens_to_remove))

    def reset(self) -> None:
        """Forgets the tokens, and keeps the slots with their pages."""
        if self.is_initialized:
            self._show(0)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Copies rows, for this is one layer of several that share pages; `ArenaCache.reorder_cache` moves the pages of all."""
        if self._length:
            self._lease.write(0, self._length)
            for rows in (self.keys, self.values):
                rows.copy_(rows.index_select(0, beam_idx.to(rows.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        raise Invalid("slots are those of the whole cache: call it on the ArenaCache")

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        raise Invalid("slots are those of the whole cache: call it on the ArenaCache")

    def _hidden(self, length: int) -> int:
        """Tokens before the window of what comes after `length` tokens."""
        return 0 if self._window is None else max(0, length - self._window + 1)

    def _show(self, length: int) -> None:
        self._length = length
        self.keys, self.values = self._all_keys.narrow(2, 0, length), self._all_values.narrow(2, 0, length)


class ArenaCache(Cache):
    """A cache for `past_key_values` of a model's forward or `generate`, over slots of an arena.

    The batch takes adjacent slots at the first tokens, and gives them back at `release`, or when the cache is gone. Several caches, also of
    different threads, may use one arena. With the model's `config` layers with windows give no more than those. What does not fit raises
    `OverQuota` or `StoreFull`, before tokens of the first layer are written.
    """

    def __init__(self, arena: Arena, config: PreTrainedConfig | None = None, namespace: str = "", overlap: bool = True) -> None:
        self._config = config
        self.lease = Lease(arena, namespace, overlap)
        windows = _windows(config) if config is not None else [None] * arena.layout.layers
        if len(windows) != arena.layout.layers:
            raise Invalid(f"the model has {len(windows)} layers, and the arena is made for {arena.layout.layers}: `arena_for` makes one")
        super().__init__(layers=[ArenaLayer(self.lease, layer, window) for layer, window in enumerate(windows)])

    @property
    def nbytes(self) -> int:
        """Bytes of the pages that the sequences need; shared pages count in each."""
        layout = self.lease.arena.layout
        return self.lease.batch * layout.needed(self.lease.tokens) * layout.block_bytes

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)
        self._trim()

    def reset(self) -> None:
        super().reset()
        self._trim()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Pages of all layers move at once; beams with the same past share it."""
        self._select([int(index) for index in beam_idx])

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        chosen = torch.arange(self.lease.batch)[indices.cpu()] if isinstance(indices, torch.Tensor) else indices
        self._select([int(index) for index in chosen])

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._select([row for row in range(self.lease.batch) for _ in range(repeats)])

    def fork(self) -> ArenaCache:
        """Another cache with the same past, which shares its pages. Raises as `Lease.write`."""
        twin = ArenaCache(self.lease.arena, self._config, self.lease.namespace)
        twin.lease = self.lease.fork()
        for ours, theirs in zip(self.layers, twin.layers, strict=True):
            theirs.follow(twin.lease, ours)
        return twin

    def release(self) -> None:
        """Gives the slots back; the cache is empty, and can be used anew."""
        for layer in self.layers:
            layer.reset()
            layer.is_initialized, layer.keys, layer.values = False, None, None
        self.lease.close()

    def _trim(self) -> None:
        if self.lease.batch:
            self.lease.trim(max(layer.get_seq_length() for layer in self.layers))

    def _select(self, rows: list[int]) -> None:
        if self.lease.batch and rows != list(range(self.lease.batch)):
            self.lease.select(rows)
            for layer in self.layers:
                if layer.is_initialized:
                    layer.refresh()


def arena_for(
    config: PreTrainedConfig,
    max_batch: int,
    max_ctx: int,
    dtype: torch.dtype = torch.float32,
    page: int = 64 * KIB,
    megacache: bool = False,
    backend: Backend | None = None,
    **options: Any,
) -> Arena:
    """An arena for a model's caches. `page` is rounded up to whole tokens and to what the backend can map; `options` are those of `Arena`.

    Raises `Invalid` for models with layers that keep something else than keys and values of every token.
    """
    text = config.get_text_config(decoder=True)
    _windows(config)
    backend = backend if backend is not None else cpu_backend()
    layers, heads = text.num_hidden_layers, getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    row = heads * head_dim * dtype.itemsize * (layers if megacache else 1)
    layout = Layout(layers, heads, head_dim, name_of(dtype), max_batch, max_ctx, page_for(row, backend.granularity, page), megacache)
    return Arena(layout, backend, **options)


def _windows(config: PreTrainedConfig) -> list[int | None]:
    """Of each layer the tokens that it sees; None for all. Raises `Invalid` for layers that an arena is not for."""
    kinds, options = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    if strange := set(kinds) - ATTENTION:
        raise Invalid(f"layers of kind {', '.join(sorted(strange))} keep no keys and values of every token: an arena is not for {config.model_type}")
    return [each.get("sliding_window") for each in options]
