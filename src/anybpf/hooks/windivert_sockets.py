"""Socket calls of a Windows host, all processes, through WinDivert: bind, connect, listen, accept, close.

**What programs see.** Each call as it happens: Windows' ``bind`` programs BIND, and UNBIND when a socket whose bind
they allowed is closed; ``sock_addr`` programs (and Linux's for control groups) connect, listen and accept. Who calls is
known by process and executable; thread and user are 0. Sockets bound before the first program was attached give no
UNBIND.

**What a verdict can do.** WinDivert does not hold a call up to ask: it tells of calls that go on, and it blocks those
that match a filter, unseen. So a call that a program denies has happened. What the hook does is to have the driver
block its like from then on: calls of that process, of that kind, to that address. They fail in the application with
WSAEACCES before anything happens. Programs are still told of each, and once they allow one, the next goes through. In
short: the first denied call goes through, and after a change of mind the first allowed one fails. With
``scope="process"`` a denied call blocks all calls of its kind by the process: right for quotas, where it is not the
address that matters.

* BIND, CONNECT, LISTEN and ACCEPT can be blocked in that way, UNBIND cannot: what programs say to it has no effect.
* Addresses cannot be rewritten: a call that a program redirects goes where it was going.
* At most 64 blocks are in force; the oldest goes first. Detaching the last program ends them all, as does the end of
  this process: it fails open.
* Events that are not fetched in time are lost, and the driver does not say how many.

Who needs calls to be decided before they happen has ``anybpf exec`` on Linux, and :mod:`anybpf.hooks.audit` for
Python's own calls everywhere.

Not run on Windows by us so far: the driver needs a machine that accepts it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import ClassVar, Literal

from anybpf.errors import HookError
from anybpf.hooks.socket_call import Operation, SocketCall
from anybpf.hooks.socket_hook import SocketHook, accepted
from anybpf.hooks.windivert_driver import EventDriver, OpenEvents, open_events
from anybpf.hooks.windivert_events import OPERATIONS, block_filter, to_call
from anybpf.hooks.windivert_process import image_name

__all__ = ("Scope", "WinDivertSockets")

#: What is blocked when a call was denied: calls to the same address, or all calls of the kind; of the same process.
Scope = Literal["address", "process"]

_BLOCKS = 64
_BOUND = 65536  # sockets remembered: more than a host has ports
_SEEN, _BLOCKED = 1, 0  # priorities: calls are seen before they are blocked


class WinDivertSockets(SocketHook):
    """Socket calls of this host. Needs Windows, an administrator's rights and the package pydivert.

    :param filter: which calls are meant, in WinDivert's filter language, such as ``processId == 4711``.
    :param scope: what a denied call blocks. :param open: opens the driver, for tests, as ``image_name`` is.
    """

    name: ClassVar[str] = "windivert_sockets"
    takes = accepted(OPERATIONS)

    def __init__(
        self,
        filter: str = "true",
        *,
        scope: Scope = "address",
        open: OpenEvents = open_events,
        image_name: Callable[[int], str] = image_name,
    ) -> None:
        super().__init__()
        if scope not in ("address", "process"):
            raise HookError(f"there is no scope {scope!r} for blocking calls; choose 'address' or 'process'")
        self.filter, self.scope = filter, scope
        self._open, self._image_name = open, image_name
        self._opened: ExitStack | None = None
        self._blocks: dict[str, EventDriver] = {}
        self._bound: dict[int, None] = {}
        self._ended = threading.Event()
        self._failure: HookError | None = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until events have ended; False when they still come after ``timeout`` seconds.

        :raises HookError: the driver failed.
        """
        ended = self._ended.wait(timeout)
        if self._failure is not None:
            raise self._failure
        return ended

    def _changed(self) -> None:
        if self.operations and self._opened is None:
            self._start()
        elif not self.operations and self._opened is not None:
            opened, self._opened = self._opened, None
            opened.close()

    def _start(self) -> None:
        with ExitStack() as opened:
            driver = self._open(self.filter, _SEEN, block=False)
            opened.callback(driver.close)
            thread = threading.Thread(target=self._serve, args=(driver,), name=f"anybpf-{self.name}", daemon=True)
            self._failure = None
            self._ended.clear()
            thread.start()
            opened.callback(self._stop, driver, thread)
            self._opened = opened.pop_all()

    def _stop(self, driver: EventDriver, thread: threading.Thread) -> None:
        driver.shutdown()
        thread.join()
        self._bound.clear()
        self._lift_blocks()
        self._ended.set()

    def _serve(self, driver: EventDriver) -> None:
        try:
            while event := driver.receive():
                self._bring(event)
        except (OSError, HookError) as error:
            self._lift_blocks()
            self._failure = HookError(f"WinDivert's socket events ended: {error}")
            self._ended.set()

    def _lift_blocks(self) -> None:
        for key in list(self._blocks):
            self._blocks.pop(key).close()

    def _bring(self, event: bytes) -> None:
        call = to_call(event, self._image_name)
        if call is None or call.operation not in self.operations:
            return
        if call.operation is Operation.UNBIND:
            if call.cookie in self._bound:
                del self._bound[call.cookie]
                self.decide(call)
            return
        permitted = self.decide(call).allowed
        was_blocked = self._block(call, permitted)
        if permitted and call.operation is Operation.BIND:
            if was_blocked:  # it has failed, so what the program has put down to it is given back
                self.decide(replace(call, operation=Operation.UNBIND))
            else:
                self._remember(call.cookie)

    def _remember(self, endpoint: int) -> None:
        self._bound[endpoint] = None
        if len(self._bound) > _BOUND:
            del self._bound[next(iter(self._bound))]  # whose end was lost

    def _block(self, call: SocketCall, permitted: bool) -> bool:
        """Have calls like this one blocked, or no longer; returns whether they were until now."""
        key = block_filter(call, whole_process=self.scope == "process")
        was_blocked = key in self._blocks
        if permitted and was_blocked:
            self._blocks.pop(key).close()
        elif not permitted and not was_blocked:
            if len(self._blocks) == _BLOCKS:
                self._blocks.pop(next(iter(self._blocks))).close()
            self._blocks[key] = self._open(key, _BLOCKED, block=True)
        return was_blocked
