/* linux/types.h: fixed-width types, as Linux names them. BPF is a 64-bit, little-endian machine here. */
#ifndef ANYBPF_LINUX_TYPES_H
#define ANYBPF_LINUX_TYPES_H

#ifndef __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

typedef __u16 __le16;
typedef __u16 __be16;
typedef __u32 __le32;
typedef __u32 __be32;
typedef __u64 __le64;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;

#define __aligned_u64 __u64 __attribute__((aligned(8)))
#define __aligned_be64 __be64 __attribute__((aligned(8)))

#endif /* a vmlinux.h made from a kernel's BTF has them all */
#endif
