/* memory.h: reading addresses that nobody has proven: bpf_probe_read_* and the strings of bpf_trace_printk.
 *
 * Such an address is followed only into memory that belongs to the running program: its event's context and packet, its stack
 * frames, the values of its maps and of the maps in its maps, its ring buffers. Everything else is -AB_EFAULT, whatever lies
 * there. All tiers draw the same line. The cost is a walk over the program's maps.
 */
#ifndef ANYBPF_MEMORY_H
#define ANYBPF_MEMORY_H

#include "engine.h"

/* How many bytes from `address` on the program owns, in one piece; 0 when it owns none. */
uint64_t ab_memory_owned(ab_slot *slot, uint64_t address);
/* Copies `size` bytes, all or none; 0 or -AB_EFAULT. */
int ab_memory_read(ab_slot *slot, uint64_t address, void *out, uint64_t size);
/* Copies a string of at most size - 1 characters and its NUL (size at least 1): the bytes written, or -AB_EFAULT. */
int64_t ab_memory_read_string(ab_slot *slot, uint64_t address, char *out, uint64_t size);

#endif
