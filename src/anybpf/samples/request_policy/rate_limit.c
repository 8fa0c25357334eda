/* rate_limit: so many requests a second from one address; beyond that it is told to wait, and once a second an event tells of it. */
#include "http_request.h"

#define SECOND 1000000000ULL
#define TOLD_LIMIT 2

#ifndef ALLOWED
#define ALLOWED 50 /* requests a second */
#endif

struct policy_event {
    __u64 time; /* nanoseconds */
    __u32 code;
    __u32 value;
    char note[48]; /* ends with a NUL */
};

struct client {
    __u8 address[16];
};

struct window {
    __u64 start; /* nanoseconds */
    __u64 requests;
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 10000);
    __type(key, struct client);
    __type(value, struct window);
} clients SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 16); /* bytes */
} events SEC(".maps");

SEC("http_request")
int rate_limit(struct http_request *ctx)
{
    __u64 now = bpf_ktime_get_ns();
    struct client client;
    __builtin_memcpy(client.address, ctx->client, sizeof(client.address));
    struct window *window = bpf_map_lookup_elem(&clients, &client);
    if (!window || now - window->start >= SECOND) {
        struct window fresh = {.start = now, .requests = 1};
        bpf_map_update_elem(&clients, &client, &fresh, BPF_ANY);
        return ALLOW;
    }
    __u64 requests = __sync_fetch_and_add(&window->requests, 1) + 1;
    if (requests <= ALLOWED)
        return ALLOW;
    ctx->retry_after = 1;
    if (requests == ALLOWED + 1) {
        struct policy_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
        if (event) {
            *event = (struct policy_event){.time = now, .code = TOLD_LIMIT, .value = ALLOWED, .note = "told to wait"};
            bpf_ringbuf_submit(event, 0);
        }
    }
    return LIMIT;
}
