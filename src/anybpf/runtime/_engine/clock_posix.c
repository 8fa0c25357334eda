/* clock_posix.c: clocks of Linux, macOS and the BSDs. */
#ifndef _WIN32
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifdef __linux__
#define _GNU_SOURCE /* CLOCK_BOOTTIME, CLOCK_TAI and CLOCK_MONOTONIC_COARSE */
#endif
#ifdef __APPLE__
#define _DARWIN_C_SOURCE /* CLOCK_UPTIME_RAW and CLOCK_MONOTONIC_RAW */
#endif
#include "clock.h"

#include <time.h>

#if defined(__linux__)
#define MONOTONIC CLOCK_MONOTONIC
#define BOOT CLOCK_BOOTTIME
#define COARSE CLOCK_MONOTONIC_COARSE
#define TAI CLOCK_TAI
#elif defined(__APPLE__)
#define MONOTONIC CLOCK_UPTIME_RAW
#define BOOT CLOCK_MONOTONIC_RAW
#define COARSE CLOCK_UPTIME_RAW_APPROX
#define TAI CLOCK_REALTIME
#else
#define MONOTONIC CLOCK_MONOTONIC
#define BOOT CLOCK_MONOTONIC
#define COARSE CLOCK_MONOTONIC
#define TAI CLOCK_REALTIME
#endif

static uint64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t ab_clock_monotonic(void) { return now(MONOTONIC); }
uint64_t ab_clock_boot(void) { return now(BOOT); }
uint64_t ab_clock_coarse(void) { return now(COARSE); }
uint64_t ab_clock_realtime(void) { return now(CLOCK_REALTIME); }
uint64_t ab_clock_tai(void) { return now(TAI); }
#else
typedef int ab_clock_posix_is_empty; /* ISO C wants a declaration in every file */
#endif
