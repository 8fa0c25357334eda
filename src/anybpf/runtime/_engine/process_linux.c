/* process_linux.c: what only Linux tells of threads and processes. */
#ifdef __linux__
#define _GNU_SOURCE /* syscall */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"

#define FIELD_STARTTIME 22     /* of /proc/PID/stat, counted from 1: clock ticks after boot */
#define TICKS_1601_TO_1970 116444736000000000u

uint32_t ab_thread_id(void) { return (uint32_t)syscall(SYS_gettid); }

uint32_t ab_numa_node(void) {
    unsigned cpu = 0, node = 0;
    syscall(SYS_getcpu, &cpu, &node, NULL);
    return node;
}

/* Clock ticks from boot to the start of what `path` describes; 0 when it cannot be read. */
static uint64_t start_of(const char *path) {
    char text[1024];
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    /* Field 2, the name in parentheses, may hold anything; fields are plain behind its end. */
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < FIELD_STARTTIME; field++) at = strchr(at + 1, ' ');
    return at == NULL ? 0 : strtoull(at, NULL, 10);
}

uint64_t ab_process_start_key(void) { return start_of("/proc/self/stat"); }

uint64_t ab_thread_create_time(void) {
    uint64_t boot = ab_clock_realtime() - ab_clock_boot();
    uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK);
    return TICKS_1601_TO_1970 + boot / 100u + start_of("/proc/thread-self/stat") * (10000000u / per_second);
}
#else
typedef int ab_process_linux_is_empty; /* ISO C wants a declaration in every file */
#endif
