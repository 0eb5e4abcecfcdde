"""Calls of tools as memories of a space, and what they say of each tool together (the tool memory beside ReMe, arXiv 2512.10696)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mnemos.base.clock import to_micros
from mnemos.base.errors import Invalid
from mnemos.kernel.procedures import keeping
from mnemos.store.base import Snapshot
from mnemos.store.sqlite_write import Writer
from mnemos.text.procedures.tools import ToolMemory, call_record, read_call
from mnemos.text.trajectories.trajectory import Call, Trajectory

if TYPE_CHECKING:
    from mnemos.kernel.procedures.service import Procedures
    from mnemos.kernel.space import Space


def note(space: Space, calls: Iterable[Call] | Trajectory, fields: Mapping[str, Any]) -> None:
    """Write calls as one memory. Raises `Invalid` for what is no call, and as `Space.add`."""
    if taken := sorted(fields.keys() & {"text", "type", "metadata"}):
        raise Invalid(f"note_calls: {taken[0]} is what the calls themselves give; leave it out")
    given: list[Any] = calls.calls() if isinstance(calls, Trajectory) else [calls] if not isinstance(calls, Iterable) else list(calls)
    if not all(isinstance(call, Call) for call in given):
        raise Invalid("calls: expected a trajectory, or calls (`mnemos.text.trajectories.trajectory.Call`)")
    if not given:
        return
    records = [call_record(read_call(call_record(call))) for call in given]
    named = ", ".join(dict.fromkeys(call.tool for call in given))
    said = {"origin": "inference", **fields, "type": keeping.CALLS, "metadata": {"calls": records}}
    space.add(f"Calls of {named}"[:1000], **said)


class Noted:
    """The calls of a space that a caller may read, as far as they were read; to be used under the lock of whoever holds it."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._since, self._read = -1, 0
        """Up to which log position they were read, and the position of the last of them."""
        self._end: int | None = None
        """When the first of them expires (microseconds)."""
        self._memory = ToolMemory()

    def read(self, service: Procedures, snapshot: Snapshot) -> ToolMemory:
        """What is known by now. Anything but new memories, and time, may have taken some away: then all are read again."""
        own = isinstance(snapshot, Writer)  # what a transaction has written may yet be undone
        entries = snapshot.log(self._since) if self._since >= 0 else ()
        if own or service.past(self._end) or any(entry.kind != "add" and not service.mere_count(entry) for entry in entries):
            self._forget()
        for cube in keeping.cubes_of(service.space, keeping.CALLS, after=self._read):
            self._memory.add(read_call(record) for record in cube.metadata.get("calls", []))
            self._read, self._end = cube.position, keeping.first_end((self._end, to_micros(cube.expires_at)))
        self._since = snapshot.position
        out = self._memory.copy()
        if own:
            self._forget()
        return out
