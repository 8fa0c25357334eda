/* netinet/in.h: Internet addresses and protocol numbers, by the C library's name. */
#include <linux/in.h>
#include <linux/in6.h>
#include <sys/socket.h>
