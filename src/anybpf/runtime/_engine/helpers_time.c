/* helpers_time.c: bpf_ktime_* and jiffies. */
#include "clock.h"
#include "helpers.h"

#define NS_PER_MS 1000000u
#define JIFFIES_PER_SECOND 250u /* CONFIG_HZ of most distributions' kernels */
#define NS_PER_JIFFY (1000000000u / JIFFIES_PER_SECOND)
/* Linux starts five minutes before the low 32 bits wrap round. */
#define INITIAL_JIFFIES ((uint32_t)(0u - 300u * JIFFIES_PER_SECOND))

AB_HELPER(ktime_get_ns) { return ab_clock_monotonic(); }
AB_HELPER(ktime_get_boot_ns) { return ab_clock_boot(); }
AB_HELPER(ktime_get_coarse_ns) { return ab_clock_coarse(); }
AB_HELPER(ktime_get_tai_ns) { return ab_clock_tai(); }
AB_HELPER(ktime_get_ms) { return ab_clock_monotonic() / NS_PER_MS; }
AB_HELPER(ktime_get_boot_ms) { return ab_clock_boot() / NS_PER_MS; }
AB_HELPER(jiffies64) { return INITIAL_JIFFIES + ab_clock_coarse() / NS_PER_JIFFY; }
