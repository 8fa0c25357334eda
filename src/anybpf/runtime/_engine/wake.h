/* wake.h: rousing threads that sleep until something happens elsewhere: an eventfd on Linux, a pipe on other POSIX systems, an event
 * on Windows. The signal stays until it is cleared, so nobody who goes to sleep after it sleeps on. */
#ifndef ANYBPF_WAKE_H
#define ANYBPF_WAKE_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct ab_wake {
    intptr_t handles[2];    /* descriptors to read and to write (the same one for an eventfd); Windows: the event */
    _Atomic uint32_t armed; /* somebody sleeps or is about to: whoever resets this signals */
} ab_wake;

/* 0 or a negative error. */
int ab_wake_init(ab_wake *wake);
void ab_wake_deinit(ab_wake *wake);
void ab_wake_signal(ab_wake *wake);
void ab_wake_clear(ab_wake *wake);
/* Sleeps until the signal, for so many milliseconds (negative: for ever), or until the thread gets a POSIX signal: 1, signalled. */
int ab_wake_sleep(const ab_wake *wake, int32_t milliseconds);
/* Readable while signalled, for poll and its kin; -1 where descriptors cannot be polled. */
int ab_wake_descriptor(const ab_wake *wake);

/* For the systems' own files: descriptors that do not block and are closed on exec. */
int ab_wake_open(intptr_t handles[2]);

#endif
