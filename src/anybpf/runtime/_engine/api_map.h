/* api_map.h: maps as the user's side sees them. One call is one crossing: each takes a cpu slot, does its work, gives it back.
 *
 * Keys are key_size bytes. Values are ab_map_user_value_size bytes: value_size, or for per-CPU kinds every cpu's value, each
 * padded to a multiple of 8 bytes. Results are 0 (or a count) or a negative Linux error number.
 */
#ifndef ANYBPF_API_MAP_H
#define ANYBPF_API_MAP_H
#include "engine.h"

/* What a map is made from. */
typedef struct ab_map_shape {
    uint32_t kind; /* enum ab_map_kind; ab_map_kind_named gives it */
    uint32_t key_size;
    uint32_t value_size;
    uint32_t max_entries;
    uint32_t flags;      /* Linux's BPF_F_* map flags */
    int32_t lock_offset; /* of the struct bpf_spin_lock in a value, or -1 */
    uint64_t extra;      /* bloom filter: number of hash functions; perf event array: bytes of a ring; 0: the kind's default */
} ab_map_shape;

/* Linux's update flags. */
enum { AB_ANY = 0, AB_NOEXIST = 1, AB_EXIST = 2, AB_F_LOCK = 4 };

/* Number of the kind that anybpf.platforms.MapKind calls by this name, or -1. */
int ab_map_kind_named(const char *name);
/* NULL: *error says why (a negative error number). */
ab_map *ab_map_create(ab_engine *engine, const ab_map_shape *shape, int *error);
/* The memory lives on until no running program can hold a pointer into it. */
void ab_map_destroy(ab_map *map);
uint32_t ab_map_id(const ab_map *map);
/* 0: the kind has no values to read. */
uint64_t ab_map_user_value_size(const ab_map *map);
/* Array kinds: the values' address and bytes, else NULL and 0. */
void *ab_map_memory(ab_map *map, uint64_t *size);
/* From now on the user's side may not write (Linux's BPF_MAP_FREEZE). */
void ab_map_freeze(ab_map *map);

int ab_map_read(ab_map *map, const void *key, void *value, uint64_t flags);
int ab_map_write(ab_map *map, const void *key, const void *value, uint64_t flags);
int ab_map_remove(ab_map *map, const void *key);
int ab_map_take(ab_map *map, const void *key, void *value, uint64_t flags); /* lookup and delete */
int ab_map_push(ab_map *map, const void *value, uint64_t flags);
int ab_map_pop(ab_map *map, void *value);
int ab_map_peek(ab_map *map, void *value);
int ab_map_next_key(ab_map *map, const void *key, void *next); /* key NULL: the first; -ENOENT after the last */
/* Entries there are now. */
int64_t ab_map_count(ab_map *map);

/* Batches: keys and values stand one after another. *done tells how many entries succeeded, also when the result is an error. */
/* Reads entries from *position on (0 at first), at most capacity; 0 while there may be more, -ENOENT after the last,
 * -ENOSPC when the next bunch needs a larger capacity. take: also deletes what it read. */
int ab_map_read_batch(ab_map *map, uint64_t *position, void *keys, void *values, uint32_t capacity, int take, uint32_t *done);
int ab_map_lookup_batch(ab_map *map, const void *keys, void *values, uint32_t count, uint64_t flags, uint32_t *done);
int ab_map_write_batch(ab_map *map, const void *keys, const void *values, uint32_t count, uint64_t flags, uint32_t *done);
int ab_map_remove_batch(ab_map *map, const void *keys, uint32_t count, uint32_t *done);
/* Deletes every entry; how many there were. */
int64_t ab_map_clear(ab_map *map);
#endif
