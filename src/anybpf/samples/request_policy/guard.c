/* guard: /admin is for the machine itself; others are turned away, and an event tells of it. */
#include "http_request.h"

#define TOLD_ADMIN 1

struct policy_event {
    __u64 time; /* nanoseconds */
    __u32 code;
    __u32 value;
    char note[48]; /* ends with a NUL */
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 16); /* bytes */
} events SEC(".maps");

static const __u8 admin[] = "/admin";
static const __u8 mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}; /* ::ffff:0:0/96, IPv4 */
static const __u8 loopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

static int is_local(struct http_request *ctx)
{
    return (!__builtin_memcmp(ctx->client, mapped, sizeof(mapped)) && ctx->client[12] == 127) ||
           !__builtin_memcmp(ctx->client, loopback6, sizeof(loopback6));
}

SEC("http_request")
int guard(struct http_request *ctx)
{
    const __u8 *path = ctx->path, *end = ctx->path_end;
    if (path + sizeof(admin) - 1 > end || __builtin_memcmp(path, admin, sizeof(admin) - 1))
        return ALLOW;
    if (is_local(ctx))
        return ALLOW;
    struct policy_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (event) {
        *event = (struct policy_event){
            .time = bpf_ktime_get_ns(), .code = TOLD_ADMIN, .value = end - path, .note = "kept from /admin"};
        bpf_ringbuf_submit(event, 0);
    }
    return DENY;
}
