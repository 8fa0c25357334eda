/* reclaim.h: epoch-based reclamation, so that memory stays valid while any program can hold a pointer to it.
 *
 * The engine counts epochs. A slot that enters announces the current one; the count moves on only when every slot inside has
 * announced it, so a slot inside is at most one epoch behind. What a slot takes out of a shared structure while it stands in
 * epoch e can still be seen by slots in e and e+1 (one that enters at e+2 or later has synchronised with the removal), and
 * those hold the count at or below e+2; therefore it may be used again once the count reaches e+3.
 */
#ifndef ANYBPF_RECLAIM_H
#define ANYBPF_RECLAIM_H

#include <stdatomic.h>
#include "engine.h"

#define AB_EPOCH_GRACE 3
#define AB_EPOCH_FIRST 4 /* 0 means "not inside" */
#define AB_LIMBO_BAGS 4  /* one more than the grace period: a bag that comes round again has expired */

/* The link of a list of retired objects. Readers that still hold the object never touch it. */
typedef struct ab_link {
    struct ab_link *next;
} ab_link;

typedef struct ab_link_list {
    ab_link *head;
    ab_link *tail; /* meaningful while head is not NULL */
    uint32_t count;
} ab_link_list;

/* Objects waiting for their grace period, by the epoch in which they were taken out. Belongs to one slot. */
typedef struct ab_limbo {
    struct {
        uint64_t epoch;
        ab_link_list list;
    } bags[AB_LIMBO_BAGS];
} ab_limbo;

/* A slot's part in reclamation (ab_slot.reclaim). All but `epoch` is the slot owner's alone. */
typedef struct ab_reclaim {
    _Atomic uint64_t epoch;       /* announced; 0: not inside */
    const _Atomic uint64_t *now;  /* the engine's count */
    uint32_t depth;               /* nested enters */
    uint32_t waiting;             /* objects in `deferred` */
    ab_limbo deferred;
} ab_reclaim;

/* Moves the engine's count on by one if every slot inside has announced the present epoch. */
void ab_epoch_advance(ab_engine *engine);

/* Between two events of a batch: says that the slot holds no pointer out of any map. Two loads when no epoch has passed. */
static inline void ab_slot_quiesce(ab_slot *slot) {
    ab_reclaim *reclaim = slot->reclaim;
    uint64_t now = atomic_load_explicit(reclaim->now, memory_order_acquire);
    if (reclaim->depth == 1 && now != atomic_load_explicit(&reclaim->epoch, memory_order_relaxed)) {
        atomic_store_explicit(&reclaim->epoch, now, memory_order_release);
    }
}

void ab_link_list_push(ab_link_list *list, ab_link *link);
void ab_link_list_splice(ab_link_list *list, ab_link_list *more); /* empties `more` */

/* The slot must be inside. What had expired in the bag that is used is appended to `expired`. */
void ab_limbo_add(ab_limbo *limbo, ab_slot *slot, ab_link *link, ab_link_list *expired);
/* Appends everything whose grace period is over to `expired`. */
void ab_limbo_collect(ab_limbo *limbo, ab_slot *slot, ab_link_list *expired);
/* Appends everything: only when no slot is or will be inside. */
void ab_limbo_drain(ab_limbo *limbo, ab_link_list *expired);

/* An object that is destroyed once no slot can hold a pointer to it; embed it as the first member. */
typedef struct ab_retired {
    ab_link link;
    void (*destroy)(struct ab_retired *retired);
} ab_retired;

/* The slot must be inside. */
void ab_reclaim_defer(ab_slot *slot, ab_retired *retired, void (*destroy)(ab_retired *retired));
/* Destroys this slot's deferred objects whose grace period is over. Outside, first moves the count on as far as it goes: what
 * nobody can hold goes at once. */
void ab_reclaim_collect(ab_slot *slot);
/* Destroys all of them: only when no slot is or will be inside. */
void ab_reclaim_drain(ab_slot *slot);

#endif
