/* wake_posix.c: signals are 8 bytes in an eventfd or a pipe, which poll sees; see wake.h. */
#ifndef _WIN32
#include <poll.h>
#include <unistd.h>

#include "wake.h"

int ab_wake_init(ab_wake *wake) {
    atomic_init(&wake->armed, 0);
    return ab_wake_open(wake->handles);
}

void ab_wake_deinit(ab_wake *wake) {
    close((int)wake->handles[0]);
    if (wake->handles[1] != wake->handles[0]) close((int)wake->handles[1]);
}

void ab_wake_signal(ab_wake *wake) {
    uint64_t one = 1;
    ssize_t written = write((int)wake->handles[1], &one, sizeof one);
    (void)written; /* when there is no room for more, the signal stands already */
}

void ab_wake_clear(ab_wake *wake) {
    uint64_t signals[8];
    while (read((int)wake->handles[0], signals, sizeof signals) == (ssize_t)sizeof signals) continue;
}

int ab_wake_sleep(const ab_wake *wake, int32_t milliseconds) {
    struct pollfd signal = {(int)wake->handles[0], POLLIN, 0};
    return poll(&signal, 1, milliseconds) > 0;
}

int ab_wake_descriptor(const ab_wake *wake) { return (int)wake->handles[0]; }
#else
typedef int ab_wake_posix_is_empty; /* ISO C wants a declaration in every file */
#endif
