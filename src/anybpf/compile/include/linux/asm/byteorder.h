/* asm/byteorder.h: the machine is little-endian. */
#ifndef ANYBPF_ASM_BYTEORDER_H
#define ANYBPF_ASM_BYTEORDER_H

#include <linux/types.h>

#define __LITTLE_ENDIAN_BITFIELD 1

#define __constant_htons(x) ((__be16)((((x)&0xff) << 8) | (((x) >> 8) & 0xff)))
#define __constant_ntohs(x) __constant_htons(x)
#define __constant_htonl(x) ((__be32)__builtin_bswap32(x))
#define __constant_ntohl(x) __constant_htonl(x)

#define __cpu_to_be16(x) ((__be16)__builtin_bswap16(x))
#define __be16_to_cpu(x) __builtin_bswap16(x)
#define __cpu_to_be32(x) ((__be32)__builtin_bswap32(x))
#define __be32_to_cpu(x) __builtin_bswap32(x)
#define __cpu_to_be64(x) ((__be64)__builtin_bswap64(x))
#define __be64_to_cpu(x) __builtin_bswap64(x)
#define __cpu_to_le16(x) ((__le16)(x))
#define __le16_to_cpu(x) ((__u16)(x))
#define __cpu_to_le32(x) ((__le32)(x))
#define __le32_to_cpu(x) ((__u32)(x))
#define __cpu_to_le64(x) ((__le64)(x))
#define __le64_to_cpu(x) ((__u64)(x))

#endif
