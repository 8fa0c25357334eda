/* clock_windows.c: clocks of Windows. The performance counter counts sleep, so monotonic and boot time are one. */
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include "clock.h"

#include <windows.h>

#define NANOSECONDS 1000000000u
#define UNIX_EPOCH 116444736000000000u /* 1970, in the 100 ns units since 1601 of a FILETIME */

uint64_t ab_clock_boot(void) {
    LARGE_INTEGER count, frequency;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&count);
    uint64_t seconds = (uint64_t)(count.QuadPart / frequency.QuadPart);
    uint64_t rest = (uint64_t)(count.QuadPart % frequency.QuadPart);
    return seconds * NANOSECONDS + rest * NANOSECONDS / (uint64_t)frequency.QuadPart;
}

uint64_t ab_clock_monotonic(void) { return ab_clock_boot(); }

uint64_t ab_clock_coarse(void) { return GetTickCount64() * 1000000u; }

uint64_t ab_clock_realtime(void) {
    FILETIME time;
    GetSystemTimePreciseAsFileTime(&time);
    uint64_t ticks = (uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime;
    return (ticks - UNIX_EPOCH) * 100u;
}

uint64_t ab_clock_tai(void) { return ab_clock_realtime(); }
#else
typedef int ab_clock_windows_is_empty; /* ISO C wants a declaration in every file */
#endif
