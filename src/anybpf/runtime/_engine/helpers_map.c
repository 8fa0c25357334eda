/* helpers_map.c: what programs do with maps. Each kind of map brings its own operations (engine.h). */
#include "helpers.h"
#include "value.h"

#define map_of(argument) ((ab_map *)ab_pointer(argument))

/* Programs that were not verified may ask a map for what its kind cannot do. */
#define require(map, operation) \
    if ((map)->ops->operation == NULL) return ab_result(-AB_EOPNOTSUPP)

AB_HELPER(map_lookup) {
    ab_map *map = map_of(a1);
    return map->ops->lookup == NULL ? 0 : ab_address(map->ops->lookup(map, ab_pointer(a2), slot));
}

/* A per-CPU element's values lie one after another, so another cpu's stands at a fixed distance from this one's. */
AB_HELPER(map_lookup_percpu) {
    ab_map *map = map_of(a1);
    uint32_t cpu = (uint32_t)a3;
    if (map->ops->lookup == NULL || cpu >= ab_engine_cpus(map->engine)) return 0;
    uint8_t *mine = map->ops->lookup(map, ab_pointer(a2), slot);
    if (mine == NULL) return 0;
    return ab_address(mine + ((int64_t)cpu - (int64_t)slot->cpu) * (int64_t)map->cpu_stride);
}

/* Windows: the value, which is no longer in the map but stays readable until the program ends. */
AB_HELPER(map_take) {
    ab_map *map = map_of(a1);
    if (map->ops->lookup == NULL || map->ops->remove == NULL) return 0;
    void *value = map->ops->lookup(map, ab_pointer(a2), slot);
    return value != NULL && map->ops->remove(map, ab_pointer(a2), slot) == 0 ? ab_address(value) : 0;
}

AB_HELPER(map_update) {
    ab_map *map = map_of(a1);
    require(map, update);
    return ab_result(map->ops->update(map, ab_pointer(a2), ab_pointer(a3), a4, slot));
}

AB_HELPER(map_delete) {
    ab_map *map = map_of(a1);
    require(map, remove);
    return ab_result(map->ops->remove(map, ab_pointer(a2), slot));
}

AB_HELPER(map_push) {
    ab_map *map = map_of(a1);
    require(map, push);
    return ab_result(map->ops->push(map, ab_pointer(a2), a3, slot));
}

AB_HELPER(map_pop) {
    ab_map *map = map_of(a1);
    require(map, pop);
    return ab_result(map->ops->pop(map, ab_pointer(a2), slot));
}

AB_HELPER(map_peek) {
    ab_map *map = map_of(a1);
    require(map, peek);
    return ab_result(map->ops->peek(map, ab_pointer(a2), slot));
}
