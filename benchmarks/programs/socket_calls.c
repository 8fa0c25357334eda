/* socket_calls: ports that may not be used, and a count of the calls. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u16); /* port */
    __type(value, __u8);
} denied SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} calls SEC(".maps");

SEC("cgroup/connect4")
int to_port(struct bpf_sock_addr *ctx)
{
    __u32 zero = 0;
    __u16 port = bpf_ntohs(ctx->user_port);
    __u64 *count = bpf_map_lookup_elem(&calls, &zero);

    if (count)
        __sync_fetch_and_add(count, 1);
    return !bpf_map_lookup_elem(&denied, &port);
}
