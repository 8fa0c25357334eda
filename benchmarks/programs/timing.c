/* timing.c: calls a function many times and says how long that took, for gcc's code and for ours alike. */
#include <stdint.h>
#include <time.h>

uint64_t time_calls(uint64_t (*function)(uint64_t, uint64_t, void *), uint64_t memory, uint64_t length, uint64_t repeat,
                    uint64_t *result) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t i = 0; i < repeat; i++) *result = function(memory, length, 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000u + (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
}
