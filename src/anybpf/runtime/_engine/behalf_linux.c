/* behalf_linux.c: calls made in another process's place: with its user, groups, capabilities, directory and umask.
 *
 * To the kernel these belong to a thread. So a thread is made for the call, which changes its own by system calls (the C library's
 * functions change those of all threads) and need give nothing back. Its saved user stays ours, lest the other process have a say in
 * what becomes of us. */
#if defined(__linux__)
#define _GNU_SOURCE /* unshare */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api_behalf.h"
#include "api_foreign_socket.h"
#include "api_seccomp.h"

/* From linux/capability.h. */
struct capability_header { uint32_t version; int32_t process; };
struct capability_words { uint32_t effective, permitted, inheritable; };
#define CAPABILITY_VERSION 0x20080522u
#define CHANGE_IDENTITY (1u << 6 | 1u << 7) /* CAP_SETGID, CAP_SETUID */
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

struct work { const ab_behalf *who; const ab_behalf_call *call; int64_t result; };

static int result(long value) { return value < 0 ? -errno : (int)value; }

/* Makes effective what is permitted of `wanted`. */
static int capabilities(uint64_t wanted) {
    struct capability_header header = {CAPABILITY_VERSION, 0};
    struct capability_words words[2];
    if (syscall(SYS_capget, &header, words) != 0) return -errno;
    for (int word = 0; word < 2; word++) words[word].effective = words[word].permitted & (uint32_t)(wanted >> (32 * word));
    return result(syscall(SYS_capset, &header, words));
}

static int become(const ab_behalf *who) {
    const uint32_t same = UINT32_MAX;
    int error = result(unshare(CLONE_FS));
    if (error == 0 && who->change) {
        error = capabilities(CHANGE_IDENTITY);
        if (error == 0) error = result(syscall(SYS_setgroups, (int)who->group_count, who->groups));
        if (error == 0) error = result(syscall(SYS_setresgid, who->group, who->effective_group, same));
        if (error == 0) error = result(syscall(SYS_setresuid, who->user, who->effective_user, same));
    }
    if (error == 0) error = capabilities(who->capabilities);
    if (error == 0 && who->directory >= 0) error = result(fchdir(who->directory));
    umask((mode_t)who->mask);
    return error;
}

static int64_t make(const ab_behalf_call *call) {
    switch (call->operation) {
    case AB_BEHALF_BIND: return ab_socket_bind(call->socket, call->address, call->length);
    case AB_BEHALF_CONNECT: return ab_socket_connect(call->socket, call->address, call->length, call->number);
    case AB_BEHALF_LISTEN: return ab_socket_listen(call->socket, call->number);
    default:
        return ab_socket_send(call->socket, call->data, call->size, call->control, call->control_size, call->address, call->length,
                              call->number);
    }
}

static void *run(void *given) {
    struct work *work = given;
    work->result = become(work->who);
    if (work->result == 0) work->result = make(work->call);
    return NULL;
}

int64_t ab_behalf_make(const ab_behalf *who, const ab_behalf_call *call) {
    struct work work = {who, call, 0};
    pthread_t thread;
    sigset_t all, before;
    if (who->group_count > sizeof who->groups / sizeof *who->groups) return -EPERM;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread must not be interrupted; it inherits this */
    int error = pthread_create(&thread, NULL, run, &work);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) return -error;
    pthread_join(thread, NULL);
    return work.result;
}

int ab_behalf_fetch(int listener, uint64_t id, int thread, int descriptor) {
    int handle = ab_seccomp_open(thread);
    if (handle < 0) return handle;
    int fetched = ab_seccomp_waits(listener, id); /* now it is known whose handle that is */
    if (fetched == 0) fetched = result(syscall(SYS_pidfd_getfd, handle, descriptor, 0));
    close(handle);
    return fetched;
}
#else
#include "api_behalf.h"
#include "engine.h"

int64_t ab_behalf_make(const ab_behalf *who, const ab_behalf_call *call) { return (void)who, (void)call, -AB_EOPNOTSUPP; }
int ab_behalf_fetch(int listener, uint64_t id, int thread, int descriptor) {
    return (void)listener, (void)id, (void)thread, (void)descriptor, -AB_EOPNOTSUPP;
}
#endif
