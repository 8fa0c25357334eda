/* bpf_endian.h: between the network's byte order and the machine's, for constants and variables alike. */
#ifndef ANYBPF_WINDOWS_BPF_ENDIAN_H
#define ANYBPF_WINDOWS_BPF_ENDIAN_H

#include <stdint.h>

#define bpf_htons(x) ((uint16_t)__builtin_bswap16((uint16_t)(x)))
#define bpf_htonl(x) ((uint32_t)__builtin_bswap32((uint32_t)(x)))
#define bpf_cpu_to_be64(x) ((uint64_t)__builtin_bswap64((uint64_t)(x)))
#define bpf_ntohs(x) bpf_htons(x)
#define bpf_ntohl(x) bpf_htonl(x)
#define bpf_be64_to_cpu(x) bpf_cpu_to_be64(x)

#define htons(x) bpf_htons(x)
#define ntohs(x) bpf_ntohs(x)
#define htonl(x) bpf_htonl(x)
#define ntohl(x) bpf_ntohl(x)

#endif
