/* api_fire.h: events that a service brings from Python, one by one or many packed behind one another. */
#ifndef ANYBPF_API_FIRE_H
#define ANYBPF_API_FIRE_H
#include "api_chain.h"

/* What programs may change, and what ab_fire adds to the verdict when something did change. */
enum { AB_FIRE_FIELDS = 1, AB_FIRE_BUFFERS = 2, AB_FIRE_CHANGED = 256 };

/* What firing takes that stays the same from event to event; one thread uses it at a time. */
typedef struct ab_fire_turn {
    ab_chain *chain;
    ab_event *event;
    uint32_t writable; /* AB_FIRE_FIELDS and AB_FIRE_BUFFERS, added up */
    uint32_t reserved;
} ab_fire_turn;

/* ab_chain_fire, for the calling thread. */
int64_t ab_fire(const ab_fire_turn *turn, const uint8_t *data, uint64_t length, const uint8_t *context);

/* Many events. Each record is the context, with a buffer's length in the place of the pointer to its end (ab_event_set_buffers),
 * and behind it the buffers' bytes. */
typedef struct ab_fire_batch {
    uint8_t *records;
    uint64_t length;      /* bytes */
    uint32_t write_back;  /* put what programs changed into the records */
    uint32_t reserved;
    uint8_t *verdicts;    /* one for each record */
    uint64_t capacity;    /* of `verdicts` */
    uint64_t count;       /* out: records that were run */
    uint64_t position;    /* out: bytes of them; after an error, where the record begins that was not run */
} ab_fire_batch;
/* 0; -EINVAL: a record is cut short; -EMSGSIZE: its buffers are too long; -ENOSPC: there are more records than verdicts; -ENOMEM. */
int ab_fire_records(const ab_fire_turn *turn, ab_fire_batch *batch);
#endif
