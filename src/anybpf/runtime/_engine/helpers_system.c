/* helpers_system.c: processors, randomness, and on whose behalf the program runs: of the task that
 * the event names, or of the thread that brought it. */
#include <string.h>

#include "api_chain.h"
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

/* The task that the event names; NULL: it is the thread that runs. */
static const ab_task *named_task(const ab_slot *slot) {
    return slot->task != NULL && slot->task->pid_tgid != 0 ? slot->task : NULL;
}

/* Whether what the operating system says of this process is true of the task. */
static int is_of_this_process(const ab_slot *slot) {
    const ab_task *task = named_task(slot);
    return task == NULL || task->pid_tgid >> 32 == ab_process_id();
}

AB_HELPER(get_current_pid_tgid) {
    const ab_task *task = named_task(slot);
    return task != NULL ? task->pid_tgid : (uint64_t)ab_process_id() << 32 | ab_thread_id();
}

AB_HELPER(get_current_uid_gid) {
    const ab_task *task = named_task(slot);
    return task != NULL ? task->uid_gid : ab_process_uid_gid();
}

AB_HELPER(get_current_comm) {
    const ab_task *task = named_task(slot);
    char name[AB_COMM_SIZE];
    uint32_t size = (uint32_t)a2;
    if (size == 0) return 0;
    char *out = ab_pointer(a1);
    if (task != NULL) memcpy(name, task->comm, sizeof name);
    else ab_thread_name(name);
    uint32_t copied = size < AB_COMM_SIZE ? size : AB_COMM_SIZE;
    memset(out, 0, size);
    memcpy(out, name, copied);
    out[copied - 1] = 0;
    return 0;
}

/* Of another process these are not known. */
AB_HELPER(get_current_process_start_key) { return is_of_this_process(slot) ? ab_process_start_key() : 0; }
AB_HELPER(get_current_thread_create_time) { return is_of_this_process(slot) ? ab_thread_create_time() : 0; }
AB_HELPER(get_current_logon_id) { return is_of_this_process(slot) ? ab_process_logon_id() : 0; }

AB_HELPER(is_current_admin) {
    if (is_of_this_process(slot)) return ab_result(ab_process_is_admin());
    return ab_result(ab_user_is_admin((uint32_t)slot->task->uid_gid));
}
