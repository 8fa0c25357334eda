/* wake_linux.c: one descriptor, an eventfd, is both ends. */
#ifdef __linux__
#include <errno.h>
#include <sys/eventfd.h>

#include "wake.h"

int ab_wake_open(intptr_t handles[2]) {
    handles[0] = handles[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return handles[0] < 0 ? -errno : 0;
}
#else
typedef int ab_wake_linux_is_empty; /* ISO C wants a declaration in every file */
#endif
