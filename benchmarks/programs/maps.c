/* maps.c: loops over map operations. The packet's first 4 bytes say how often; the loop alone is measured by `nothing`. */
#include "bpf.h"

#define ENTRIES 10000
#define MAP(name_, kind) \
    struct { \
        __uint(type, kind); \
        __uint(max_entries, ENTRIES); \
        __type(key, u32); \
        __type(value, u64); \
    } name_ SEC(".maps")
MAP(table, 1);
MAP(array, 2);
MAP(percpu, 6);

#define LOOP(name_, ...) \
    SEC("xdp") int name_(struct xdp_md *context) { \
        u8 *data = (u8 *)(u64)context->data, *end = (u8 *)(u64)context->data_end; \
        if (data + 4 > end) return 0; \
        u32 count = *(u32 *)data, key = 0; \
        u64 sum = 0; \
        _Pragma("clang loop unroll(disable)") for (u32 i = 0; i < count; i++) { \
            key += 7919; \
            if (key >= ENTRIES) key -= ENTRIES; \
            __VA_ARGS__ \
        } \
        return sum; \
    }
#define LOOK_UP(map) { u64 *value = bpf_map_lookup_elem(&map, &key); if (value) sum += *value; }

LOOP(nothing, { asm volatile("" : "+r"(sum)); sum += key; })
LOOP(hash_lookup, LOOK_UP(table))
/* The next key comes out of the value: a lookup must end before the next one begins. */
LOOP(hash_lookup_chain, { u64 *value = bpf_map_lookup_elem(&table, &key); if (value) key = *value; sum += key; })
LOOP(hash_update, { u64 value = key; sum += bpf_map_update_elem(&table, &key, &value, 0); })
LOOP(array_lookup, LOOK_UP(array))
LOOP(percpu_array_lookup, LOOK_UP(percpu))
