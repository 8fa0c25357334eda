"""Links and attach points: order, verdict rules, swapping, statistics, and what a fault does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import HookError, LoadError
from anybpf.isa import assemble
from anybpf.platforms import ChainRule, ProgramType, linux, windows
from anybpf.runtime import AttachPoint, Context, Event, Link, Program, layout_of

PACKET = bytes(64)
ABORTED, DROP, PASS, TX = 0, 1, 2, 3


@pytest.fixture
def context() -> Iterator[Context]:
    """An execution context of the test's own."""
    with Context(cpus=2) as made:
        yield made


def returning(context: Context, value: int, **options: object) -> Program:
    """An XDP program that returns ``value``."""
    return program(context, f"r0 = {value}\nexit", **options)


def program(context: Context, source: str, section: str = "xdp", **options: object) -> Program:
    """A program in assembly."""
    spec = from_instructions(assemble(source), section, "p")
    loaded = anybpf.load(spec, context=context, platform=linux, **options)
    return loaded.programs["p"]


class Source:
    """Fires events at a point, one at a time."""

    def __init__(self, point: AttachPoint) -> None:
        self.point = point
        self.event = Event(layout_of(point.program_type), 128)

    def fire(self, data: bytes = PACKET) -> int:
        """The verdict on one packet."""
        return self.point.run(self.event, data)


def point_of(context: Context, rule: ChainRule | None = None) -> tuple[AttachPoint, Source]:
    """A point for XDP programs, with a rule of its own if one is given."""
    kind: ProgramType = linux.program_type("xdp").for_attach_type("xdp")
    point = AttachPoint(context, replace(kind, chain=rule) if rule is not None else kind)
    return point, Source(point)


def test_without_programs_packets_pass(context: Context) -> None:
    """A point with nothing attached, before and after, gives the rule's verdict for that."""
    point, source = point_of(context)
    assert source.fire() == PASS
    link = point.attach(returning(context, DROP), "hook")
    assert source.fire() == DROP
    link.detach()
    assert source.fire() == PASS


def test_the_next_program_sees_what_passes(context: Context) -> None:
    """XDP programs run by priority, then by age, and the chain ends with the first that does not pass."""
    point, source = point_of(context)
    late = point.attach(returning(context, TX), "hook", priority=60)
    first = point.attach(returning(context, PASS), "hook")
    second = point.attach(returning(context, PASS), "hook")
    early = point.attach(returning(context, PASS), "hook", priority=1)
    assert point.links == (early, first, second, late)
    assert source.fire() == TX
    assert [link.stats.events for link in point.links] == [1, 1, 1, 1]
    drop = point.attach(returning(context, DROP), "hook", priority=2)
    assert source.fire() == DROP
    assert [link.stats.events for link in (early, drop, first, late)] == [2, 1, 1, 1]
    assert drop.stats.verdicts == {DROP: 1}


def test_unknown_actions_abort(context: Context) -> None:
    """An XDP program that returns no action of XDP aborts, and its statistics tell what it returned."""
    point, source = point_of(context)
    link = point.attach(returning(context, 17), "hook")
    huge = point.attach(returning(context, 1000), "hook", priority=1)
    assert source.fire() == ABORTED
    huge.detach()
    assert source.fire() == ABORTED
    assert (link.stats.verdicts, huge.stats.verdicts) == ({17: 1}, {-1: 1})


@pytest.mark.parametrize(
    ("values", "verdict", "runs"), [((0, 1), 0, 1), ((1, 2), 2, 2), ((2, 1), 2, 2), ((1, 1), 1, 2)]
)
def test_ranks_decide_where_all_run(context: Context, values: tuple[int, int], verdict: int, runs: int) -> None:
    """With ranks the strongest value wins, whichever program gave it; a value that does not proceed ends the chain."""
    rule = ChainRule(known=frozenset({0, 1, 2}), proceed=frozenset({1, 2}), ranks={0: 3, 1: 1, 2: 2})
    point, source = point_of(context, rule)
    links = [point.attach(returning(context, value), "hook") for value in values]
    assert source.fire() == verdict
    assert sum(link.stats.events for link in links) == runs


def test_a_change_of_watched_fields_ends_the_chain(context: Context) -> None:
    """Once a program has changed a watched field of the context, no further program runs."""
    kind = linux.program_type("cgroup_sock_addr").for_attach_type("cgroup_inet4_connect")
    point = AttachPoint(context, replace(kind, chain=ChainRule(watched=("user_ip4",))))
    offset = kind.context.field_named("user_ip4").offset
    source = Source(point)
    change = f"r2 = 7\n*(u32 *)(r1 + {offset}) = r2\nr0 = 1\nexit"
    keep = point.attach(program(context, "r0 = 1\nexit", "cgroup/connect4"), "hook")
    changes = point.attach(program(context, change, "cgroup/connect4"), "hook")
    unseen = point.attach(program(context, "r0 = 0\nexit", "cgroup/connect4"), "hook")
    assert source.fire(b"") == 1
    assert [link.stats.events for link in (keep, changes, unseen)] == [1, 1, 0]


def test_a_program_is_swapped_in_place(context: Context) -> None:
    """After update, the new program runs; the old one may be closed at once; counts go on."""
    point, source = point_of(context)
    old = returning(context, DROP)
    link = point.attach(old, "hook")
    assert source.fire() == DROP
    link.update(returning(context, PASS))
    old.close()
    assert source.fire() == PASS
    assert link.stats.verdicts == {DROP: 1, PASS: 1}


def test_swapping_under_load_loses_no_event(context: Context) -> None:
    """While one thread fires, another swaps the program many times: every event met one of the two."""
    point, source = point_of(context)
    link = point.attach(returning(context, DROP), "hook")
    seen: list[int] = []
    done = threading.Event()

    def fire() -> None:
        while not done.is_set() or not seen:
            seen.append(source.fire())

    thread = threading.Thread(target=fire)
    thread.start()
    for number in range(300):
        link.update(returning(context, PASS if number % 2 else DROP))
    done.set()
    thread.join()
    assert set(seen) <= {DROP, PASS}
    assert link.stats.events == len(seen)


def test_a_fault_leaves_traffic_flowing(context: Context) -> None:
    """A program that faults counts as the rule says, is counted as an error, and the link tells the fault."""
    point, source = point_of(context)
    link = point.attach(program(context, "r0 = *(u64 *)(r1 + 4096)\nexit", unverified=True), "hook")
    assert source.fire() == PASS
    assert (link.stats.events, link.stats.errors, link.stats.verdicts) == (1, 1, {})
    assert link.fault is not None
    assert link.fault.instruction == 0


def test_ids_are_of_one_space(context: Context) -> None:
    """Programs, maps and links never share an id, and the context knows its links while they are attached."""
    point, _ = point_of(context)
    programs = [returning(context, DROP), returning(context, PASS)]
    links = [point.attach(one, "hook") for one in programs]
    ids = [one.id for one in (*programs, *links)]
    assert len(set(ids)) == 4
    assert context.links == {link.id: link for link in links}
    with links[0]:
        pass
    assert context.links == {links[1].id: links[1]}


def test_programs_that_do_not_belong_are_refused(context: Context) -> None:
    """Other types, other contexts and closed programs are refused, and a detached link is not updated."""
    point, _ = point_of(context)
    link = point.attach(returning(context, DROP), "hook")
    with pytest.raises(HookError, match=r"'p' is of type sched_cls.* type xdp"):
        link.update(program(context, "r0 = 0\nexit", "tc"))
    with Context() as other, pytest.raises(HookError, match="another execution context"):
        point.attach(returning(other, DROP), "hook")
    closed = returning(context, PASS)
    closed.close()
    with pytest.raises(LoadError, match="closed"):
        link.update(closed)
    link.detach()
    with pytest.raises(HookError, match="is detached"):
        link.update(returning(context, PASS))


def test_where_one_program_is_taken_a_second_is_refused(context: Context) -> None:
    """A rule that says single refuses the second program, and takes one again after the first has gone."""
    point, _ = point_of(context, ChainRule(single=True))
    link = point.attach(returning(context, 0), "hook")
    with pytest.raises(HookError, match="attached already"):
        point.attach(returning(context, 0), "hook")
    link.detach()
    assert isinstance(point.attach(returning(context, 0), "hook"), Link)


def test_windows_and_linux_have_their_own_actions() -> None:
    """The chain rules of XDP follow each platform's numbers: passing goes on, and is what happens without a program."""
    for platform in (linux, windows):
        kind = platform.program_type("xdp")
        (passing,) = [value for value, action in kind.actions.items() if action == "XDP_PASS"]
        assert (kind.chain.proceed, kind.chain.empty, kind.chain.fault) == (frozenset({passing}), passing, passing)
        assert kind.chain.known == frozenset(kind.actions)


def test_time_is_that_of_events_after_the_first(context: Context) -> None:
    """One event has no time yet; from the second on there is a mean, which is not that of the cold first run."""
    point, source = point_of(context)
    link = point.attach(returning(context, DROP), "hook")
    source.fire()
    assert link.stats.ns_per_event == 0
    for _ in range(200):
        source.fire()
    assert 0 < link.stats.ns_per_event < 1_000_000
