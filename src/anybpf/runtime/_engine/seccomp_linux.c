/* seccomp_linux.c: receive system calls that a seccomp filter holds up, and answer them.
 *
 * One call of ab_seccomp_receive collects all that a decision needs. It is checked that the thread still waits after its process was
 * opened by number, so that nothing is read from another process that got the number later. */
#if defined(__linux__)
#define _GNU_SOURCE /* process_vm_readv */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "api_seccomp.h"

/* From the kernel's interface (linux/seccomp.h, linux/pidfd.h); defined here, since the headers of the system may be older. */
struct data { int32_t number; uint32_t arch; uint64_t instruction, arguments[6]; };
struct notification { uint64_t id; uint32_t pid, flags; struct data data; };
struct response { uint64_t id; int64_t value; int32_t error; uint32_t flags; };
struct give { uint64_t id; uint32_t flags, source, target, target_flags; };
struct process_info { uint64_t mask, cgroup; uint32_t pid, process, parent, user, group, more[8]; };
#define NOTIFICATION_RECEIVE _IOWR('!', 0, struct notification)
#define NOTIFICATION_SEND _IOWR('!', 1, struct response)
#define NOTIFICATION_VALID _IOW('!', 2, uint64_t)
#define NOTIFICATION_GIVE _IOW('!', 3, struct give)
#define PROCESS_INFO _IOWR(0xFF, 11, struct process_info)
#define FLAG_CONTINUE 1u
#define FLAG_SEND 2u
#define THREAD_TOO O_EXCL /* PIDFD_THREAD, Linux 6.9 */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

#define CALLERS 64u
#define SHAPES 16u

struct caller { int thread, handle, name, threads, executable; }; /* thread 0: nothing is open */
struct ab_seccomp_receiver {
    int listener, executables;
    uint32_t count;
    ab_seccomp_shape shapes[SHAPES];
    struct caller callers[CALLERS]; /* by thread, the lowest bits of its number */
};

static int result(long value) { return value < 0 ? -errno : (int)value; }

static int open_in(int thread, const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", thread, name);
    return open(path, flags | O_CLOEXEC);
}

int ab_seccomp_waits(int listener, uint64_t id) { return result(ioctl(listener, NOTIFICATION_VALID, &id)); }

static int64_t copy_from(int thread, uint64_t address, uint8_t *to, uint64_t size) {
    struct iovec local = {to, (size_t)size}, remote = {(void *)(uintptr_t)address, (size_t)size};
    ssize_t copied = process_vm_readv(thread, &local, 1, &remote, 1, 0);
    return copied < 0 ? -errno : copied;
}

int64_t ab_seccomp_read(int listener, uint64_t id, int thread, uint64_t address, uint8_t *to, uint64_t size) {
    int64_t copied = copy_from(thread, address, to, size);
    int waiting = ab_seccomp_waits(listener, id); /* afterwards: now it is known whose memory that was */
    return waiting != 0 ? waiting : copied;
}

int64_t ab_seccomp_write(int listener, uint64_t id, int thread, uint64_t address, const uint8_t *from, uint64_t size) {
    int memory = open_in(thread, "mem", O_RDWR);
    if (memory < 0) return -errno;
    int64_t copied = ab_seccomp_waits(listener, id); /* before: what was opened stays this memory */
    if (copied == 0) copied = pwrite(memory, from, (size_t)size, (off_t)address);
    if (copied < 0) copied = errno == EIO ? -EFAULT : -errno;
    close(memory);
    return copied;
}

static void read_address(const ab_seccomp_shape *shape, ab_seccomp_call *call) {
    if (shape->address < 0) return;
    /* The kernel takes the length for an int and refuses what no socket address can have. */
    int32_t length = (int32_t)call->arguments[shape->length];
    uint64_t address = call->arguments[shape->address];
    if (length < 0 || (size_t)length > sizeof call->address) {
        call->address_length = -EINVAL;
    } else if (length > 0) {
        int64_t copied = copy_from(call->thread, address, call->address, (uint64_t)length);
        call->address_length = copied == length ? length : copied == -EPERM ? -EPERM : -EFAULT;
    }
}

static void forget(struct caller *caller) {
    if (caller->thread == 0) return;
    close(caller->handle);
    if (caller->name >= 0) close(caller->name);
    if (caller->threads >= 0) close(caller->threads);
    if (caller->executable >= 0) close(caller->executable);
    caller->thread = 0;
}

/* Fills in who the caller is; 0, or -ESRCH when the handle's thread is gone, or -ENOTTY where the kernel does not tell. */
static int identify(const struct caller *caller, ab_seccomp_call *call) {
    struct process_info info;
    memset(&info, 0, sizeof info);
    if (ioctl(caller->handle, PROCESS_INFO, &info) != 0) return -errno;
    call->process = (int32_t)info.process;
    call->user = info.user;
    call->group = info.group;
    return 0;
}

static int process_of(int thread) {
    char text[1024]; /* more than the lines that come before */
    int file = open_in(thread, "status", O_RDONLY);
    ssize_t size = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    text[size < 0 ? 0 : size] = 0;
    const char *line = strstr(text, "\nTgid:"); /* the kernel escapes line ends in the name, which comes first */
    return line == NULL ? -ESRCH : (int)strtol(line + sizeof "\nTgid:" - 1, NULL, 10);
}

int ab_seccomp_open(int thread) {
    int handle = result(syscall(SYS_pidfd_open, thread, THREAD_TOO));
    if (handle != -EINVAL) return handle; /* else this kernel opens whole processes only, by their first thread */
    int process = process_of(thread);
    return process < 0 ? process : result(syscall(SYS_pidfd_open, process, 0));
}

/* What is open of the thread: a number may have passed to another one, but a handle never does. */
static struct caller *caller_of(ab_seccomp_receiver *receiver, ab_seccomp_call *call, int *error) {
    struct caller *caller = &receiver->callers[(uint32_t)call->thread % CALLERS];
    *error = 0;
    if (caller->thread == call->thread && identify(caller, call) == 0) return caller;
    forget(caller);
    int handle = ab_seccomp_open(call->thread);
    if (handle < 0) {
        *error = handle;
        return NULL;
    }
    caller->thread = call->thread;
    caller->handle = handle;
    caller->name = open_in(call->thread, "comm", O_RDONLY);
    caller->threads = open_in(call->thread, "task", O_PATH | O_DIRECTORY);
    caller->executable = receiver->executables ? open_in(call->thread, "exe", O_PATH | O_NOFOLLOW) : -1;
    identify(caller, call);
    return caller;
}

static void read_caller(const struct caller *caller, ab_seccomp_call *call) {
    ssize_t size = pread(caller->name, call->name, sizeof call->name, 0);
    while (size > 0 && call->name[size - 1] == '\n') size--;
    call->name_length = size < 0 ? 0 : (uint32_t)size;
    if (caller->executable < 0) return;
    size = readlinkat(caller->executable, "", (char *)call->executable, sizeof call->executable);
    call->executable_length = size < 0 ? 0 : (uint32_t)size;
}

/* Whether the thread is its process's only one; the filter sees to it that no other process shares its descriptors. To be asked
 * before a descriptor is looked at: afterwards another thread may have changed it and be gone. /proc has a link per thread. */
static int alone(const struct caller *caller) {
    struct stat status;
    return caller->threads >= 0 && fstat(caller->threads, &status) == 0 && status.st_nlink == 3;
}

static int option(int socket, int name, int32_t *value) {
    socklen_t size = sizeof *value;
    return getsockopt(socket, SOL_SOCKET, name, value, &size);
}

static void duplicate(const ab_seccomp_shape *shape, int handle, ab_seccomp_call *call) {
    if (shape->socket < 0) return;
    int socket = result(syscall(SYS_pidfd_getfd, handle, (int)call->arguments[shape->socket], 0));
    call->socket = socket;
    if (socket < 0) return;
    socklen_t size = sizeof call->cookie;
    int flags = fcntl(socket, F_GETFL);
    if (option(socket, SO_DOMAIN, &call->family) != 0 || option(socket, SO_TYPE, &call->type) != 0
        || option(socket, SO_PROTOCOL, &call->protocol) != 0 || flags < 0) {
        call->socket = -errno;
        close(socket);
        return;
    }
    getsockopt(socket, SOL_SOCKET, SO_COOKIE, &call->cookie, &size);
    call->waits = (flags & O_NONBLOCK) == 0;
}

static const ab_seccomp_shape *shape_of(const ab_seccomp_receiver *receiver, int32_t number) {
    static const ab_seccomp_shape plain = {-1, -1, -1, -1};
    for (uint32_t i = 0; i < receiver->count; i++)
        if (receiver->shapes[i].number == number) return &receiver->shapes[i];
    return &plain;
}

int ab_seccomp_receive(ab_seccomp_receiver *receiver, ab_seccomp_call *call) {
    union { struct notification notification; uint8_t room[512]; } received; /* later kernels may have more to say */
    memset(&received, 0, sizeof received);
    if (ioctl(receiver->listener, NOTIFICATION_RECEIVE, &received) != 0) return -errno;
    memset(call, 0, offsetof(ab_seccomp_call, executable));
    call->id = received.notification.id;
    call->number = received.notification.data.number;
    call->thread = (int32_t)received.notification.pid;
    call->socket = -EBADF;
    memcpy(call->arguments, received.notification.data.arguments, sizeof call->arguments);

    const ab_seccomp_shape *shape = shape_of(receiver, call->number);
    const struct caller *caller = caller_of(receiver, call, &call->socket);
    if (caller == NULL) return 0; /* it fails with the error that is there now, or its caller is gone */
    call->socket = -EBADF;
    read_address(shape, call);
    read_caller(caller, call);
    call->alone = alone(caller);
    int waiting = ab_seccomp_waits(receiver->listener, call->id);
    if (waiting == 0) duplicate(shape, caller->handle, call);
    return waiting;
}

ab_seccomp_receiver *ab_seccomp_receiver_create(int listener, const ab_seccomp_shape *shapes, uint32_t count, int executables) {
    if (count > SHAPES) return NULL;
    ab_seccomp_receiver *receiver = calloc(1, sizeof *receiver);
    if (receiver == NULL) return NULL;
    receiver->listener = listener;
    receiver->executables = executables;
    receiver->count = count;
    memcpy(receiver->shapes, shapes, count * sizeof *shapes);
    return receiver;
}

void ab_seccomp_receiver_destroy(ab_seccomp_receiver *receiver) {
    if (receiver == NULL) return;
    for (uint32_t i = 0; i < CALLERS; i++) forget(&receiver->callers[i]);
    free(receiver);
}

int ab_seccomp_answer(int listener, uint64_t id, int64_t value) {
    union { struct response response; uint8_t room[512]; } sent;
    memset(&sent, 0, sizeof sent);
    sent.response.id = id;
    sent.response.value = value < 0 ? 0 : value;
    sent.response.error = value < 0 ? (int32_t)value : 0;
    return result(ioctl(listener, NOTIFICATION_SEND, &sent));
}

int ab_seccomp_proceed(int listener, uint64_t id) {
    union { struct response response; uint8_t room[512]; } sent;
    memset(&sent, 0, sizeof sent);
    sent.response.id = id;
    sent.response.flags = FLAG_CONTINUE;
    return result(ioctl(listener, NOTIFICATION_SEND, &sent));
}

int ab_seccomp_give(int listener, uint64_t id, int descriptor, int close_on_exec) {
    struct give given = {.id = id, .flags = FLAG_SEND, .source = (uint32_t)descriptor,
                         .target_flags = close_on_exec ? (uint32_t)O_CLOEXEC : 0};
    return result(ioctl(listener, NOTIFICATION_GIVE, &given));
}
#else
#include "api_seccomp.h"
#include "engine.h"

int ab_seccomp_open(int thread) { return (void)thread, -AB_EOPNOTSUPP; }
int ab_seccomp_waits(int listener, uint64_t id) { return (void)listener, (void)id, -AB_EOPNOTSUPP; }
int64_t ab_seccomp_read(int listener, uint64_t id, int thread, uint64_t address, uint8_t *to, uint64_t size) {
    return (void)listener, (void)id, (void)thread, (void)address, (void)to, (void)size, -AB_EOPNOTSUPP;
}
int64_t ab_seccomp_write(int listener, uint64_t id, int thread, uint64_t address, const uint8_t *from, uint64_t size) {
    return (void)listener, (void)id, (void)thread, (void)address, (void)from, (void)size, -AB_EOPNOTSUPP;
}
ab_seccomp_receiver *ab_seccomp_receiver_create(int listener, const ab_seccomp_shape *shapes, uint32_t count, int executables) {
    return (void)listener, (void)shapes, (void)count, (void)executables, (ab_seccomp_receiver *)0;
}
void ab_seccomp_receiver_destroy(ab_seccomp_receiver *receiver) { (void)receiver; }
int ab_seccomp_receive(ab_seccomp_receiver *receiver, ab_seccomp_call *call) {
    return (void)receiver, (void)call, -AB_EOPNOTSUPP;
}
int ab_seccomp_answer(int listener, uint64_t id, int64_t value) {
    return (void)listener, (void)id, (void)value, -AB_EOPNOTSUPP;
}
int ab_seccomp_proceed(int listener, uint64_t id) { return (void)listener, (void)id, -AB_EOPNOTSUPP; }
int ab_seccomp_give(int listener, uint64_t id, int descriptor, int close_on_exec) {
    return (void)listener, (void)id, (void)descriptor, (void)close_on_exec, -AB_EOPNOTSUPP;
}
#endif
