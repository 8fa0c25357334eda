/* linux/stddef.h: nothing but the hint that headers of the kernel use. */
#ifndef ANYBPF_LINUX_STDDEF_H
#define ANYBPF_LINUX_STDDEF_H

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#endif
