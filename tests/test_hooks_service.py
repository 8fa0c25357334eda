"""A hook of one's own service: declared in Python, decided by programs that were compiled against its header."""

from __future__ import annotations

import threading
import time
from itertools import count
from random import Random

import pytest

from anybpf.errors import EventError, HookError, VerificationError
from anybpf.hooks import Service
from anybpf.hooks.service_fields import I8, I64, U8, U16, U32, U64, Buffer, Bytes, Integer
from services import program_for, request_policy

DECIDE = """
    const __u8 *path = ctx->path, *end = ctx->path_end;
    __u8 *scratch = ctx->scratch;
    if (ctx->client[0] == 10 && ctx->port == 80)
        return DENY;
    if (path + 2 > end)
        return ALLOW;
    if (path[1] == 'x') {
        ctx->tag = ctx->method + 1;
        return TAG;
    }
    if (scratch + 2 > ctx->scratch_end)
        return ALLOW;
    scratch[1] = path[1];
    return LIMIT;
"""
EVENT = {"method": 6, "port": 80, "client": b"\x0b", "path": b"/"}


@pytest.fixture(scope="module")
def policy():
    """The service of these tests, its program attached."""
    service = request_policy()
    with service.load(program_for(service, DECIDE)) as loaded, loaded.programs["decide"].attach(service):
        yield service


def test_programs_decide(policy):
    """The verdict is what the program returned for these fields, by number and by name."""
    allowed = policy(**EVENT)
    denied = policy(**{**EVENT, "client": b"\x0a"})
    assert (allowed.value, allowed.name, dict(allowed.written)) == (0, "ALLOW", {})
    assert (denied.value, denied.name) == (1, "DENY")


def test_what_programs_write_comes_back(policy):
    """An outcome holds the writable fields that were changed, and nothing else."""
    tagged = policy(**{**EVENT, "path": b"/x"}, tag=3)
    assert (tagged.name, dict(tagged.written)) == ("TAG", {"tag": 7})
    limited = policy(**{**EVENT, "path": b"/y"}, scratch=b"abc")
    assert (limited.name, dict(limited.written)) == ("LIMIT", {"scratch": b"ayc"})


def test_writing_the_same_value_changes_nothing(policy):
    """A field that has its value already is not among what was written."""
    assert not policy(**{**EVENT, "path": b"/x"}, tag=7).written


def test_any_bytes_like_object_is_a_buffer(policy):
    """bytearray and memoryview do as well as bytes, and are left as they are."""
    scratch = bytearray(b"abc")
    outcome = policy(**{**EVENT, "path": memoryview(b"/y")}, scratch=scratch)
    assert dict(outcome.written) == {"scratch": b"ayc"}
    assert scratch == b"abc"


def test_batch_gives_a_verdict_a_record(policy):
    """Records run in their order; what programs change is changed in writable memory, and only there."""
    records = [policy.pack(**{**EVENT, "path": path}, scratch=b"abc") for path in (b"/", b"/x", b"/y")]
    fixed = b"".join(records)
    assert policy.batch(fixed) == bytes([0, 3, 2])
    assert fixed == b"".join(records)
    changing = bytearray(fixed)
    assert policy.batch(changing) == bytes([0, 3, 2])
    tagged = policy.pack(**{**EVENT, "path": b"/x"}, scratch=b"abc", tag=7)
    limited = policy.pack(**{**EVENT, "path": b"/y"}, scratch=b"ayc")
    assert changing == records[0] + tagged + limited


def test_an_empty_batch_is_no_event(policy):
    """No records, no verdicts."""
    assert policy.batch(b"") == b""


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_record_that_is_cut_short_is_refused(policy, cut):
    """The message says which record it is; the records before it have been run."""
    record = policy.pack(**{**EVENT, "path": b"/index"})
    before = policy.links[0].stats.events
    with pytest.raises(EventError, match=f"record 1, at byte {len(record)} of .* cut short"):
        policy.batch(record + record[:-cut])
    assert policy.links[0].stats.events == before + 1


def test_records_with_impossible_lengths_are_refused(policy):
    """Lengths that overflow or lie are found before anything is read."""
    record = bytearray(policy.pack(**EVENT))
    for length in (1 << 63, (1 << 64) - 1, 2):
        record[8:16] = length.to_bytes(8, "little")
        with pytest.raises(EventError, match="cut short"):
            policy.batch(record)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("method", -1, "method is -1; it holds 0 to 4294967295"),
        ("port", 1 << 16, "port is 65536; it holds 0 to 65535"),
        ("method", "GET", "method is 'GET'; give an int"),
        ("client", bytes(17), "client has 17 bytes; it holds 16"),
        ("client", "10.0.0.1", "client is '10.0.0.1'; give bytes"),
        ("path", "/index", "path is '/index'; give bytes"),
        ("path", 5, "path is 5; give bytes"),
        ("path", None, "path is None; give bytes"),
    ],
)
def test_values_that_do_not_fit_are_refused(policy, field, value, message):
    """One sentence says which field, what was given and what fits; for records as well."""
    for call in (policy, policy.pack):
        with pytest.raises(EventError, match=message):
            call(**{**EVENT, field: value})


@pytest.mark.parametrize("records", ["text", 5, None, [b"x"], memoryview(bytes(64))[::2]])
def test_records_are_bytes(policy, records):
    """What is no contiguous memory is refused in one sentence."""
    with pytest.raises(EventError, match="give bytes"):
        policy.batch(records)


def test_any_bytes_are_records_or_refused(policy):
    """Whatever is given as records, nothing outside it is read: it makes events, or an error says where it does not."""
    random = Random("records")
    outcomes = set()
    for _ in range(400):
        records = bytearray(policy.pack(**{**EVENT, "path": b"/index"}, scratch=b"abc") * 3)
        for _ in range(random.choice([0, 1, 2, 8])):
            records[random.randrange(len(records))] = random.choice([0, 1, 6, 7, 64, 255])
        del records[random.randrange(len(records)) :]
        try:
            outcomes.add(len(policy.batch(records)))
        except EventError as error:
            outcomes.add(str(error)[:8])
    assert {0, 1, 2, "record 0", "record 1", "record 2"} <= outcomes


@pytest.mark.parametrize("mode", ["checked", "interpreter", "jit"])
def test_tiers_decide_alike(mode):
    """However programs run, verdicts and what is written are the same, one by one and in batches."""
    service = request_policy()
    with service.load(program_for(service, DECIDE), mode=mode) as loaded, loaded.programs["decide"].attach(service):
        events = [
            {**EVENT, "client": client, "path": path} for client in (b"\x0a", b"") for path in (b"", b"/x", b"/y")
        ]
        outcomes = [service(**event, scratch=b"abc") for event in events]
        assert [outcome.name for outcome in outcomes] == ["DENY"] * 3 + ["ALLOW", "TAG", "LIMIT"]
        assert [dict(outcome.written) for outcome in outcomes[4:]] == [{"tag": 7}, {"scratch": b"ayc"}]
        records = b"".join(service.pack(**event, scratch=b"abc") for event in events)
        assert list(service.batch(records)) == [outcome.value for outcome in outcomes]


def test_fields_that_programs_may_not_write_must_be_given(policy):
    """A forgotten field is not silently zero; a field that is not declared is refused."""
    with pytest.raises(TypeError, match="path"):
        policy(method=1, port=80, client=b"")
    with pytest.raises(TypeError, match="colour"):
        policy(**EVENT, colour=3)


def test_buffers_have_a_largest_size(policy):
    """More than 16 MiB in one event are refused."""
    with pytest.raises(EventError, match="too long"):
        policy(**{**EVENT, "path": bytes((16 << 20) + 1)})


def test_many_threads_fire_at_once(policy):
    """Each thread gets the outcome of its own event."""
    wrong = []

    def fire(number):
        for step in range(300):
            outcome = policy(**{**EVENT, "method": number, "path": b"/x"}, tag=step)
            expected = {} if step == number + 1 else {"tag": number + 1}
            if outcome.name != "TAG" or dict(outcome.written) != expected:
                wrong.append(outcome)

    threads = [threading.Thread(target=fire, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_attached_is_the_fallback():
    """Without a program the verdict is the one that the author named."""
    for name in ("ALLOW", "DENY"):
        assert request_policy(fallback=name)(**EVENT).name == name


def test_programs_are_asked_in_turn():
    """The next program is asked after a verdict that proceeds; the first other verdict decides."""
    service = request_policy()
    with (
        service.load(program_for(service, "return ctx->port == 1 ? DENY : ALLOW;")) as one,
        service.load(program_for(service, "return ctx->port == 2 ? LIMIT : ctx->port == 1 ? TAG : ALLOW;")) as other,
        other.programs["decide"].attach(service, priority=60),
        one.programs["decide"].attach(service),
    ):
        assert [service(**{**EVENT, "port": port}).name for port in (0, 1, 2)] == ["ALLOW", "DENY", "LIMIT"]


def test_links_are_swapped_while_events_go_on():
    """Every event meets the old or the new program while a link is updated, and none the fallback."""
    service = request_policy(fallback="TAG")
    with (
        service.load(program_for(service, "return DENY;")) as one,
        service.load(program_for(service, "return LIMIT;")) as other,
    ):
        link = one.programs["decide"].attach(service)
        seen = set()
        stop = threading.Event()

        def fire():
            while not stop.is_set():
                seen.add(service(**EVENT).name)

        threads = [threading.Thread(target=fire) for _ in range(3)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        for round_ in count():
            link.update((other, one)[round_ % 2].programs["decide"])
            if round_ >= 200 and (len(seen) > 1 or time.monotonic() > deadline):
                break
        stop.set()
        for thread in threads:
            thread.join()
        assert seen == {"DENY", "LIMIT"}
        link.detach()
        assert service(**EVENT).name == "TAG"


def test_integers_of_every_size_arrive():
    """Each integer field reaches programs with its sign and size, and what is written comes back with them."""
    kinds = {"u8": U8, "u16": U16, "u32": U32, "u64": U64, "i8": I8, "i64": I64}
    service = Service(
        "sizes",
        fields=[*(make(name) for name, make in kinds.items()), I64("sum", writable=True), I8("low", writable=True)],
        returns={"OK": 0},
        fallback="OK",
    )
    text = "ctx->sum = ctx->u8 + ctx->u16 + ctx->u32 + ctx->u64 + ctx->i8 + ctx->i64; ctx->low = ctx->i8; return OK;"
    with service.load(program_for(service, text)) as loaded, loaded.programs["decide"].attach(service):
        outcome = service(u8=255, u16=65535, u32=1 << 31, u64=1 << 40, i8=-128, i64=-(1 << 50))
        total = 255 + 65535 + (1 << 31) + (1 << 40) - 128 - (1 << 50)
        assert dict(outcome.written) == {"sum": total, "low": -128}


def test_bytes_are_read_and_written_by_words():
    """Fixed bytes may be accessed in words as wide as their alignment, inside the field only."""
    service = Service(
        "words",
        fields=[Bytes("key", 6), Bytes("out", 6, writable=True)],
        returns={"OK": 0},
        fallback="OK",
    )
    text = "*(__u32 *)ctx->out = *(__u32 *)ctx->key; *(__u16 *)(ctx->out + 4) = *(__u16 *)(ctx->key + 4); return OK;"
    with service.load(program_for(service, text)) as loaded, loaded.programs["decide"].attach(service):
        assert dict(service(key=b"abcdef").written) == {"out": b"abcdef"}
    with pytest.raises(VerificationError, match="context-access"):
        service.load(program_for(service, "*(__u32 *)ctx->out = *(__u32 *)(ctx->key + 4); return OK;"))


def test_read_only_fields_are_not_written():
    """A store to a field that is not writable is refused when the program is loaded."""
    service = request_policy()
    with pytest.raises(VerificationError, match="read-only: field port of http_request"):
        service.load(program_for(service, "ctx->port = 1; return ALLOW;"))


def test_returns_without_a_gap_are_proven():
    """A program that may return something undeclared is refused."""
    service = request_policy()
    with pytest.raises(VerificationError, match=r"programs of type http_request return 0\.\.3"):
        service.load(program_for(service, "return ctx->method;"))


def test_returns_with_a_gap_fall_back():
    """Where the declared values have gaps, what lies between them counts as the fallback."""
    service = request_policy(returns={"ALLOW": 0, "DENY": 1, "LOG": 9}, fallback="DENY")
    with service.load(program_for(service, "return ctx->method;")) as loaded, loaded.programs["decide"].attach(service):
        names = [service(**{**EVENT, "method": number}).name for number in (0, 1, 5, 9, 64, 1 << 31)]
        assert names == ["ALLOW", "DENY", "DENY", "LOG", "DENY", "DENY"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": []}, "has no field"),
        ({"fields": [U8("a"), U16("a")]}, "two fields called 'a'"),
        ({"fields": [Buffer("a"), U16("a_end")]}, "two fields called 'a_end'"),
        ({"fields": [U8("a b")]}, "'a b' cannot be a name"),
        ({"fields": [U8("int")]}, "'int' cannot be a name"),
        ({"fields": [U8("typeof")]}, "'typeof' cannot be a name"),
        ({"fields": [U8("a")], "returns": {"BPF_ANY": 0}}, "'BPF_ANY' cannot be a name"),
        ({"fields": [U8("lambda")]}, "'lambda' cannot be a name"),
        ({"fields": [U8("_data")]}, "'_data' cannot be a name"),
        ({"fields": ["a"]}, "'a' is no field"),
        ({"fields": [Bytes("a", "x")]}, "is no field"),
        ({"fields": [U8(1)]}, "names are text"),
        ({"returns": {"ALLOW": "x"}}, "values are from 0 to 63"),
        ({"returns": ["ALLOW"]}, "no return values"),
        ({"fields": [Bytes("a", 0)]}, "has 0 bytes"),
        ({"fields": [Integer("a", 3)]}, "integer of 3 bytes"),
        ({"fields": [Bytes("a", 5000)]}, "takes 5000 bytes"),
        ({"returns": {}}, "no return values"),
        ({"returns": {"ALLOW": 64}}, "from 0 to 63"),
        ({"returns": {"ALLOW": 0, "DENY": 0}}, "two names for one"),
        ({"fallback": "MAYBE"}, "no return value 'MAYBE'"),
        ({"proceed": ["MAYBE"]}, "no return value 'MAYBE'"),
        ({"helpers": ["bpf_fly"]}, "no helper 'bpf_fly'"),
    ],
)
def test_declarations_that_make_no_sense_are_refused(options, message):
    """Each mistake of a service author is named when the service is declared."""
    with pytest.raises(HookError, match=message):
        request_policy(**options)


def test_fields_may_have_names_of_builtins():
    """A field may be called like something that Python offers everywhere."""
    service = Service("odd", fields=[Buffer("len"), U8("id"), Bytes("type", 4)], returns={"OK": 0}, fallback="OK")
    assert service(len=b"abc", id=1, type=b"x").name == "OK"
    with pytest.raises(EventError, match="type has 5 bytes"):
        service(len=b"abc", id=1, type=b"12345")


def test_programs_of_other_services_are_refused():
    """A program runs only where it was verified, even when both services have the same names."""
    one, other = request_policy(), request_policy(fields=[U64("method")])
    with (
        one.load(program_for(one, "return ctx->tag ? DENY : ALLOW;")) as loaded,
        other.load(program_for(other, "return ALLOW;")) as fitting,
    ):
        with pytest.raises(HookError, match="not loaded for this http_request hook"):
            loaded.programs["decide"].attach(other)
        with (
            fitting.programs["decide"].attach(other) as link,
            pytest.raises(HookError),
        ):
            link.update(loaded.programs["decide"])
