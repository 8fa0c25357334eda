/* process_posix.c: what Linux, macOS and the BSDs have in common of the process. */
#ifndef _WIN32
#ifdef __APPLE__
#define _DARWIN_C_SOURCE /* getentropy */
#else
#define _GNU_SOURCE /* getentropy */
#endif
#include "process.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

#include "engine.h"

uint32_t ab_process_id(void) { return (uint32_t)getpid(); }

uint64_t ab_process_uid_gid(void) { return (uint64_t)getgid() << 32 | (uint32_t)getuid(); }

void ab_thread_name(char name[AB_COMM_SIZE]) {
    char full[64] = "";
    memset(name, 0, AB_COMM_SIZE);
    if (pthread_getname_np(pthread_self(), full, sizeof full) == 0) memcpy(name, full, AB_COMM_SIZE - 1);
}

uint64_t ab_process_logon_id(void) { return 0; }

int32_t ab_process_is_admin(void) { return geteuid() == 0; }

int32_t ab_user_is_admin(uint32_t uid) { return uid == 0; }

int ab_random_bytes(void *out, size_t size) { return getentropy(out, size) == 0 ? 0 : -AB_EFAULT; }
#else
typedef int ab_process_posix_is_empty; /* ISO C wants a declaration in every file */
#endif
