/* map_batch.c: many entries in one crossing. */
#include "map.h"
#include "reclaim.h"

static uint64_t key_step(const ab_map *map) {
    return map->key_size;
}

/* How far a walk has come, and where to put what it finds. */
typedef struct batch {
    uint8_t *keys;
    uint8_t *values;
    uint32_t capacity;
    uint32_t done;
} batch;

/* Copies all entries that share the cursor's index. 1: copied, the cursor stands on the next index's first entry; 0: the same,
 * and there are no more; -AB_ENOSPC: they do not fit, nothing was copied. */
static int copy_bunch(ab_map *map, ab_map_cursor *cursor, batch *out, ab_slot *slot) {
    uint64_t index = cursor->index;
    uint64_t value_step = ab_map_user_value_size(map);
    uint32_t start = out->done;
    int more = 1;
    while (more == 1 && cursor->index == index) {
        if (out->done == out->capacity) {
            out->done = start;
            return -AB_ENOSPC;
        }
        memcpy(out->keys + out->done * key_step(map), cursor->key, map->key_size);
        ab_map_load_user(map, cursor->value, out->values + out->done * value_step, 0);
        out->done++;
        more = map->ops->iterate(map, cursor, slot);
    }
    return more;
}

int ab_map_read_batch(ab_map *map, uint64_t *position, void *keys, void *values, uint32_t capacity, int take, uint32_t *done) {
    batch out = {keys, values, capacity, 0};
    ab_map_cursor cursor = {.index = *position};
    ab_slot *slot;
    int result;
    *done = 0;
    result = ab_map_admit(map, take ? AB_READS | AB_WRITES : AB_READS,
                          map->ops->iterate != NULL && (!take || map->ops->take != NULL), -AB_ENOTSUPP);
    if (result < 0) {
        return result;
    }
    slot = ab_slot_acquire(map->engine);
    ab_slot_enter(slot);
    result = map->ops->iterate(map, &cursor, slot);
    while (result == 1) {
        uint64_t index = cursor.index;
        result = copy_bunch(map, &cursor, &out, slot);
        if (result == -AB_ENOSPC) {
            *position = index;
        }
    }
    if (take) {
        uint64_t value_step = ab_map_user_value_size(map);
        uint32_t kept = 0;
        for (uint32_t entry = 0; entry < out.done; entry++) {
            uint8_t *key = out.keys + entry * key_step(map);
            uint8_t *value = out.values + entry * value_step;
            /* Another thread may have been first; such an entry is not ours to report. */
            if (map->ops->take(map, key, value, 0, slot) == 0) {
                memmove(out.keys + kept * key_step(map), key, map->key_size);
                memmove(out.values + kept * value_step, value, (size_t)value_step);
                kept++;
            }
        }
        out.done = kept;
    }
    ab_slot_leave(slot);
    ab_slot_release(slot);
    *done = out.done;
    if (result == 0) {
        return -AB_ENOENT;
    }
    return out.done == 0 ? result : 0; /* -AB_ENOSPC with entries read: there are more */
}

typedef int each_fn(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot);

/* Calls `each` on entry after entry until one fails. Passes between entries, so that a long batch holds up nobody's memory. */
static int for_each_entry(ab_map *map, const uint8_t *keys, uint8_t *values, uint32_t count, uint64_t flags, each_fn *each,
                          uint32_t *done) {
    uint64_t value_step = values == NULL ? 0 : ab_map_user_value_size(map);
    ab_slot *slot = ab_slot_acquire(map->engine);
    int error = 0;
    ab_slot_enter(slot);
    for (*done = 0; *done < count; ++*done) {
        error = each(map, keys + *done * key_step(map), values == NULL ? NULL : values + *done * value_step, flags, slot);
        if (error < 0) {
            break;
        }
        ab_slot_quiesce(slot);
    }
    ab_slot_leave(slot);
    ab_slot_release(slot);
    return error;
}

static int write_each(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    return map->ops->write(map, key, value, flags, slot);
}

static int remove_each(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    (void)value;
    (void)flags;
    return map->ops->remove(map, key, slot);
}

int ab_map_lookup_batch(ab_map *map, const void *keys, void *values, uint32_t count, uint64_t flags, uint32_t *done) {
    int error = ab_map_admit(map, AB_READS, map->ops->read != NULL, -AB_ENOTSUPP);
    *done = 0;
    return error < 0 ? error : for_each_entry(map, keys, values, count, flags, map->ops->read, done);
}

int ab_map_write_batch(ab_map *map, const void *keys, const void *values, uint32_t count, uint64_t flags, uint32_t *done) {
    int error = ab_map_admit(map, AB_WRITES, map->ops->write != NULL, -AB_ENOTSUPP);
    *done = 0;
    return error < 0 ? error : for_each_entry(map, keys, (uint8_t *)(uintptr_t)values, count, flags, write_each, done);
}

int ab_map_remove_batch(ab_map *map, const void *keys, uint32_t count, uint32_t *done) {
    int error = ab_map_admit(map, AB_WRITES, map->ops->remove != NULL, -AB_ENOTSUPP);
    *done = 0;
    return error < 0 ? error : for_each_entry(map, keys, NULL, count, 0, remove_each, done);
}

int64_t ab_map_clear(ab_map *map) {
    ab_map_cursor cursor = {.index = 0};
    int64_t cleared = 0;
    int error = ab_map_admit(map, AB_WRITES, map->ops->iterate != NULL && map->ops->remove != NULL, -AB_ENOTSUPP);
    ab_slot *slot;
    if (error < 0) {
        return error;
    }
    slot = ab_slot_acquire(map->engine);
    ab_slot_enter(slot);
    while (error == 0 && map->ops->iterate(map, &cursor, slot) == 1) {
        int result = map->ops->remove(map, cursor.key, slot);
        if (result == 0) {
            cleared++;
        } else if (result != -AB_ENOENT) { /* arrays: nothing can be deleted; -ENOENT: another thread was first */
            error = result;
        }
    }
    ab_slot_leave(slot);
    ab_slot_release(slot);
    return error < 0 ? error : cleared;
}
