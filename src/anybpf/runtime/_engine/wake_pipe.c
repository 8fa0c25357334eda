/* wake_pipe.c: a pipe, where there is no eventfd. */
#if !defined(_WIN32) && !defined(__linux__)
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "wake.h"

int ab_wake_open(intptr_t handles[2]) {
    int ends[2];
    if (pipe(ends) < 0) return -errno;
    for (int end = 0; end < 2; end++) {
        if (fcntl(ends[end], F_SETFL, O_NONBLOCK) < 0 || fcntl(ends[end], F_SETFD, FD_CLOEXEC) < 0) {
            int error = -errno;
            close(ends[0]);
            close(ends[1]);
            return error;
        }
        handles[end] = ends[end];
    }
    return 0;
}
#else
typedef int ab_wake_pipe_is_empty; /* ISO C wants a declaration in every file */
#endif
