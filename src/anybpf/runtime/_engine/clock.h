/* clock.h: the clocks of bpf_ktime_*, in nanoseconds, under one set of names for every operating system. */
#ifndef ANYBPF_CLOCK_H
#define ANYBPF_CLOCK_H

#include <stdint.h>

uint64_t ab_clock_monotonic(void); /* since boot, not counting sleep where the system can tell */
uint64_t ab_clock_boot(void);      /* since boot, counting sleep */
uint64_t ab_clock_coarse(void);    /* monotonic, cheaper, as of the last timer tick */
uint64_t ab_clock_realtime(void);  /* since 1970, UTC */
uint64_t ab_clock_tai(void);       /* since 1970, international atomic time; UTC where the system knows no leap seconds */

#endif
