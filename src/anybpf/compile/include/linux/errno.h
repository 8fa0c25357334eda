/* errno.h: error numbers, by the C library's name. */
#include <linux/errno.h>
