"""The transformation "read": from a text to the keys and values of a model that has read it (MemOS, arXiv 2507.03724, section 5.3).

The product is a memory of kind "kv", in full or in the form of a KV policy (`mnemos.kernel.kv.shapes`): its payload is what
`mnemos.activation.saving` writes, its fingerprint that of the model, and its one source the text. It becomes stale with the text, is forgotten with
it, and is seen by those who see the text.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mnemos.base.cube import Json, MemCube
from mnemos.base.errors import Invalid, ModelUnavailable, NotFound, PermissionDenied, RateLimited
from mnemos.base.ids import parse_id
from mnemos.base.lineage import KV_OF
from mnemos.base.protocols import LanguageModel
from mnemos.kernel.kv.shapes import FULL_NAME, FULL_SHAPE, Shape
from mnemos.kernel.kv.tier import tier_of
from mnemos.kernel.lineage import KV
from mnemos.kernel.rights.governance import common_rules
from mnemos.kernel.scheduling.costs import Cost
from mnemos.kernel.transforms import gates
from mnemos.kernel.transforms.gates import Checked, Gate, Product, Source, Trial
from mnemos.kernel.transforms.transformation import Transformation
from mnemos.kernel.writing import writes
from mnemos.kernel.writing.batches import Batch
from mnemos.kernel.writing.drafts import draft
from mnemos.store.base import NewVersion, Snapshot

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

UNKEPT = (NotFound, PermissionDenied, RateLimited)
"""What keeping raises for who may read, and not derive from a text (which is as if it were not there), or not write so often: what was read in the
course of a use is not kept then, and used all the same."""


@dataclass(frozen=True, slots=True)
class Read:
    """Texts as a model has read them: `tokens`, the first `head` of which begin any text, the memory, and the seconds that it took."""

    tokens: tuple[int, ...]
    memory: KVMemory
    head: int
    seconds: float = 0.0


_lent: ContextVar[tuple[str, str, Read] | None] = ContextVar("lent", default=None)


@contextlib.contextmanager
def lending(of: str, digest: str, done: Read) -> Iterator[None]:
    """What was read of a text just now, in the form of this digest, need not be read again to be kept. It must not go on meanwhile."""
    token = _lent.set((of, digest, done))
    try:
        yield
    finally:
        _lent.reset(token)


def lent_seconds() -> float:
    """What reading took that is lent."""
    lent = _lent.get()
    return 0.0 if lent is None else lent[2].seconds


def language_model(system: Mnemos) -> LanguageModel:
    """The model of an open store. Raises `ModelUnavailable` where it was opened without."""
    model = system.language_model
    if model is None:
        raise ModelUnavailable("KV memory needs a local language model: give `language_model=LocalModel.load(…)` to `mnemos.open`, or --model PATH")
    return model


def tokens_of(model: LanguageModel, text: str) -> tuple[tuple[int, ...], int]:
    """The tokens of a text that others may stand before and after, and how many of them begin any text with this model."""
    plain = model.encode(f"{text.strip()}\n", special=False)
    whole = model.encode(f"{text.strip()}\n")
    if not plain:
        raise Invalid("the text has no tokens for this model: there is nothing to read")
    head = next((start for start in range(len(whole) - len(plain) + 1) if whole[start : start + len(plain)] == plain), 0)
    return (*whole[:head], *plain), head


def read(model: LanguageModel, texts: Sequence[tuple[str, str]], shape: Shape = FULL_SHAPE) -> Read:
    """Lets the model read texts, each with the id of its memory, one after the other and nothing before them, in the form that is asked for, which
    knows then whose tokens are whose (`mnemos.activation.shadow.sources`)."""
    from mnemos.activation.published import empty, place  # torch, only where it is needed
    from mnemos.activation.shadow.sources import label

    each = [tokens_of(model, text) for _, text in texts]
    window = getattr(model, "context_window", None)
    for (id, _), (its, _) in zip(texts, each, strict=True):
        if window is not None and len(its) > window:
            raise Invalid(f"the text of {id} has {len(its)} tokens, {len(its) - window} more than the {window} that the model was made for: make "
                          "several memories of it, or take a model with a longer window")  # fmt: skip
    tokens = [token for number, (its, head) in enumerate(each) for token in its[head if number else 0 :]]
    start = time.perf_counter()
    memory = empty(model.module, shape.policy)
    model.prefill(tokens, memory)
    seconds = time.perf_counter() - start
    if not shape.full and len(memory.managed):
        end = each[0][1]
        for (id, _), (its, head) in zip(texts, each, strict=True):
            label(memory, id, place(shape.policy, end), place(shape.policy, end + len(its) - head))
            end += len(its) - head
    return Read(tuple(tokens), memory, each[0][1], seconds)


def loaded(model: LanguageModel, payload: bytes, shape: Shape) -> KVMemory:
    """The memory that was kept in this form. Raises what `mnemos.activation.saving.load` does."""
    from mnemos.activation.published import body
    from mnemos.activation.saving import load

    return load(body(model.module), payload, model.fingerprint, shape.policy)


def _make(system: Mnemos, sources: Sequence[Source], options: Mapping[str, Any]) -> Product:
    from mnemos.activation.saving import dump

    if len(sources) != 1:
        raise Invalid(f"read: takes one text at a time, {len(sources)} are chosen: what is read alone can stand beside anything")
    model, of = language_model(system), str(sources[0].content.id)
    shape = Shape.of(options.get("policy", FULL_NAME)).kept()
    lent, tokens = _lent.get(), tokens_of(model, sources[0].text)[0]
    same = lent is not None and lent[:2] == (of, shape.digest) and lent[2].tokens == tokens  # the text may have changed since
    done = lent[2] if lent is not None and same else read(model, [(of, sources[0].text)], shape)
    start = time.perf_counter()
    payload = dump(done.memory, model.fingerprint, of=of)  # nobody can tell that another text has the same bytes
    dumped = time.perf_counter()
    if not shape.full and "reuse" not in options:  # how many bytes it takes is known only now
        tier_of(system).make_room(system, len(payload))
    start_loading = time.perf_counter()
    loaded(model, payload, shape)
    within = time.perf_counter() - start_loading
    cost = Cost(build=done.seconds + dumped - start, without=done.seconds, within=within, bytes=len(payload))
    about = {"tokens": len(done.tokens), "head": done.head, **shape.metadata()}
    return Product(payload=payload, kind=KV, fingerprint=model.fingerprint, fields={"type": KV, "metadata": about}, cost=cost)


def _write(space: Space, product: Product, fields: Mapping[str, Any]) -> MemCube:
    assert product.payload is not None
    return stored(space, product.payload, product.fingerprint, fields)


def stored(
    space: Space,
    payload: bytes,
    fingerprint: str | None,
    fields: Mapping[str, Any],
    rules: Json | None = None,
    check: Callable[[Snapshot], None] | None = None,
) -> MemCube:
    """Stores a payload as a file of the store, and the memory that names it, under the rules that all that it is derived from, and `rules`, have in
    common. `check` looks at the store in the same transaction, and raises where it is not to be stored any more. Raises what `Space.add` does."""
    system = space.system
    space.admit("write")
    words = draft(KV, fields, system.clock(), system.new_id)
    name = system.store.blobs.put(payload)
    content = replace(words, text=None, kind=KV, fingerprint=fingerprint, blob=name)
    try:
        with system.transaction(), system.writing() as transaction:
            if check is not None:
                check(transaction)
            standings = [transaction.standing(link.id) for link in content.derived_from]
            acl = common_rules([*(standing.acl for standing in standings if standing is not None), rules])
            cube = writes.store(space, Batch([content], [1], [NewVersion(content)]), [None])[0]
            if acl is not None:
                transaction.set_acl(parse_id(cube.id), acl)
            return cube
    except BaseException:
        with system.writing() as transaction:
            transaction.discard_blob(name)
        raise


def _pays(trial: Trial, bound: float | None) -> Checked:
    """It pays within the uses that the caller expects; a caller who expects none in particular wants it in any case."""
    return gates.pays.look(trial) if "reuse" in trial.options else Checked(gates.pays.name, True)


READ = Transformation(
    "read", "the keys and values of the store's language model after reading a text, so that it need not read it again", _make, relation=KV_OF,
    kind=KV, before=(gates.sources_in_use,), after=(gates.fingerprint_given, Gate(gates.pays.name, _pays)), options=("policy",), write=_write,
)  # fmt: skip
