/* One record of 64 bytes for each packet. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct record {
    __u64 words[8];
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 22);
} events SEC(".maps");

SEC("xdp")
int write_record(struct xdp_md *ctx)
{
    struct record *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
    if (!record)
        return XDP_DROP;
    __builtin_memset(record, 0, sizeof(*record));
    record->words[0] = ctx->ingress_ifindex;
    bpf_ringbuf_submit(record, 0);
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
