/* process_macos.c: what only macOS tells of threads and processes. */
#ifdef __APPLE__
#define _DARWIN_C_SOURCE
#include <libproc.h>
#include <pthread.h>
#include <unistd.h>

#include "process.h"

#define TICKS_1601_TO_1970 116444736000000000u

uint32_t ab_thread_id(void) {
    uint64_t id = 0;
    pthread_threadid_np(NULL, &id);
    return (uint32_t)id;
}

uint32_t ab_numa_node(void) { return 0; }

/* Microseconds since 1970 at which the process started. */
uint64_t ab_process_start_key(void) {
    struct proc_bsdinfo info;
    if (proc_pidinfo(getpid(), PROC_PIDTBSDINFO, 0, &info, sizeof info) != (int)sizeof info) return 0;
    return info.pbi_start_tvsec * 1000000u + info.pbi_start_tvusec;
}

/* The system does not say when a thread began, so this is when its process did. */
uint64_t ab_thread_create_time(void) { return TICKS_1601_TO_1970 + ab_process_start_key() * 10u; }
#else
typedef int ab_process_macos_is_empty; /* ISO C wants a declaration in every file */
#endif
