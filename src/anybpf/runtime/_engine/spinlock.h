/* spinlock.h: a lock for critical sections of a few dozen instructions. Spins briefly, then yields the processor. */
#ifndef ANYBPF_SPINLOCK_H
#define ANYBPF_SPINLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include "threads.h"

#define AB_SPINS 64

typedef _Atomic uint32_t ab_spinlock;

static inline void ab_spin_lock(ab_spinlock *lock) {
    uint32_t spins = 0;
    while (atomic_exchange_explicit(lock, 1, memory_order_acquire) != 0) {
        if (++spins >= AB_SPINS) {
            ab_thread_yield();
        }
    }
}

static inline void ab_spin_unlock(ab_spinlock *lock) {
    atomic_store_explicit(lock, 0, memory_order_release);
}

#endif
