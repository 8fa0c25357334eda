"""The policy that is in force, and the events that it tells of."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from contextlib import suppress
from typing import Any, Final

from anybpf.errors import MapError
from anybpf.hooks import Service
from anybpf.runtime import Link, Object, RecordReader
from anybpf.samples.request_policy.hook import LIMITS
from anybpf.samples.request_policy.vetting import Refusal, Vetter

__all__ = ("PolicyHolder", "Refused")

#: struct policy_event: time in nanoseconds, a code and a value of the policy's choice, text that ends at a NUL.
EVENT: Final = struct.Struct("=QII48s")
#: Events that are remembered, and uploads that may wait for their turn.
REMEMBERED, WAITING = 1000, 8


class Refused(Exception):
    """An upload that is not taken."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class PolicyHolder:
    """Loads uploaded policies and swaps them under the hook while requests go on. For one event loop.

    A policy tells of what happens through a ring buffer called ``events``, if it has one, in records of
    :data:`EVENT`; :attr:`events` remembers the last of them.
    """

    def __init__(self, hook: Service) -> None:
        self.hook = hook
        self.events: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._link: Link | None = None
        self._loaded: Object | None = None
        self._records: RecordReader | None = None
        self._reading: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._vetter = Vetter()
        self._waiting = 0

    async def install(self, upload: bytes) -> None:
        """Put the program in ``upload`` in the place of the present policy; Refused leaves that in force."""
        if self._waiting >= WAITING:
            raise Refused(Refusal(503, f"{WAITING} other uploads are waiting; try again later"))
        self._waiting += 1
        try:
            async with self._turn:
                if (refusal := await self._vetter.vet(upload)) is not None:
                    raise Refused(refusal)
                # What was accepted there is known to take little time here.
                await self._swap(await asyncio.to_thread(self.hook.load, upload, limits=LIMITS))
        finally:
            self._waiting -= 1

    async def remove(self) -> None:
        """End the present policy, if there is one; then every request is allowed."""
        async with self._turn:
            await self._swap(None)

    def status(self) -> dict[str, Any] | None:
        """Return what is known of the policy in force."""
        if self._link is None:
            return None
        stats, names = self._link.stats, {value: name for name, value in self.hook.returns.items()}
        return {
            "program": self._link.program.name,
            "requests": stats.events,
            "verdicts": {names.get(value, str(value)): count for value, count in stats.verdicts.items()},
            "ns_per_request": round(stats.ns_per_event, 1),
            "events_lost": self._records.lost if self._records is not None else 0,
        }

    async def close(self) -> None:
        """End the policy, what reads its events, and what verifies uploads."""
        await self.remove()
        await self._vetter.close()

    async def _swap(self, loaded: Object | None) -> None:
        """Let the program of ``loaded`` decide from the next request on; then close what decided before."""
        before, reading = self._loaded, self._reading
        if loaded is None:
            if self._link is not None:
                self._link.detach()
            self._link = None
        else:
            (program,) = loaded.programs.values()
            if self._link is None:
                self._link = program.attach(self.hook)
            else:
                self._link.update(program)
        self._loaded, self._records, self._reading = loaded, None, None
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        if before is not None:
            before.close()
        if loaded is not None and (records := _records(loaded)) is not None:
            self._records, self._reading = records, asyncio.create_task(self._read(records))

    async def _read(self, records: RecordReader) -> None:
        """Remember events as they come; when cancelled, those that wait still, too."""
        with records:
            try:
                async for record in records:
                    self._remember(record)
            finally:
                while (batch := records.read(0)) is not None:
                    for record in batch.records:
                        self._remember(record)

    def _remember(self, record: bytes) -> None:
        if len(record) == EVENT.size:
            time_ns, code, value, text = EVENT.unpack(record)
            note = text.partition(b"\0")[0].decode(errors="replace")
            self.events.append({"time_ns": time_ns, "code": code, "value": value, "note": note})


def _records(loaded: Object) -> RecordReader | None:
    """The events that a policy tells of, where it has the map for it."""
    events = loaded.maps.get("events")
    try:
        return events.records() if events is not None else None
    except MapError:
        return None  # a map of another kind, for the policy's own use
