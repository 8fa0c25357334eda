/* What Python may call of seccomp_linux.c and supervise_linux.c. Plain declarations only: the build hands this file to cffi.
 * Errors are negative Linux error numbers; elsewhere than on Linux always -EOPNOTSUPP. */
#ifndef ANYBPF_API_SECCOMP_H
#define ANYBPF_API_SECCOMP_H
#include <stdint.h>

/* Which arguments of a system call are a socket's descriptor, and an address with its length; -1: it has none. */
typedef struct ab_seccomp_shape {
    int32_t number;
    int32_t socket;
    int32_t address;
    int32_t length;
} ab_seccomp_shape;

/* A system call that its thread waits in until it is answered. All of it was read once: the caller may change its memory and its
 * descriptors meanwhile, and what is here stays. */
typedef struct ab_seccomp_call {
    uint64_t id;               /* what it is answered by */
    uint64_t arguments[6];
    int32_t number;
    int32_t thread;
    int32_t process;           /* 0: this kernel does not say, nor the two that follow */
    uint32_t user;
    uint32_t group;
    int32_t socket;            /* our own descriptor of the caller's socket, to be closed by us; or a negative error */
    int32_t family;            /* of the socket, as are the next four */
    int32_t type;
    int32_t protocol;
    int32_t waits;             /* 1: O_NONBLOCK is not set */
    int32_t alone;             /* 1: nobody but the thread, which waits, can change what its descriptors stand for; 0: not known */
    uint64_t cookie;           /* a number that no other socket has or will have */
    int32_t address_length;    /* bytes of `address`; or a negative error */
    uint32_t name_length;
    uint32_t executable_length;
    uint8_t address[128];      /* a socket address */
    uint8_t name[16];          /* of the thread */
    uint8_t executable[4096];  /* path of the program that it runs */
} ab_seccomp_call;

enum ab_seccomp_step { AB_SECCOMP_FORK, AB_SECCOMP_LANDLOCK, AB_SECCOMP_FILTER, AB_SECCOMP_LISTENER, AB_SECCOMP_EXECUTE };

typedef struct ab_seccomp_child {
    int32_t process;
    int32_t listener;          /* where its calls, and its children's, are received */
    int32_t step;              /* which step failed: AB_SECCOMP_* */
} ab_seccomp_child;

/* Starts the program at `path` under a seccomp filter of classic BPF instructions (8 bytes each) and a Landlock ruleset (-1: none); NULL
 * ends its arguments and environment. After an error there is no child. */
int ab_seccomp_start(const uint8_t *filter, uint32_t instructions, int ruleset, const char *path, char *const *arguments,
                     char *const *environment, ab_seccomp_child *child);
int ab_landlock_ruleset(uint64_t network); /* a descriptor: these accesses (LANDLOCK_ACCESS_NET_*) are denied */
int ab_supervisor_adopt(void); /* descendants whose parents end become children of this process */
/* Other processes may not look into this one; it keeps at most these capabilities, and can make these others effective again. */
int ab_supervisor_protect(uint64_t effective, uint64_t others);

/* Receives calls at a listener, and keeps what it has open of the threads that made the last ones. Used by one thread at a time. */
typedef struct ab_seccomp_receiver ab_seccomp_receiver;
/* executables: whether callers' programs are wanted; else executable_length is 0. NULL: no memory. */
ab_seccomp_receiver *ab_seccomp_receiver_create(int listener, const ab_seccomp_shape *shapes, uint32_t count, int executables);
void ab_seccomp_receiver_destroy(ab_seccomp_receiver *receiver);
int ab_seccomp_receive(ab_seccomp_receiver *receiver, ab_seccomp_call *call);
int ab_seccomp_open(int thread); /* a handle of the thread, or where there are none of threads, of its process: a pidfd */
int ab_seccomp_waits(int listener, uint64_t id);  /* 0: the thread still waits; -ENOENT: it was interrupted, or is gone */
int ab_seccomp_answer(int listener, uint64_t id, int64_t value); /* the call returns `value`, or fails with a negative error */
int ab_seccomp_proceed(int listener, uint64_t id); /* the kernel carries out what the caller's registers and memory say then */
int ab_seccomp_give(int listener, uint64_t id, int descriptor, int close_on_exec); /* the call returns this, opened there too */
/* The memory of a thread that waits in call `id`; bytes copied, fewer before memory that it does not have; -ENOENT: see above. */
int64_t ab_seccomp_read(int listener, uint64_t id, int thread, uint64_t address, uint8_t *to, uint64_t size);
int64_t ab_seccomp_write(int listener, uint64_t id, int thread, uint64_t address, const uint8_t *from, uint64_t size);
#endif
