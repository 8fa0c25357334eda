/* segment_driver.c: segment.h on what standard input holds, for sanitizers and for comparison with another implementation.
 *
 * In: records of a length (4 bytes), a struct ab_offload, and a frame of that length. Out, for each: an error or 0 (4 bytes), then
 * every packet after its length, then a length of 0. Every buffer is exactly as large as it must be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "segment.h"

static void put(int32_t number) { fwrite(&number, sizeof number, 1, stdout); }

static void put_packet(const uint8_t *packet, uint32_t length) {
    put((int32_t)length);
    fwrite(packet, 1, length, stdout);
}

static void single(uint8_t *frame, uint32_t length, const ab_offload *offload) {
    int error = offload->flags & AB_OFFLOAD_CHECKSUM ? ab_checksum_complete(frame, length, offload) : 0;
    put(error);
    if (error == 0 && length != 0) put_packet(frame, length);
}

static void several(const uint8_t *frame, uint32_t length, const ab_offload *offload) {
    ab_segmenter segmenter;
    int error = ab_segment_begin(&segmenter, frame, length, offload);
    put(error);
    if (error != 0) return;
    uint32_t room = ab_segment_largest(&segmenter), size;
    for (;;) {
        uint8_t *packet = malloc(room);
        if (packet == NULL) exit(2);
        size = ab_segment_next(&segmenter, packet);
        if (size != 0) put_packet(packet, size);
        free(packet);
        if (size == 0) return;
    }
}

int main(void) {
    uint32_t length;
    while (fread(&length, sizeof length, 1, stdin) == 1) {
        ab_offload offload;
        uint8_t *frame = malloc(length ? length : 1);
        if (frame == NULL || fread(&offload, sizeof offload, 1, stdin) != 1 || fread(frame, 1, length, stdin) != length) exit(2);
        if (offload.kind == AB_OFFLOAD_NONE) single(frame, length, &offload);
        else several(frame, length, &offload);
        put(0);
        free(frame);
    }
    return 0;
}
