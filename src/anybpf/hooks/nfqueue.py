"""Linux's netfilter queues: the socket that one is bound to, and the rule that fills it.

Sources: ``linux/netfilter/nfnetlink_queue.h``, ``linux/netfilter/nf_tables.h``, ``linux/netfilter/nf_tables_compat.h``,
``linux/netfilter/xt_NFQUEUE.h``.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final, Literal, get_args

from anybpf.errors import HookError, UnsupportedError
from anybpf.hooks.nfnetlink import CREATE, EXCLUSIVE, NetfilterSocket, attribute, be16, be32, message, nested, text

__all__ = ("CHAINS", "Chain", "QueueRule", "QueueSocket", "expressions")

#: Where in the host packets are taken: those to it, those through it, those from it.
Chain = Literal["input", "forward", "output"]
CHAINS: Final[tuple[Chain, ...]] = get_args(Chain)

_QUEUE, _NFTABLES = 3, 10  # NFNL_SUBSYS_*
_CONFIG = 2  # NFQNL_MSG_CONFIG
_COMMAND, _PARAMETERS, _LENGTH, _MASK, _FLAGS = 1, 2, 3, 4, 5  # NFQA_CFG_*
_BIND, _FAMILY_BIND = 1, 3  # NFQNL_CFG_CMD_*
_COPY_PACKET, _WHOLE = 2, 0xFFFF
_FAIL_OPEN, _MERGED = 1, 4  # NFQA_CFG_F_*
_BYTES_A_PACKET = 4096  # a full frame's message with the kernel's own head around it
_STATISTICS = "/proc/thread-self/net/netfilter/nfnetlink_queue"


def _missing(error: OSError, what: str, option: str) -> Exception:
    """Return what to raise for the kernel's answer to the first request of a kind."""
    if error.errno == errno.EPERM:
        return HookError(f"{what} takes the privilege CAP_NET_ADMIN; run as root")
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
        return UnsupportedError(f"{what} takes a kernel with {option}, which this one lacks")
    return HookError(f"{what} failed: {error.strerror}")


class QueueSocket(NetfilterSocket):
    """A socket that a netfilter queue is bound to, in the calling thread's network namespace.

    Whole packets come from it as they would be on the wire: the kernel takes apart what it had merged, and fills in
    checksums that it had left to hardware.

    :param depth: packets that may wait. :param fail_open: whether those that find it full go on unseen, or are dropped.
    :raises HookError: no privilege, or the queue is somebody else's. :raises UnsupportedError: no such kernel.
    """

    def __init__(self, number: int, depth: int, *, fail_open: bool) -> None:
        super().__init__()
        self.number = number
        self._statistics: int | None = None
        try:
            self.grow(depth * _BYTES_A_PACKET)
            self._bind(depth, _FAIL_OPEN if fail_open else 0)
            self._statistics = _open_statistics()
        except BaseException:
            self.close()
            raise

    def _bind(self, depth: int, flags: int) -> None:
        try:
            self.request(self._configure(_command(_FAMILY_BIND)))
        except OSError as error:
            raise _missing(error, "a netfilter queue", "CONFIG_NETFILTER_NETLINK_QUEUE") from None
        parameters = attribute(_PARAMETERS, struct.pack(">IB", _WHOLE, _COPY_PACKET))
        options = be32(_LENGTH, depth), be32(_MASK, _FAIL_OPEN | _MERGED), be32(_FLAGS, flags)
        try:
            self.request(self._configure(_command(_BIND), parameters, *options))
        except OSError as error:
            taken = error.errno in (errno.EPERM, errno.EBUSY)
            why = "is in use by another program; choose another number" if taken else f"failed: {error.strerror}"
            raise HookError(f"netfilter queue {self.number} {why}") from None

    def _configure(self, *attributes: bytes) -> bytes:
        return message(_QUEUE, _CONFIG, *attributes, resource=self.number)

    def bypass(self) -> None:
        """From now on let packets go on at once, as if there were no queue; those that wait in it stay."""
        self.send(self._configure(be32(_LENGTH, 0), be32(_MASK, _FAIL_OPEN), be32(_FLAGS, _FAIL_OPEN)))

    def release(self) -> None:
        """Give the queue up: packets bypass it, those that wait are dropped. What was counted can still be read."""
        super().close()

    @property
    def dropped(self) -> int:
        """Packets that the kernel dropped because they found no room here. 0 where it does not let us see."""
        if self._statistics is None:
            return 0
        for line in os.pread(self._statistics, 1 << 16, 0).decode("ascii").splitlines():
            fields = [int(field) for field in line.split()]
            if fields[0] == self.number:
                return fields[5] + fields[6]  # the queue was full; the socket was
        return 0

    def close(self) -> None:
        """Close the socket. The kernel drops packets that still wait. Further calls do nothing."""
        super().close()
        if self._statistics is not None:
            os.close(self._statistics)
            self._statistics = None


def _command(number: int) -> bytes:
    return attribute(_COMMAND, struct.pack(">BxH", number, 0))


def _open_statistics() -> int | None:
    try:
        return os.open(_STATISTICS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # only root may read it; the privilege for the queue is another one
        return None


_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 3, 6  # NFT_MSG_*
_INET = 1  # NFPROTO_INET: IPv4 and IPv6
_OWNER = 2  # NFT_TABLE_F_OWNER
_HOOKS = {"input": 1, "forward": 2, "output": 3}  # NF_INET_*
_PRIORITY, _ACCEPT = 0, 1  # NF_IP_PRI_FILTER, NF_ACCEPT
_APPEND = 0x800
_REGISTER, _EQUAL, _IN_NAME, _OUT_NAME, _NAME_SIZE = 1, 0, 6, 7, 16
_BYPASS = 1  # no queue, no harm: packets go on where nobody is bound to it


class QueueRule(NetfilterSocket):
    """An nftables table whose one rule sends packets to a queue, for as long as this object, or its process, lives.

    The table belongs to the socket (``NFT_TABLE_F_OWNER``, Linux 5.12), so that the kernel removes it however the
    process ends. It is in the calling thread's network namespace.

    :param interface: name of the only interface whose packets are meant (that they leave by, for "output").
    :raises HookError: the kernel refuses it. :raises UnsupportedError: it lacks what that takes.
    """

    def __init__(self, number: int, chain: Chain, interface: str | None) -> None:
        super().__init__()
        self.table = f"anybpf-queue-{number}"
        try:
            self._install(number, chain, interface)
        except BaseException:
            self.close()
            raise

    def _install(self, number: int, chain: Chain, interface: str | None) -> None:
        try:
            self._transact(chain, expressions(number, chain, interface, native=True))
        except FileNotFoundError:  # a kernel without nftables' own queue expression may have that of iptables
            try:
                self._transact(chain, expressions(number, chain, interface, native=False))
            except OSError as error:
                raise _missing(error, "a rule for the queue", "CONFIG_NFT_QUEUE or CONFIG_NFT_COMPAT") from None
        except FileExistsError:
            raise HookError(
                f"nftables has a table {self.table!r} already; delete it, or choose another queue"
            ) from None
        except OSError as error:
            raise _missing(error, "a rule for the queue", "CONFIG_NF_TABLES_INET, 5.12 or later,") from None

    def _transact(self, chain: Chain, expressions: bytes) -> None:
        hook = nested(4, be32(1, _HOOKS[chain]), be32(2, _PRIORITY))
        table = text(1, self.table), be32(2, _OWNER)
        base = text(1, self.table), text(3, chain), hook, be32(5, _ACCEPT), text(7, "filter")
        rule = text(1, self.table), text(2, chain), nested(4, expressions)
        self.transact(
            (
                message(_NFTABLES, _NEW_TABLE, *table, family=_INET, flags=CREATE | EXCLUSIVE),
                message(_NFTABLES, _NEW_CHAIN, *base, family=_INET, flags=CREATE),
                message(_NFTABLES, _NEW_RULE, *rule, family=_INET, flags=CREATE | _APPEND),
            )
        )


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes))


def _interface_is(chain: Chain, interface: str) -> bytes:
    key = _OUT_NAME if chain == "output" else _IN_NAME
    name = nested(3, attribute(1, os.fsencode(interface).ljust(_NAME_SIZE, b"\0")))
    return _expression("meta", be32(2, key), be32(1, _REGISTER)) + _expression(
        "cmp", be32(1, _REGISTER), be32(2, _EQUAL), name
    )


def expressions(number: int, chain: Chain, interface: str | None, *, native: bool) -> bytes:
    """Return the expressions of the rule: the interface, if one is meant, and the queue.

    :param native: use nftables' own expression for the queue, not iptables' target.
    """
    condition = _interface_is(chain, interface) if interface else b""
    if native:
        return condition + _expression("queue", be16(1, number), be16(2, 1), be16(3, _BYPASS))
    information = struct.pack("=HHH2x", number, 1, _BYPASS)  # struct xt_NFQ_info_v3, aligned
    return condition + _expression("target", text(1, "NFQUEUE"), be32(2, 3), attribute(3, information))
