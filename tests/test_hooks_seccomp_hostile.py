"""Supervised commands that try to get past the policy, and signals that come at the worst moment."""

from __future__ import annotations

import os
import platform
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from anybpf.hooks.seccomp_filter import ARCHITECTURES, CALLS, build
from anybpf.hooks.socket_call import Operation
from supervised import ALLOW_BIND, compiled_c, deny_port, free_port, policy, run

pytestmark = pytest.mark.linux_only

ALLOW, NOTIFY, ERROR = 0x7FFF0000, 0x7FC00000, 0x00050000
EPERM, ENOSYS, EOPNOTSUPP = 1, 38, 95
X86_64 = ARCHITECTURES["x86_64"]


def verdict(code: bytes, number: int, processor: int, arguments: tuple[int, ...] = ()) -> int:
    """What a filter says of a system call: classic BPF as far as our filters use it."""
    data = struct.pack("<iIQ6Q", number, processor, 0, *arguments, *[0] * (6 - len(arguments)))
    accumulator = at = 0
    while True:
        operation, true, false, value = struct.unpack_from("=HBBI", code, at)
        at += 8
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x06:
                return value
            case 0x15 | 0x35 | 0x45:
                passed = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value}[operation]
                at += 8 * (true if passed else false)
            case _:
                raise AssertionError(f"operation {operation:#x}")


class TestFilter:
    @pytest.mark.parametrize("machine", ARCHITECTURES)
    @pytest.mark.parametrize("operation", Operation)
    def test_holds_up_what_programs_want_to_see_and_nothing_else(self, machine: str, operation: Operation) -> None:
        """Of all system calls, those of one operation are held up."""
        target = ARCHITECTURES[machine]
        code = build({operation}, target)
        wanted = {target.numbers[call.name] for call in CALLS if operation in call.operations}
        refused = {425, 426, 427, 435}
        for number in range(600):
            # a socket of the Internet, an address, no flags
            said = verdict(code, number, target.audit, (2, 1, 0, 0, 1))
            expected = NOTIFY if number in wanted else ERROR | ENOSYS if number in refused else ALLOW
            assert said == expected, number

    def test_calls_that_cannot_matter_are_let_through(self) -> None:
        """Unix sockets are made, and data without an address is sent, without us."""
        code = build({Operation.SOCKET, Operation.SENDMSG}, X86_64)
        numbers = X86_64.numbers
        assert verdict(code, numbers["socket"], X86_64.audit, (1, 1)) == ALLOW
        assert verdict(code, numbers["socket"], X86_64.audit, (1 << 32 | 10, 1)) == NOTIFY  # the kernel takes an int
        assert verdict(code, numbers["sendto"], X86_64.audit, (3, 1, 1, 0, 0)) == ALLOW
        assert verdict(code, numbers["sendto"], X86_64.audit, (3, 1, 1, 0, 1 << 32)) == NOTIFY

    def test_ways_round_are_refused(self) -> None:
        """The other modes of the processor, fast open where connections are decided, unknown processors."""
        code = build({Operation.CONNECT}, X86_64)
        for number in X86_64.refused:
            assert verdict(code, number, X86_64.other) == ERROR | ENOSYS
        assert verdict(code, 4, X86_64.other) == ALLOW  # a 32-bit program may do the rest
        assert verdict(code, 0x40000000 | 42, X86_64.audit) == ERROR | ENOSYS
        assert verdict(code, 42, 0x12345678) == ERROR | ENOSYS
        for name, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
            arguments = tuple(0x20000000 if index == flags else 1 for index in range(4))
            assert verdict(code, X86_64.numbers[name], X86_64.audit, arguments) == ERROR | EOPNOTSUPP
            assert verdict(code, X86_64.numbers[name], X86_64.audit) == ALLOW

    @pytest.mark.parametrize("machine", ARCHITECTURES)
    def test_no_process_shares_descriptors_with_another(self, machine: str) -> None:
        """clone with CLONE_FILES makes threads only, in both modes of the processor; fork and vfork go on."""
        target = ARCHITECTURES[machine]
        code = build({Operation.BIND}, target)
        files, thread, vm, vfork = 0x400, 0x10000, 0x100, 0x4000
        for number, processor in ((target.clone, target.audit), (target.other_clone, target.other)):
            assert verdict(code, number, processor, (files | 17,)) == ERROR | EPERM
            assert verdict(code, number, processor, (files | vm | 17,)) == ERROR | EPERM
            assert verdict(code, number, processor, (files | vm | thread,)) == ALLOW
            assert verdict(code, number, processor, (vm | vfork | 17,)) == ALLOW
            assert verdict(code, 435, processor) == ERROR | ENOSYS  # clone3: libraries then use clone


def hostile(folder: Path, attachments: dict[str, str], source: str, *arguments: object) -> str:
    """What a C program prints under policies, given by hook and source."""
    line = [compiled_c(folder, source, "-pthread"), *map(str, arguments)]
    done = run(*[f"{hook}={policy(folder, text)}" for hook, text in attachments.items()], command=line)
    assert done.returncode == 0, done
    return str(done.stdout)


PREAMBLE = """
    #define _GNU_SOURCE
    #include <arpa/inet.h>
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <sys/time.h>
    #include <sys/un.h>
    #include <unistd.h>
    static struct sockaddr_in at(int port) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001)};
        return a;
    }
    static int port_of(int s) {
        struct sockaddr_in a; socklen_t n = sizeof a;
        return getsockname(s, (void *)&a, &n) ? -1 : ntohs(a.sin_port);
    }
    static volatile int done;
    """


class TestRaces:
    def test_an_address_that_changes_after_the_call_began(self, tmp_path: Path) -> None:
        """A thread that rewrites the address all the time never gets the port that is denied."""
        good, bad = free_port(), free_port()
        source = PREAMBLE + """
            static struct sockaddr_in address;
            static unsigned short good, bad;
            static void *swap(void *unused) {
                while (!done) { *(volatile unsigned short *)&address.sin_port = bad;
                                *(volatile unsigned short *)&address.sin_port = good; }
                return unused;
            }
            int main(int argc, char **argv) {
                int refused = 0, bound = 0, wrong = 0, number = argc > 2 ? atoi(argv[2]) : 0;
                pthread_t thread;
                address = at(0);
                good = htons(atoi(argv[1]));
                bad = htons(number);
                pthread_create(&thread, NULL, swap, NULL);
                for (int i = 0; i < 1500; i++) {
                    int s = socket(AF_INET, SOCK_STREAM, 0);
                    int error = bind(s, (void *)&address, sizeof address);
                    if (port_of(s) == number) wrong++;
                    else if (error) refused++;
                    else bound++;
                    close(s);
                }
                done = 1;
                pthread_join(thread, NULL);
                printf("%d %d %d\\n", wrong, refused > 0, bound > 0);
                return 0;
            }
            """
        policies = {"bind4": deny_port("cgroup/bind4", bad)}
        assert hostile(tmp_path, policies, source, good, bad) == "0 1 1\n"


class TestSignals:
    def test_calls_interrupted_all_the_time_are_each_done_once(self, tmp_path: Path) -> None:
        """Under a timer of a millisecond every bind and connect succeeds, and restarting does not repeat it."""
        source = PREAMBLE + """
            static void ring(int unused) { (void)unused; }
            int main(void) {
                struct sigaction action = {.sa_handler = ring, .sa_flags = SA_RESTART};
                struct itimerval often = {{0, 300}, {0, 300}};
                int failed = 0, server = socket(AF_INET, SOCK_STREAM, 0);
                struct sockaddr_in to = at(0), any = at(0);
                listen(server, 128);
                to = at(port_of(server));
                sigaction(SIGALRM, &action, NULL);
                setitimer(ITIMER_REAL, &often, NULL);
                for (int i = 0; i < 2000; i++) {
                    int s = socket(AF_INET, SOCK_STREAM, 0);
                    if (bind(s, (void *)&any, sizeof any)) { failed++; perror("bind"); }
                    if (connect(s, (void *)&to, sizeof to)) { failed++; perror("connect"); }
                    close(s);
                    close(accept(server, NULL, NULL));
                }
                printf("%d\\n", failed);
                return 0;
            }
            """
        allowed = {"bind4": ALLOW_BIND, "connect4": deny_port("cgroup/connect4", 9)}
        assert hostile(tmp_path, allowed, source) == "0\n"


class TestOtherWays:
    def test_io_uring_is_not_there(self, tmp_path: Path) -> None:
        """Rings, whose requests no filter sees, cannot be set up."""
        source = PREAMBLE + """
            int main(void) {
                char parameters[256] = {0};
                long made = syscall(425, 8, parameters);
                printf("%ld %d\\n", made, errno);
                return 0;
            }
            """
        assert hostile(tmp_path, {"bind4": ALLOW_BIND}, source) == f"-1 {ENOSYS}\n"

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="another processor's other mode")
    def test_32_bit_calls_make_no_sockets(self, tmp_path: Path) -> None:
        """`int 0x80`, by which a 64-bit program makes the calls of i386, does not bind; others work."""
        source = PREAMBLE + """
            static int old(int number, int a, int b, int c) {
                int result;
                __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c)
                                 : "memory", "r8", "r9", "r10", "r11");
                return result;
            }
            int main(void) {
                struct sockaddr_in *address = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
                int s = socket(AF_INET, SOCK_STREAM, 0);
                *address = at(0);
                int bound = old(361, s, (int)(long)address, sizeof *address);
                int called = old(102, 1, (int)(long)address, 0);
                printf("%d %d %d %d\\n", old(20, 0, 0, 0) == getpid(), bound, called, port_of(s));
                return 0;
            }
            """
        plain = compiled_c(tmp_path, source)
        alone = subprocess.run([plain], capture_output=True, text=True, timeout=60, check=False)
        if alone.returncode != 0 or " 0 " not in alone.stdout:
            pytest.skip("this kernel does not run 32-bit calls")
        denied = {"bind4": 'SEC("cgroup/bind4") int deny(struct bpf_sock_addr *ctx) { return 0; }'}
        assert hostile(tmp_path, denied, source) == f"1 -{ENOSYS} -{ENOSYS} 0\n"

    def test_no_capability_of_the_supervisor_is_lent(self, tmp_path: Path) -> None:
        """A caller without CAP_NET_BIND_SERVICE binds no low port, though root's supervisor makes the call: neither one
        that gave it up, nor one that has it in a user namespace of its own, unless the network is that namespace's."""
        if os.getuid() != 0:
            pytest.skip("needs root, to have a capability to give up")
        source = PREAMBLE + """
            #include <sched.h>
            static int try(int port) {
                int s = socket(AF_INET, SOCK_STREAM, 0);
                struct sockaddr_in address = at(port);
                int error = bind(s, (void *)&address, sizeof address) ? errno : 0;
                close(s);
                return error;
            }
            int main(void) {
                int allowed = try(LOW);
                if (setgid(65534) || setuid(65534)) return 1;
                int given_up = try(LOW), high = try(0), elsewhere = 0, own = 0;
                if (unshare(CLONE_NEWUSER) == 0) {
                    elsewhere = try(LOW);
                    if (unshare(CLONE_NEWNET) == 0) own = try(LOW);
                } else elsewhere = EACCES;
                printf("%d %d %d %d %d\\n", allowed, given_up, high, elsewhere, own);
                return 0;
            }
            """
        low = next(port for port in range(1023, 900, -1) if may_bind(port))
        assert hostile(tmp_path, {"bind4": ALLOW_BIND}, source.replace("LOW", str(low))) == "0 13 0 13 0\n"


def may_bind(port: int) -> bool:
    """Whether a port is free."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
