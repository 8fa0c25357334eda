"""Supervised commands that put another socket behind a descriptor while a call with it is being decided."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from supervised import ALLOW_BIND, compiled_c, deny_port, free_port, policy, run

pytestmark = pytest.mark.linux_only

EPERM, ENOSYS = 1, 38
AF_UNIX = 1
MPTCP = 262
REJECT = 'SEC("cgroup/{0}4") int {0}(bpf_sock_addr_t *ctx) {{ return BPF_SOCK_ADDR_VERDICT_REJECT; }}'

#: One thread calls, the other puts two sockets in turn behind the descriptor that it calls with: usage: harmless
#: (family, type), denied (type, protocol), which call, port. Prints what came of it: the bypass, or "denied".
SWAP = """
    #define _GNU_SOURCE
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <sys/un.h>
    #include <unistd.h>
    static volatile int done;
    static int victim, harmless, denied;
    static void *swap(void *unused) {
        while (!done) {
            dup2(harmless, victim);
            for (volatile int i = 0; i < 2000; i++) {}
            dup2(denied, victim);
            for (volatile int i = 0; i < 2000; i++) {}
        }
        return unused;
    }
    int main(int argc, char **argv) {
        int number[7];
        for (int i = 1; i < 7; i++) number[i] = i < argc && i != 5 ? atoi(argv[i]) : 0;
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(number[6])}, any = address;
        address.sin_addr.s_addr = any.sin_addr.s_addr = htonl(0x7f000001);
        any.sin_port = 0;
        socklen_t length = sizeof address;
        const char *call = argv[5];
        char got[8];
        int receiver = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), client = -1;
        harmless = socket(number[1], number[2], 0);
        denied = socket(AF_INET, number[3], number[4]);
        if (denied < 0) { puts("no such protocol"); return 0; }
        if (!strncmp(call, "send", 4) && bind(receiver, (void *)&address, sizeof address)) return 2;
        if (!strcmp(call, "accept")) {
            struct sockaddr_un name = {.sun_family = AF_UNIX};
            if (bind(harmless, (void *)&name, 2) || bind(denied, (void *)&any, sizeof any)) return 3;
            if (listen(harmless, 9) || listen(denied, 9)) return 4;
            if (fcntl(harmless, F_SETFL, O_NONBLOCK) || fcntl(denied, F_SETFL, O_NONBLOCK)) return 7;
            getsockname(denied, (void *)&address, &length);
            client = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(client, (void *)&address, sizeof address)) return 5;
        }
        if (!strcmp(call, "listen") && bind(denied, (void *)&any, sizeof any)) return 6;
        victim = dup(harmless);
        pthread_t thread;
        pthread_create(&thread, NULL, swap, NULL);
        int passed = 0, tries;
        for (tries = 0; tries < 2500 && !passed; tries++) {
            struct sockaddr_in local;
            struct iovec part = {"hi", 2};
            struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &part};
            message.msg_iovlen = 1;
            length = sizeof local;
            if (!strcmp(call, "bind")) passed = bind(victim, (void *)&address, sizeof address) == 0;
            else if (!strcmp(call, "connect"))
                passed = connect(victim, (void *)&address, sizeof address) == 0 || errno == ECONNREFUSED;
            else if (!strcmp(call, "sendto")) sendto(victim, "hi", 2, MSG_NOSIGNAL, (void *)&address, sizeof address);
            else if (!strcmp(call, "sendmsg")) sendmsg(victim, &message, MSG_NOSIGNAL);
            else if (!strcmp(call, "listen")) {
                int on = 0;
                length = sizeof on;
                listen(victim, 1);
                getsockopt(denied, SOL_SOCKET, SO_ACCEPTCONN, &on, &length);
                passed = on;
            } else {
                int accepted = accept(victim, (void *)&local, &length);
                passed = accepted >= 0 && local.sin_family == AF_INET;
                close(accepted);
                int more = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
                connect(more, (void *)&address, sizeof address);
                close(client);
                client = more;
            }
            if (!passed && recv(receiver, got, sizeof got, 0) > 0) passed = 1;
        }
        done = 1;
        pthread_join(thread, NULL);
        if (passed) printf("%s got through after %d calls\\n", call, tries);
        else puts("denied");
        return 0;
    }
    """
UNIX_STREAM, UNIX_DATAGRAM = (AF_UNIX, 1), (AF_UNIX, 2)
SWAPS = {
    "connect-udp": (UNIX_DATAGRAM, (2, 0), "connect"),
    "connect-tcp": (UNIX_STREAM, (1, 0), "connect"),
    "connect-mptcp": (UNIX_STREAM, (1, MPTCP), "connect"),
    "bind-udp": (UNIX_DATAGRAM, (2, 0), "bind"),
    "bind-mptcp": (UNIX_STREAM, (1, MPTCP), "bind"),
    "bind-from-netlink": ((16, 3), (2, 0), "bind"),
    "sendto-from-tcp": ((2, 1), (2, 0), "sendto"),
    "sendto-from-unix": (UNIX_DATAGRAM, (2, 0), "sendto"),
    "sendmsg-from-tcp": ((2, 1), (2, 0), "sendmsg"),
    "listen": (UNIX_STREAM, (1, 0), "listen"),
    "accept": (UNIX_STREAM, (1, 0), "accept"),
}


class TestSwaps:
    @pytest.mark.parametrize("swap", SWAPS)
    def test_a_descriptor_that_changes_after_the_call_began(self, swap: str, tmp_path: Path) -> None:
        """Whatever socket a thread puts in the place of the one that is called with, what is denied does not happen."""
        harmless, denied, call = SWAPS[swap]
        kind = socket.SOCK_DGRAM if denied[0] == 2 else socket.SOCK_STREAM
        port = free_port(kind)
        if call in ("listen", "accept"):
            name = call.replace("accept", "recv_accept")
            hook, path = f"{name}4", policy(tmp_path, REJECT.format(name), "windows")
        else:
            hook = f"{call.replace('sendto', 'sendmsg')}4"
            path = policy(tmp_path, deny_port(f"cgroup/{hook}", port))
        arguments = [*harmless, *denied, call, port]
        command = [compiled_c(tmp_path, SWAP, "-pthread"), *map(str, arguments)]
        done = run(f"{hook}={path}", command=command)
        if done.stdout == "no such protocol\n":
            pytest.skip("this kernel has no MPTCP")
        assert (done.returncode, done.stdout) == (0, "denied\n"), done

    def test_no_process_shares_descriptors_with_another(self, tmp_path: Path) -> None:
        """A process that would share its descriptors is not made; threads, forks and programs are."""
        source = """
            #define _GNU_SOURCE
            #include <errno.h>
            #include <pthread.h>
            #include <sched.h>
            #include <signal.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <sys/syscall.h>
            #include <sys/wait.h>
            #include <unistd.h>
            static char stack[1 << 16];
            static int child(void *unused) { return unused != NULL; }
            static void *thread(void *unused) { return unused; }
            int main(void) {
                char arguments[64] = {0};
                int shared = clone(child, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL) < 0 ? errno : 0;
                int third = syscall(435, arguments, sizeof arguments) < 0 ? errno : 0;
                int alone = clone(child, stack + sizeof stack, SIGCHLD, NULL) < 0 ? errno : 0;
                pthread_t made;
                int threads = pthread_create(&made, NULL, thread, NULL);
                printf("%d %d %d %d %d\\n", shared, third, alone, threads, system("true"));
                return 0;
            }
            """
        done = run(f"bind4={policy(tmp_path, ALLOW_BIND)}", command=[compiled_c(tmp_path, source, "-pthread")])
        assert done.stdout == f"{EPERM} {ENOSYS} 0 0 0\n", done
