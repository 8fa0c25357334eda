/* supervise_linux.c: start a program whose system calls are held up by a seccomp filter, and guard who answers them.
 *
 * The child has this process's memory and perhaps the locks of other threads: until it executes the program it calls nothing but the
 * kernel. It cannot send the listener over a socket, since its filter may hold up sendmsg: the parent takes it. */
#if defined(__linux__)
#define _GNU_SOURCE /* pipe2, environ */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_seccomp.h"

/* From linux/seccomp.h, linux/filter.h, linux/landlock.h and linux/capability.h, which may be older than the kernel. */
struct program { uint16_t length; const void *instructions; };
struct ruleset { uint64_t files, network; };
struct capability_header { uint32_t version; int32_t process; };
struct capability_words { uint32_t effective, permitted, inheritable; };
#define SET_FILTER 1u
#define FLAG_SPECULATE 4u /* SECCOMP_FILTER_FLAG_SPEC_ALLOW: mitigations would slow down all that the program does */
#define FLAG_LISTENER 8u
#define LISTENER_SET_FLAGS _IOW('!', 4, uint64_t)
#define LISTENER_SAME_CPU 1u /* who waits for an answer leaves its processor to who gives it (Linux 6.6) */
#define CAPABILITY_VERSION 0x20080522u
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

struct report { int32_t step, value; }; /* child to parent: the listener's number there, or a negative error */

static int result(long value) { return value < 0 ? -errno : (int)value; }

static int report(int to, int32_t step, int32_t value) {
    struct report said = {step, value};
    return write(to, &said, sizeof said) == (ssize_t)sizeof said ? value : -EPIPE;
}

/* Python's handlers must not run here, and it ignores two signals that programs expect to be killed by. */
static void default_signals(void) {
    for (int number = 1; number < 65; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0) continue;
        if (action.sa_handler == SIG_DFL || (action.sa_handler == SIG_IGN && number != SIGPIPE && number != SIGXFSZ)) continue;
        action.sa_handler = SIG_DFL;
        action.sa_flags = 0;
        sigaction(number, &action, NULL);
    }
}

static void child(int parent, const struct program *filter, int ruleset, const char *path, char *const *arguments,
                  char *const *environment, const sigset_t *mask) {
    default_signals();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        || (ruleset >= 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)) {
        report(parent, AB_SECCOMP_LANDLOCK, -errno);
        return;
    }
    int listener = result(syscall(SYS_seccomp, SET_FILTER, FLAG_LISTENER | FLAG_SPECULATE, filter));
    if (report(parent, AB_SECCOMP_FILTER, listener) < 0) return;
    char taken;
    if (read(parent, &taken, 1) != 1) return; /* the parent is gone or could not take it */
    sigprocmask(SIG_SETMASK, mask, NULL);
    execve(path, arguments, environment);
    report(parent, AB_SECCOMP_EXECUTE, -errno);
}

/* Follows the child until it has become the program. */
static int follow(int from, ab_seccomp_child *started) {
    struct report said = {AB_SECCOMP_FORK, -EPIPE};
    ssize_t size = read(from, &said, sizeof said);
    started->step = said.step;
    if (size != (ssize_t)sizeof said || said.value < 0) return said.value < 0 ? said.value : -EPIPE;
    started->step = AB_SECCOMP_LISTENER;
    int handle = result(syscall(SYS_pidfd_open, started->process, 0));
    if (handle < 0) return handle;
    started->listener = result(syscall(SYS_pidfd_getfd, handle, said.value, 0));
    close(handle);
    if (started->listener < 0) return started->listener;
    ioctl(started->listener, LISTENER_SET_FLAGS, (unsigned long)LISTENER_SAME_CPU); /* for speed only */
    started->step = AB_SECCOMP_EXECUTE;
    if (write(from, "", 1) != 1) return -errno;
    size = read(from, &said, sizeof said);
    return size == 0 ? 0 : size < 0 ? -errno : said.value; /* executing the program closes the child's end */
}

int ab_seccomp_start(const uint8_t *filter, uint32_t instructions, int ruleset, const char *path, char *const *arguments,
                     char *const *environment, ab_seccomp_child *started) {
    struct program program = {(uint16_t)instructions, filter};
    int ends[2];
    sigset_t all, mask;
    started->process = started->listener = -1;
    started->step = AB_SECCOMP_FORK;
    if (instructions == 0 || instructions > UINT16_MAX) return -EINVAL;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    pid_t process = fork();
    if (process == 0) {
        close(ends[0]);
        child(ends[1], &program, ruleset, path, arguments, environment, &mask);
        _exit(127);
    }
    int error = process < 0 ? -errno : 0;
    close(ends[1]);
    started->process = process;
    if (process >= 0) {
        error = follow(ends[0], started);
        if (error != 0) {
            kill(process, SIGKILL);
            waitpid(process, NULL, 0);
            if (started->listener >= 0) close(started->listener);
            started->process = started->listener = -1;
        }
    }
    close(ends[0]);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return error;
}

int ab_landlock_ruleset(uint64_t network) {
    struct ruleset handled = {0, network};
    return result(syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0));
}

int ab_supervisor_adopt(void) { return result(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)); }

int ab_supervisor_protect(uint64_t effective, uint64_t others) {
    struct capability_header header = {CAPABILITY_VERSION, 0};
    struct capability_words words[2];
    memset(words, 0, sizeof words);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || syscall(SYS_capget, &header, words) != 0) return -errno;
    for (int word = 0; word < 2; word++) {
        words[word].effective &= (uint32_t)(effective >> (32 * word));
        words[word].permitted &= (uint32_t)((effective | others) >> (32 * word));
        words[word].inheritable = 0;
    }
    return result(syscall(SYS_capset, &header, words));
}
#else
#include "api_seccomp.h"
#include "engine.h"

int ab_seccomp_start(const uint8_t *filter, uint32_t instructions, int ruleset, const char *path, char *const *arguments,
                     char *const *environment, ab_seccomp_child *started) {
    (void)filter, (void)instructions, (void)ruleset, (void)path, (void)arguments, (void)environment, (void)started;
    return -AB_EOPNOTSUPP;
}
int ab_landlock_ruleset(uint64_t network) { return (void)network, -AB_EOPNOTSUPP; }
int ab_supervisor_adopt(void) { return -AB_EOPNOTSUPP; }
int ab_supervisor_protect(uint64_t effective, uint64_t others) { return (void)effective, (void)others, -AB_EOPNOTSUPP; }
#endif
