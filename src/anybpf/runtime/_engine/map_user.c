/* map_user.c: the user's side of maps: one crossing, one slot. Refusals are those of Linux's system call, in its order. */
#include "map.h"
#include "slot.h"

/* Every operation below runs between these two. */
static ab_slot *arrive(ab_map *map) {
    ab_slot *slot = ab_slot_acquire(map->engine);
    ab_slot_enter(slot);
    return slot;
}

static int depart(ab_slot *slot, int result) {
    ab_slot_leave(slot);
    ab_slot_release(slot);
    return result;
}

/* Flags of a lookup: AB_F_LOCK where the value has a lock, and nothing else. */
static int check_read_flags(const ab_map *map, uint64_t flags) {
    if ((flags & ~(uint64_t)AB_F_LOCK) != 0 || (flags != 0 && map->lock_offset < 0)) {
        return -AB_EINVAL;
    }
    return 0;
}

uint64_t ab_map_user_value_size(const ab_map *map) {
    if (map->cpu_stride != 0) {
        return ab_round_up_8(map->value_size) * map->engine->cpus;
    }
    return map->value_size;
}

int ab_map_read(ab_map *map, const void *key, void *value, uint64_t flags) {
    int error = ab_map_admit(map, AB_READS, map->ops->read != NULL, -AB_ENOTSUPP);
    if (error == 0) {
        error = check_read_flags(map, flags);
    }
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->read(map, key, value, flags, slot));
}

int ab_map_write(ab_map *map, const void *key, const void *value, uint64_t flags) {
    int error = ab_map_admit(map, AB_WRITES, map->ops->write != NULL, -AB_EINVAL);
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->write(map, key, value, flags, slot));
}

int ab_map_remove(ab_map *map, const void *key) {
    int error = ab_map_admit(map, AB_WRITES, map->ops->remove != NULL, -AB_EINVAL);
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->remove(map, key, slot));
}

int ab_map_take(ab_map *map, const void *key, void *value, uint64_t flags) {
    int error = ab_map_admit(map, AB_READS | AB_WRITES, 1, 0);
    if (error == 0) {
        error = check_read_flags(map, flags);
    }
    if (error == 0 && map->ops->take == NULL) {
        error = -AB_ENOTSUPP;
    }
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->take(map, key, value, flags, slot));
}

int ab_map_push(ab_map *map, const void *value, uint64_t flags) {
    int error = ab_map_admit(map, AB_WRITES, map->ops->push != NULL, -AB_EINVAL);
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->push(map, value, flags, slot));
}

int ab_map_pop(ab_map *map, void *value) {
    int error = ab_map_admit(map, AB_READS | AB_WRITES, map->ops->pop != NULL, -AB_ENOTSUPP);
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->pop(map, value, slot));
}

int ab_map_peek(ab_map *map, void *value) {
    int error = ab_map_admit(map, AB_READS, map->ops->peek != NULL, -AB_ENOTSUPP);
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->peek(map, value, slot));
}

int ab_map_next_key(ab_map *map, const void *key, void *next) {
    int error = ab_map_admit(map, AB_READS, map->ops->next_key != NULL, -AB_EINVAL);
    if (error < 0) {
        return error;
    }
    ab_slot *slot = arrive(map);
    return depart(slot, map->ops->next_key(map, key, next, slot));
}

int64_t ab_map_count(ab_map *map) {
    if (map->ops->count == NULL) {
        return -AB_EOPNOTSUPP;
    }
    ab_slot *slot = arrive(map);
    int64_t count = map->ops->count(map, slot);
    depart(slot, 0);
    return count;
}
