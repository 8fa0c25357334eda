/* sys/types.h: fixed-width types, by the C library's name. */
#include <linux/types.h>
#include <stddef.h>
