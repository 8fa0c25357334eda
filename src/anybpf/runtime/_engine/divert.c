/* divert.c: see api_divert.h. */
#include "api_divert.h"

#include "datagram.h"
#include "packet.h"

/* Byte offsets in a WINDIVERT_ADDRESS, which is in the machine's byte order. */
#define FLAGS 8u
#define INTERFACE 16u
#define OUTBOUND (1u << 17)

static uint32_t read_u32(const uint8_t *at) {
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static void describe(const uint8_t *packet, uint32_t length, const uint8_t *address, ab_datagram *datagram) {
    *datagram = (ab_datagram){.data = packet, .length = length};
    ab_packet_put_be16(datagram->protocol, packet[0] >> 4 == 4 ? AB_ETH_P_IP : AB_ETH_P_IPV6);
    if (!(read_u32(address + FLAGS) & OUTBOUND)) datagram->interface = read_u32(address + INTERFACE);
}

static void keep(ab_divert_batch *batch, const ab_datagram *datagram, const uint8_t *address) {
    memcpy(batch->kept + batch->kept_length, datagram->data, datagram->length);
    memcpy(batch->kept_addresses + batch->kept_count * (size_t)AB_DIVERT_ADDRESS, address, AB_DIVERT_ADDRESS);
    batch->kept_length += datagram->length;
    batch->kept_count++;
}

static int32_t run(const ab_datagram_point *point, ab_session *session, ab_divert_batch *batch) {
    for (; batch->next < batch->count; batch->next++) {
        const uint8_t *packet = batch->packets + batch->next_byte;
        const uint8_t *address = batch->addresses + batch->next * (size_t)AB_DIVERT_ADDRESS;
        uint32_t length = ab_datagram_ip_length(packet, batch->length - batch->next_byte);
        ab_datagram datagram, changed;
        if (length == 0) return -AB_EINVAL;
        if (batch->kept_capacity - batch->kept_length < AB_DATAGRAM_MAX || batch->kept_count == AB_DIVERT_BATCH) return 1;
        describe(packet, length, address, &datagram);
        enum ab_datagram_fate fate = ab_datagram_run(point, session, &datagram, &changed);
        ab_slot_quiesce(session->slot);
        if (fate == AB_DATAGRAM_PASSES) keep(batch, &datagram, address);
        if (fate == AB_DATAGRAM_CHANGED) keep(batch, &changed, address);
        if (fate == AB_DATAGRAM_LOST) batch->lost++;
        batch->next_byte += length;
    }
    return 0;
}

int32_t ab_divert_run(const ab_datagram_point *point, ab_divert_batch *batch) {
    ab_session session;
    batch->kept_length = batch->kept_count = 0;
    if (batch->next_byte > batch->length || batch->kept_capacity < AB_DATAGRAM_MAX) return -AB_EINVAL;
    ab_session_open(&session, ab_chain_engine(point->chain), point->event);
    int32_t result = run(point, &session, batch);
    ab_session_finish(&session);
    return result;
}
