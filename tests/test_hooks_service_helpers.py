"""Functions of a service's own that programs call: in C by address, and in Python."""

from __future__ import annotations

import ctypes
import sys
import threading

import pytest
from cffi import FFI

from anybpf.errors import HookError, VerificationError
from anybpf.hooks import Service
from anybpf.hooks.service_fields import I64, U32, U64, Buffer
from anybpf.hooks.service_helpers import (
    CTX,
    GENERAL,
    KEY,
    MAP,
    MEM,
    MEM_INOUT,
    MEM_OR_NULL,
    OUT,
    REPEATING,
    SCALAR,
    SIZE,
    SIZE_OR_ZERO,
    function,
    memory,
    memory_inout,
    memory_out,
)
from services import compiled_for, program_for

TIERS = ["checked", "interpreter", "jit"]


def service_with(*extra, **options):
    """A service that offers the functions ``extra``."""
    declaration = {
        "fields": [Buffer("text"), U64("number"), I64("answer", writable=True)],
        "returns": {"OK": 0, "NO": 1},
        "fallback": "NO",
    }
    return Service("asking", extra=extra, **{**declaration, **options})


def answer_of(service, body, mode=None, **fields):
    """Run a program of the service whose text is ``body``; returns what it put into ``ctx->answer``."""
    with (
        service.load(program_for(service, body), mode=mode) as loaded,
        loaded.programs["decide"].attach(service),
    ):
        outcome = service(**{"text": b"", "number": 0, **fields})
        assert outcome.name == "OK"
        return outcome.written.get("answer", 0)


@pytest.mark.parametrize("mode", TIERS)
def test_python_functions_get_numbers_and_bytes(mode):
    """Scalars arrive as unsigned numbers, memory as bytes, and the result goes back with its sign."""
    seen = []

    def score(number, text, key):
        seen.append((number, text, key))
        return -len(text)

    service = service_with(
        function(
            "long score(__u64 number, const void *text, __u64 size, void *key)",
            SCALAR,
            MEM,
            SIZE,
            memory(4),
            call=score,
        )
    )
    body = """
    __u32 key = 0x01020304;
    const __u8 *text = ctx->text;
    if (text + 5 > ctx->text_end)
        return NO;
    ctx->answer = score(ctx->number, text, 5, &key);
    return OK;
    """
    assert answer_of(service, body, mode, text=b"hello world", number=(1 << 64) - 1) == -5
    assert seen == [((1 << 64) - 1, b"hello", bytes([4, 3, 2, 1]))]


@pytest.mark.parametrize("mode", TIERS)
def test_python_functions_write_through_views(mode):
    """A view shows what the program passed (zeros for OUT), and what is put there is the program's after the call."""

    def twice(text, out):
        out[:] = bytes(out) + b"" if any(out) else bytes(reversed(text))
        text[0] = ord("Z")

    service = service_with(
        function("void twice(void *text, void *out, __u64 size)", memory_inout(4), OUT, SIZE, call=twice)
    )
    body = """
    char text[4] = "abcd", out[4];
    twice(text, out, sizeof(out));
    ctx->answer = out[0] << 24 | out[3] << 16 | text[0] << 8 | text[1];
    return OK;
    """
    assert answer_of(service, body, mode) == int.from_bytes(b"daZb", "big")


def test_a_view_that_is_kept_does_no_harm():
    """A view is of a copy: writing to it after the call changes nothing, and raises nothing."""
    kept = []
    service = service_with(function("void keep(void *out)", memory_out(8), call=kept.append))
    assert answer_of(service, "__u64 out; keep(&out); ctx->answer = out + 1; return OK;") == 1
    kept[0][:] = b"12345678"
    assert bytes(kept[0]) == b"12345678"


def test_null_arrives_as_none():
    """Memory that may be NULL is None when it is."""
    seen = []
    service = service_with(
        function("long look(const void *text, __u64 size)", MEM_OR_NULL, SIZE_OR_ZERO, call=seen.append)
    )
    assert answer_of(service, "ctx->answer = look(0, 0); return OK;") == 0
    assert seen == [None]


@pytest.mark.parametrize("mode", TIERS)
def test_what_a_python_function_raises_is_reported(mode, monkeypatch):
    """An exception, or a result out of its bounds, is reported and gives the program the failure value."""
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_type))
    results = iter([KeyError, 7, 8, "text", None])

    def odd():
        result = next(results)
        if result is KeyError:
            raise KeyError("x")
        return result

    service = service_with(function("long odd(void)", call=odd, returns=(-5, 7), failure=-5))
    with (
        service.load(program_for(service, "ctx->answer = odd(); return OK;"), mode=mode) as loaded,
        loaded.programs["decide"].attach(service),
    ):
        answers = [service(text=b"", number=0).written.get("answer", 0) for _ in range(5)]
    assert answers == [-5, 7, -5, -5, 0]
    assert reported == [KeyError, ValueError, ValueError]


def test_bounds_of_a_result_are_relied_on():
    """What is declared of a result proves accesses that depend on it; without it they are refused."""
    body = "__u8 table[8] = {1,2,3,4,5,6,7,8}; barrier_var(ctx); ctx->answer = table[pick()]; return OK;"
    bounded = service_with(function("long pick(void)", call=lambda: 7, returns=(0, 7), failure=0))
    assert answer_of(bounded, body) == 8
    free = service_with(function("long pick(void)", call=lambda: 7))
    with pytest.raises(VerificationError, match="stack"):
        free.load(program_for(free, body))


@pytest.mark.parametrize("mode", TIERS)
def test_c_functions_by_address(mode):
    """A function of the C library, one made by ctypes, and a bare address are called directly."""
    add = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)(lambda a, b: a + b)
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    service = service_with(
        function("long add(__u64 a, __u64 b)", SCALAR, SCALAR, call=add),
        function("long plus(__u64 a, __u64 b)", SCALAR, SCALAR, call=ctypes.cast(add, ctypes.c_void_p).value),
        function("long strnlen(const void *text, __u64 size)", MEM, SIZE, call=library.strnlen),
    )
    body = """
    char text[8] = "four";
    ctx->answer = add(ctx->number, 1) * 100 + plus(ctx->number, 2) + strnlen(text, sizeof(text));
    return OK;
    """
    assert answer_of(service, body, mode, number=40) == 41 * 100 + 42 + 4


@pytest.mark.parametrize("mode", TIERS)
def test_functions_of_cffi(mode):
    """A function of a library that cffi opened, and one that cffi made of a Python function, are called directly."""
    user = FFI()
    user.cdef("size_t strnlen(const char *, size_t);")
    library = user.dlopen("msvcrt" if sys.platform == "win32" else None)
    double = user.callback("uint64_t(uint64_t)", lambda number: 2 * number)
    service = service_with(
        function("long strnlen(const void *text, __u64 size)", MEM, SIZE, call=library.strnlen),
        function("long twice(__u64 number)", SCALAR, call=double),
    )
    body = 'char text[8] = "four"; ctx->answer = twice(ctx->number) + strnlen(text, 8); return OK;'
    assert answer_of(service, body, mode, number=40) == 84


def test_programs_keep_the_functions_that_they_call():
    """A function lives as long as a program that calls it, when nobody else holds the service."""
    import gc

    service = service_with(function("long one(void)", call=lambda: 1))
    loaded = service.load(program_for(service, "ctx->answer = one(); return OK;"))
    program = loaded.programs["decide"]
    del service, loaded
    gc.collect()
    size = program.type.context.size
    for _ in range(3):
        result = program.test_run(b"", bytes(size))
        assert result.context[-8:] == (1).to_bytes(8, "little")


def test_functions_may_fire_the_hook_again():
    """A Python function may fire its own hook: the event that it was called for stays as it was."""

    def again(number):
        return service(text=b"x" * number, number=number - 1).written.get("answer", 0) if number else 0

    service = service_with(function("long again(__u64 number)", SCALAR, call=again))
    body = """
    long below = again(ctx->number);
    int length = 0;
    for (const __u8 *at = ctx->text; length < 8 && at + length + 1 <= ctx->text_end; length++)
        ;
    ctx->answer = below * 10 + length;
    return OK;
    """
    assert answer_of(service, "return OK;") == 0
    with service.load(program_for(service, body)) as loaded, loaded.programs["decide"].attach(service):
        assert service(text=b"abc", number=2).written["answer"] == 123


def test_threads_call_python_functions_at_once():
    """Programs on several threads call one function without waiting for each other for ever."""
    lock = threading.Lock()
    counted = []

    def count(number):
        with lock:
            counted.append(number)
        return number

    service = service_with(function("long count(__u64 number)", SCALAR, call=count))
    body = "ctx->answer = count(ctx->number); return OK;"
    with service.load(program_for(service, body)) as loaded, loaded.programs["decide"].attach(service):
        threads = [
            threading.Thread(target=lambda n=n: [service(text=b"", number=n) for _ in range(100)]) for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert sorted(counted) == sorted(n for n in range(6) for _ in range(100))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ctx->answer = look(ctx->text, 4); return OK;", "helper-memory"),
        ("char out[4]; ctx->answer = look(out, 8); return OK;", "helper-memory"),
        ("char in[4]; ctx->answer = look(in, 4); return OK;", "uninitialised-stack"),
        ("ctx->answer = look((void *)ctx->number, 4); return OK;", "helper-argument"),
        ("ctx->answer = look(ctx->text_end, 0); return OK;", "helper-argument"),
        ("ctx->answer = number((__u64)ctx->text); return OK;", "number-expected"),
    ],
)
def test_arguments_are_checked_before_anything_runs(text, code):
    """What a function declares of its arguments is proven of every call."""
    service = service_with(
        function("long look(const void *text, __u64 size)", MEM, SIZE, call=lambda text: 0),
        function("long number(__u64 number)", SCALAR, call=lambda number: 0),
    )
    with pytest.raises(VerificationError, match=code):
        service.load(program_for(service, text.replace("in[4];", "in[4]; barrier_var(ctx);")))


def test_helpers_that_repeat_are_not_offered_unasked():
    """bpf_loop is for services that ask for it; by default programs cannot call it."""
    source = """
    static int round(__u32 index, void *context) { return 0; }
    SEC("asking") int decide(struct asking *ctx) { ctx->answer = bpf_loop(5, round, 0, 0); return OK; }
    """
    generous = service_with(helpers=GENERAL | REPEATING)
    data = compiled_for(generous, source)
    with generous.load(data) as loaded, loaded.programs["decide"].attach(generous):
        assert generous(text=b"", number=0).written["answer"] == 5
    with pytest.raises(VerificationError, match="unknown-helper"):
        service_with().load(data)


@pytest.mark.parametrize(
    ("declaration", "args", "options", "message"),
    [
        ("nonsense", (), {}, "not a C declaration"),
        ("long f(int a)", (), {}, "1 parameters but 0 arguments"),
        ("long f(void *a)", (MEM,), {}, "SIZE stands behind memory"),
        ("long f(__u64 n)", (SIZE,), {}, "SIZE stands behind memory"),
        ("long f(void *a, __u64 n)", (memory(4), SIZE), {}, "SIZE stands behind memory"),
        ("long f(int a, int b, int c, int d, int e, int g)", (SCALAR,) * 6, {}, "6 parameters; a BPF program passes"),
        ("long f(void *map)", (MAP,), {}, "numbers and memory; 'map' is neither"),
        ("long f(void *map, void *key)", (MAP, KEY), {}, "'map' is neither"),
        ("long f(void *ctx)", (CTX,), {}, "'ctx' is neither"),
        ("long f(int a)", (SCALAR,), {"call": lambda: 0}, "does not take 1 arguments"),
        ("long f(int a)", (SCALAR,), {"call": "f"}, "neither an address nor can it be called"),
        ("long f(int a)", (SCALAR,), {"call": 0}, "no address of a function"),
        ("long f(int a)", (SCALAR,), {"returns": (0, 5)}, "returns -1 on failure, which is not from 0 to 5"),
    ],
)
def test_functions_that_make_no_sense_are_refused(declaration, args, options, message):
    """Each mistake in a declaration is named where it is made."""
    with pytest.raises(HookError, match=message):
        function(declaration, *args, **{"call": lambda *values: 0, **options})


def test_functions_need_names_of_their_own():
    """Two functions of one name, or one called like a helper, are refused when the service is declared."""
    one = function("long one(void)", call=lambda: 1)
    with pytest.raises(HookError, match="two functions called one"):
        service_with(one, one)
    with pytest.raises(HookError, match="two functions called bpf_ktime_get_ns"):
        service_with(function("long bpf_ktime_get_ns(void)", call=lambda: 1))


def test_memory_that_is_changed_is_checked_as_both():
    """MEM_INOUT needs initialised bytes, and writable ones."""
    service = service_with(
        function("long change(void *text, __u64 size)", MEM_INOUT, SIZE, call=lambda text: 0),
        fields=[Buffer("text"), U32("n")],
    )
    body = "if (ctx->text + 4 > ctx->text_end) return NO; return change((void *)ctx->text, 4) ? NO : OK;"
    with pytest.raises(VerificationError, match="read-only: buffer 'text'"):
        service.load(program_for(service, body))
