/* helpers_lock.c: struct bpf_spin_lock, four bytes in a map value that stay zero while nobody holds the lock. */
#include "helpers.h"
#include "spinlock.h"

AB_HELPER(spin_lock) {
    ab_spin_lock((ab_spinlock *)ab_pointer(a1));
    return 0;
}

AB_HELPER(spin_unlock) {
    ab_spin_unlock((ab_spinlock *)ab_pointer(a1));
    return 0;
}
