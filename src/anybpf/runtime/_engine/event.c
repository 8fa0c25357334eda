/* event.c: the life of an event's buffer, and what loading a packet into it means for each kind of context. */
#include "event.h"

#include <stdlib.h>
#include <string.h>

#include "event_load.h"

/* anybpf.runtime.lowering replaces loads of packet fields by loads from these places. */
_Static_assert(sizeof(ab_event) == 64, "the context follows the header");
_Static_assert(offsetof(ab_event, data) == 0 && offsetof(ab_event, data_end) == 8 && offsetof(ab_event, data_meta) == 16,
               "where lowered programs find packet pointers");

ab_event *ab_event_create(uint32_t kind, uint32_t context_size, uint32_t capacity) {
    if (capacity > AB_EVENT_MAX_LENGTH || context_size > AB_EVENT_MAX_LENGTH) return NULL;
    if (kind == AB_EVENT_SKB && context_size < AB_SKB_SIZE) return NULL;
    if (capacity < AB_EVENT_MIN_CAPACITY) capacity = AB_EVENT_MIN_CAPACITY;
    size_t size = (size_t)AB_EVENT_HEADROOM + capacity + AB_EVENT_TAILROOM;
    ab_event *event = calloc(1, sizeof(ab_event) + context_size + AB_COPY_BLOCK);
    if (event == NULL) return NULL;
    event->hard_start = calloc(1, size);
    if (event->hard_start == NULL) {
        free(event);
        return NULL;
    }
    event->hard_end = event->hard_start + size;
    event->data = event->data_end = event->data_meta = event->hard_start + AB_EVENT_HEADROOM;
    event->mac_header = event->network_header = AB_EVENT_HEADROOM;
    event->context_size = context_size;
    event->kind = kind;
    return event;
}

void ab_event_destroy(ab_event *event) {
    if (event == NULL) return;
    free(event->hard_start);
    free(event);
}

/* Programs of this event see packets from the network header on, as Linux's socket filters and cgroup and LWT programs do
 * in its test run. The link-layer header stays in the head room, where LD_ABS with SKF_LL_OFF finds it. */
void ab_event_hide_link_layer(ab_event *event) { event->flags |= AB_EVENT_F_NETWORK_LAYER; }

void ab_event_length_changed(ab_event *event) {
    if (event->kind == AB_EVENT_SKB) ab_context_set_u32(event, AB_SKB_LEN, (uint32_t)(event->data_end - event->data));
}

static int grow(ab_event *event, uint32_t head, uint32_t tail) {
    uint64_t used = (uint64_t)(event->data_end - event->data_meta), old_head = (uint64_t)(event->data_meta - event->hard_start);
    uint64_t shift = head > old_head ? head - old_head : 0;
    uint64_t size = shift + old_head + used + tail + AB_EVENT_TAILROOM;
    if (size > 2u * (uint64_t)AB_EVENT_MAX_LENGTH) return -AB_ENOMEM;
    uint8_t *buffer = calloc(1, (size_t)size);
    if (buffer == NULL) return -AB_ENOMEM;
    memcpy(buffer + shift, event->hard_start, (size_t)(old_head + used));
    event->data = buffer + shift + (event->data - event->hard_start);
    event->data_end = buffer + shift + (event->data_end - event->hard_start);
    event->data_meta = buffer + shift + old_head;
    free(event->hard_start);
    event->hard_start = buffer;
    event->hard_end = buffer + size;
    event->mac_header += (uint32_t)shift;
    event->network_header += (uint32_t)shift;
    return 0;
}

int ab_event_reserve(ab_event *event, uint32_t head, uint32_t tail) {
    if (head <= (uint64_t)(event->data_meta - event->hard_start) && tail <= (uint64_t)(event->hard_end - event->data_end)) return 0;
    return grow(event, head, tail);
}

int ab_event_set_buffers(ab_event *event, uint32_t count) {
    if (count > event->context_size / sizeof(ab_buffer_bounds)) return -AB_EINVAL;
    event->buffers = count;
    return 0;
}

/* Puts a packet of `length` bytes at AB_EVENT_HEADROOM and copies the context's bytes (zeros when `context` is NULL).
 * A __sk_buff's length always, its protocol and packet type where the context leaves them zero, come from the packet. */
int ab_event_load(ab_event *event, const uint8_t *packet, uint32_t length, const uint8_t *context) {
    if (length > AB_EVENT_MAX_LENGTH) return -AB_EMSGSIZE;
    if (!ab_event_fits(event, length)) {
        ab_event_place(event, 0);
        int error = grow(event, AB_EVENT_HEADROOM, length);
        if (error) return error;
    }
    uint8_t *data = ab_event_place(event, length);
    if (length) memcpy(data, packet, length);
    if (context == NULL) memset(event + 1, 0, (size_t)event->context_size);
    else memcpy(event + 1, context, (size_t)event->context_size);
    if (event->kind == AB_EVENT_SKB) ab_skb_describe(event, packet, length);
    if (event->buffers == 0) return 0;
    if (context == NULL) ((ab_buffer_bounds *)(void *)(event + 1))->end = length; /* all of it is the first buffer's */
    return ab_event_point_buffers(event);
}

/* The first `size` bytes loaded become metadata before the packet: what a context with xdp_md.data > 0 asks of a test run. */
int ab_event_set_metadata(ab_event *event, uint32_t size) {
    if (size > (uint64_t)(event->data_end - event->data)) return -AB_EINVAL;
    if (size % 4 != 0 || size > 252) return -AB_EINVAL;
    event->data += size;
    event->mac_header += size;
    event->network_header += size;
    return 0;
}

/* After the run: the packet from its link-layer header on. */
void ab_event_show_link_layer(ab_event *event) {
    if (!(event->flags & AB_EVENT_F_NETWORK_LAYER) || event->network_header - event->mac_header != AB_ETH_HLEN) return;
    if (ab_event_reserve(event, AB_ETH_HLEN, 0) != 0) return;
    event->data -= AB_ETH_HLEN;
    event->data_meta = event->data;
}

uint8_t *ab_event_context(ab_event *event) { return (uint8_t *)(event + 1); }
uint8_t *ab_event_data(const ab_event *event) { return event->data; }
uint32_t ab_event_length(const ab_event *event) { return (uint32_t)(event->data_end - event->data); }
uint32_t ab_event_metadata_size(const ab_event *event) { return (uint32_t)(event->data - event->data_meta); }
