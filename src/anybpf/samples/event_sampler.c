/* event_sampler: sends a record of one packet in `every` through a ring buffer: when, where, how long, its first bytes. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SNAPSHOT 64

const volatile __u32 every = 10;

__u64 lost; /* records for which the ring buffer had no room */

struct sample {
    __u64 time; /* nanoseconds */
    __u32 interface;
    __u32 length;   /* of the packet */
    __u32 captured; /* bytes of it in `head` */
    __u32 unused;
    __u8 head[SNAPSHOT];
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 18); /* bytes */
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32); /* packets since the last sample */
} seen SEC(".maps");

SEC("xdp")
int event_sampler(struct xdp_md *ctx)
{
    __u32 zero = 0;
    __u32 *count = bpf_map_lookup_elem(&seen, &zero);
    if (!count)
        return XDP_PASS;
    if (++*count < every)
        return XDP_PASS;
    *count = 0;

    struct sample *sample = bpf_ringbuf_reserve(&events, sizeof(*sample), 0);
    if (!sample) {
        __sync_fetch_and_add(&lost, 1);
        return XDP_PASS;
    }
    __u32 length = bpf_xdp_get_buff_len(ctx);
    sample->time = bpf_ktime_get_ns();
    sample->interface = ctx->ingress_ifindex;
    sample->length = length;
    sample->unused = 0;
    __builtin_memset(sample->head, 0, sizeof(sample->head));

    __u32 captured = length < SNAPSHOT ? length : SNAPSHOT;
    barrier_var(captured); /* so that the next comparison stays, which shows the bounds to the verifier */
    if (captured < 1 || captured > SNAPSHOT || bpf_xdp_load_bytes(ctx, 0, sample->head, captured))
        captured = 0;
    sample->captured = captured;
    bpf_ringbuf_submit(sample, 0);
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
