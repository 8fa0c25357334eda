/* packet_load.c: the legacy packet access of LD_ABS and LD_IND. */
#include <string.h>

#include "event.h"

/* include/uapi/linux/filter.h: where negative offsets count from. */
#define SKF_NET_OFF (-0x100000)
#define SKF_LL_OFF (-0x200000)

int ab_packet_load(const ab_event *event, int64_t offset, uint32_t size, uint64_t *value) {
    const uint8_t *from = event->data;
    if (offset < 0) {
        if (offset >= SKF_NET_OFF) {
            from = event->hard_start + event->network_header;
            offset -= SKF_NET_OFF;
        } else if (offset >= SKF_LL_OFF) {
            from = event->hard_start + event->mac_header;
            offset -= SKF_LL_OFF;
        } else {
            return -AB_EFAULT;
        }
    }
    if (from > event->data_end || offset > event->data_end - from || size > event->data_end - from - offset) return -AB_EFAULT;
    const uint8_t *bytes = from + offset;
    uint64_t number = 0;
    for (uint32_t i = 0; i < size; i++) number = number << 8 | bytes[i];
    *value = number;
    return 0;
}
