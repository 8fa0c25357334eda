/* bind_monitor: for eBPF for Windows. Lets each process hold only so many ports, and says who holds how many.
 *
 * `limits_map` holds the quota; 0 allows any number. `process_map` has an entry for each process that holds ports: how
 * many, and the name of its executable, in UTF-16. `app_map` counts for each executable what was granted, refused and
 * given back, over all its processes, and stays when they end. */
#include "bpf_helpers.h"

#define APP_ID_SIZE 64 /* bytes; longer names are cut off */

struct process {
    uint32_t ports;
    uint8_t app_id[APP_ID_SIZE];
};

struct app {
    uint64_t granted;
    uint64_t refused;
    uint64_t returned;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, uint32_t); /* ports that one process may hold */
} limits_map SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, uint64_t); /* process id */
    __type(value, struct process);
} process_map SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, uint8_t[APP_ID_SIZE]);
    __type(value, struct app);
} app_map SEC(".maps");

static __attribute__((always_inline)) void read_app_id(bind_md_t *ctx, uint8_t *app_id)
{
    for (int i = 0; i < APP_ID_SIZE; i++) {
        if (ctx->app_id_start + i >= ctx->app_id_end)
            return;
        app_id[i] = ctx->app_id_start[i];
    }
}

static __attribute__((always_inline)) struct app *app_of(const uint8_t *app_id)
{
    struct app *app = bpf_map_lookup_elem(&app_map, app_id);
    if (app)
        return app;
    struct app none = {};
    bpf_map_update_elem(&app_map, app_id, &none, BPF_NOEXIST);
    return bpf_map_lookup_elem(&app_map, app_id);
}

static __attribute__((always_inline)) bind_action_t take_port(uint64_t id, const uint8_t *app_id, struct app *app)
{
    uint32_t zero = 0;
    uint32_t *limit = bpf_map_lookup_elem(&limits_map, &zero);
    struct process *process = bpf_map_lookup_elem(&process_map, &id);

    if (!process) {
        struct process none = {};
        __builtin_memcpy(none.app_id, app_id, APP_ID_SIZE);
        bpf_map_update_elem(&process_map, &id, &none, BPF_NOEXIST);
        process = bpf_map_lookup_elem(&process_map, &id);
        if (!process)
            return BIND_PERMIT_SOFT; /* the table is full: what cannot be counted is not limited */
    }
    /* Taken before it is compared, so that no two threads get the last port. */
    if (__sync_fetch_and_add(&process->ports, 1) >= (limit && *limit ? *limit : UINT32_MAX)) {
        __sync_fetch_and_add(&process->ports, -1);
        if (app)
            __sync_fetch_and_add(&app->refused, 1);
        return BIND_DENY;
    }
    if (app)
        __sync_fetch_and_add(&app->granted, 1);
    return BIND_PERMIT_SOFT;
}

static __attribute__((always_inline)) void return_port(uint64_t id, struct app *app)
{
    struct process *process = bpf_map_lookup_elem(&process_map, &id);

    if (!process)
        return;
    if (__sync_fetch_and_add(&process->ports, -1) <= 1)
        bpf_map_delete_elem(&process_map, &id);
    if (app)
        __sync_fetch_and_add(&app->returned, 1);
}

SEC("bind")
bind_action_t bind_monitor(bind_md_t *ctx)
{
    uint8_t app_id[APP_ID_SIZE] = {};

    if (ctx->operation == BIND_OPERATION_POST_BIND)
        return BIND_PERMIT_SOFT;
    read_app_id(ctx, app_id);
    struct app *app = app_of(app_id);
    if (ctx->operation == BIND_OPERATION_BIND)
        return take_port(ctx->process_id, app_id, app);
    return_port(ctx->process_id, app);
    return BIND_PERMIT_SOFT;
}
