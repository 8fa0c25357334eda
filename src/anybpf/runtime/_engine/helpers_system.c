/* helpers_system.c: processors, randomness, and who runs the program: the thread that brought the event. */
#include <string.h>

#include "helpers.h"
#include "process.h"

/* xorshift128+. A state of zeros would stay there, and is what a slot has before its first use. */
AB_HELPER(get_prandom_u32) {
    uint64_t *state = slot->random_state;
    if ((state[0] | state[1]) == 0 && (ab_random_bytes(state, sizeof slot->random_state) != 0 || (state[0] | state[1]) == 0))
        state[0] = 1;
    uint64_t x = state[0], y = state[1];
    state[0] = y;
    x ^= x << 23;
    state[1] = x ^ y ^ (x >> 17) ^ (y >> 26);
    return (uint32_t)((state[1] + y) >> 32);
}

AB_HELPER(get_smp_processor_id) { return slot->cpu; }
AB_HELPER(get_numa_node_id) { return ab_numa_node(); }

AB_HELPER(get_current_pid_tgid) { return (uint64_t)ab_process_id() << 32 | ab_thread_id(); }
AB_HELPER(get_current_uid_gid) { return ab_process_uid_gid(); }

AB_HELPER(get_current_comm) {
    char name[AB_COMM_SIZE];
    uint32_t size = (uint32_t)a2;
    if (size == 0) return 0;
    char *out = ab_pointer(a1);
    ab_thread_name(name);
    uint32_t copied = size < AB_COMM_SIZE ? size : AB_COMM_SIZE;
    memset(out, 0, size);
    memcpy(out, name, copied);
    out[copied - 1] = 0;
    return 0;
}

AB_HELPER(get_current_process_start_key) { return ab_process_start_key(); }
AB_HELPER(get_current_thread_create_time) { return ab_thread_create_time(); }
AB_HELPER(get_current_logon_id) { return ab_process_logon_id(); }
AB_HELPER(is_current_admin) { return ab_result(ab_process_is_admin()); }
