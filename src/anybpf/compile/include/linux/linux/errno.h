/* linux/errno.h: error numbers that helpers return, negated. */
#ifndef ANYBPF_LINUX_ERRNO_H
#define ANYBPF_LINUX_ERRNO_H

#define EPERM 1
#define ENOENT 2
#define E2BIG 7
#define EBADF 9
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define EINVAL 22
#define ENOSPC 28
#define ERANGE 34
#define EOVERFLOW 75
#define EMSGSIZE 90
#define EPROTONOSUPPORT 93
#define EOPNOTSUPP 95

#endif
