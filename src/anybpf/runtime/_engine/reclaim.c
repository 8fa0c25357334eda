/* reclaim.c: epoch-based reclamation; the argument for its grace period stands in reclaim.h. */
#include "reclaim.h"
#include "slot.h"

/* Sequentially consistent operations only (no fences), which ThreadSanitizer understands. */
void ab_slot_enter(ab_slot *slot) {
    ab_reclaim *reclaim = slot->reclaim;
    uint64_t announced, now;
    if (reclaim->depth++) {
        return;
    }
    /* Announce and look again: if the count moved in between, nobody may have seen the announcement. */
    now = atomic_load_explicit(reclaim->now, memory_order_relaxed);
    do {
        announced = now;
        atomic_exchange_explicit(&reclaim->epoch, announced, memory_order_seq_cst);
        now = atomic_load_explicit(reclaim->now, memory_order_seq_cst);
    } while (now != announced);
}

void ab_slot_leave(ab_slot *slot) {
    ab_reclaim *reclaim = slot->reclaim;
    if (--reclaim->depth == 0) {
        atomic_store_explicit(&reclaim->epoch, 0, memory_order_release);
    }
}

void ab_epoch_advance(ab_engine *engine) {
    uint64_t now = atomic_load_explicit(&engine->epoch, memory_order_seq_cst);
    for (uint32_t cpu = 0; cpu < engine->cpus; cpu++) {
        ab_reclaim *reclaim = ab_engine_slot(engine, cpu)->reclaim;
        uint64_t announced = atomic_load_explicit(&reclaim->epoch, memory_order_seq_cst);
        if (announced != 0 && announced != now) {
            return;
        }
    }
    atomic_compare_exchange_strong_explicit(&engine->epoch, &now, now + 1, memory_order_seq_cst, memory_order_relaxed);
}

void ab_link_list_push(ab_link_list *list, ab_link *link) {
    link->next = list->head;
    if (list->head == NULL) {
        list->tail = link;
    }
    list->head = link;
    list->count++;
}

void ab_link_list_splice(ab_link_list *list, ab_link_list *more) {
    if (more->head == NULL) {
        return;
    }
    more->tail->next = list->head;
    if (list->head == NULL) {
        list->tail = more->tail;
    }
    list->head = more->head;
    list->count += more->count;
    more->head = NULL;
    more->count = 0;
}

void ab_limbo_add(ab_limbo *limbo, ab_slot *slot, ab_link *link, ab_link_list *expired) {
    ab_reclaim *reclaim = slot->reclaim;
    uint64_t epoch = atomic_load_explicit(&reclaim->epoch, memory_order_relaxed);
    uint32_t bag = (uint32_t)(epoch % AB_LIMBO_BAGS);
    if (limbo->bags[bag].epoch != epoch) {
        /* At least AB_LIMBO_BAGS epochs old, more than the grace period. */
        ab_link_list_splice(expired, &limbo->bags[bag].list);
        limbo->bags[bag].epoch = epoch;
    }
    ab_link_list_push(&limbo->bags[bag].list, link);
}

void ab_limbo_collect(ab_limbo *limbo, ab_slot *slot, ab_link_list *expired) {
    ab_reclaim *reclaim = slot->reclaim;
    uint64_t now = atomic_load_explicit(reclaim->now, memory_order_acquire);
    for (uint32_t bag = 0; bag < AB_LIMBO_BAGS; bag++) {
        if (limbo->bags[bag].epoch + AB_EPOCH_GRACE <= now) {
            ab_link_list_splice(expired, &limbo->bags[bag].list);
        }
    }
}

void ab_limbo_drain(ab_limbo *limbo, ab_link_list *expired) {
    for (uint32_t bag = 0; bag < AB_LIMBO_BAGS; bag++) {
        ab_link_list_splice(expired, &limbo->bags[bag].list);
    }
}

static void destroy_all(ab_reclaim *reclaim, ab_link_list *expired) {
    ab_link *link = expired->head;
    reclaim->waiting -= expired->count;
    while (link != NULL) {
        ab_link *next = link->next;
        ab_retired *retired = (ab_retired *)(void *)link; /* link is its first member */
        retired->destroy(retired);
        link = next;
    }
}

void ab_reclaim_defer(ab_slot *slot, ab_retired *retired, void (*destroy)(ab_retired *retired)) {
    ab_reclaim *reclaim = slot->reclaim;
    ab_link_list expired = {NULL, NULL, 0};
    retired->destroy = destroy;
    reclaim->waiting++;
    ab_limbo_add(&reclaim->deferred, slot, &retired->link, &expired);
    destroy_all(reclaim, &expired);
}

void ab_reclaim_collect(ab_slot *slot) {
    ab_reclaim *reclaim = slot->reclaim;
    ab_link_list expired = {NULL, NULL, 0};
    if (reclaim->waiting == 0) {
        return;
    }
    for (int epoch = 0; reclaim->depth == 0 && epoch < AB_EPOCH_GRACE; epoch++) {
        ab_epoch_advance(slot->engine);
    }
    ab_limbo_collect(&reclaim->deferred, slot, &expired);
    destroy_all(reclaim, &expired);
}

void ab_reclaim_drain(ab_slot *slot) {
    ab_reclaim *reclaim = slot->reclaim;
    ab_link_list expired = {NULL, NULL, 0};
    ab_limbo_drain(&reclaim->deferred, &expired);
    destroy_all(reclaim, &expired);
}
