/* What Python may call of trace.c. Plain declarations only: the build hands this file to cffi. */
#ifndef ANYBPF_API_TRACE_H
#define ANYBPF_API_TRACE_H
#include "engine.h"

enum { AB_TRACE_TEXT_MAX = 1024, AB_TRACE_COMM_SIZE = 16 };

typedef struct ab_trace ab_trace;

/* A line that a program printed. `text` ends with a NUL and has no newline at its end. */
typedef struct ab_trace_line {
    uint64_t time_ns;  /* bpf_ktime_get_boot_ns */
    uint64_t lost;     /* lines overwritten since the line before this one */
    uint32_t thread;   /* id of the thread that ran the program */
    uint32_t cpu;      /* cpu slot */
    char comm[16];
    char text[1024];
} ab_trace_line;

ab_trace *ab_engine_trace(ab_engine *engine);
/* Takes the oldest lines, at most `capacity`, out of the pipe; returns how many there were. Never waits. */
uint32_t ab_trace_read(ab_trace *trace, ab_trace_line *lines, uint32_t capacity);
/* Writes a line as a program does that runs on this slot. */
void ab_trace_write(ab_slot *slot, const char *text, uint32_t length);

#endif
