/* helpers_redirect.c: sending the packet elsewhere. The helper only notes where; whoever ran the program does it. */
#include "helpers.h"

/* Return values of programs: Linux's XDP and traffic-control actions. */
#define XDP_ABORTED 0u
#define XDP_REDIRECT 4u
#define XDP_ACTION_MASK 3u
#define TC_ACT_SHOT 2u
#define TC_ACT_REDIRECT 7u

#define F_INGRESS 1u
#define F_BROADCAST 8u
#define F_EXCLUDE_INGRESS 16u
#define REDIR_NEIGH_SIZE 20u /* struct bpf_redir_neigh */

static uint64_t note(ab_slot *slot, ab_map *map, uint64_t target, uint64_t flags, uint64_t action) {
    slot->redirect.map = map;
    slot->redirect.target = target;
    slot->redirect.flags = flags;
    return action;
}

static int is_xdp(const ab_slot *slot) {
    return slot->event != NULL && (slot->event->kind == AB_EVENT_XDP || slot->event->kind == AB_EVENT_XDP_WINDOWS);
}

AB_HELPER(redirect) {
    if (is_xdp(slot)) return a2 != 0 ? XDP_ABORTED : note(slot, NULL, (uint32_t)a1, 0, XDP_REDIRECT);
    return (a2 & ~(uint64_t)F_INGRESS) != 0 ? TC_ACT_SHOT : note(slot, NULL, (uint32_t)a1, a2, TC_ACT_REDIRECT);
}

AB_HELPER(redirect_peer) {
    return a2 != 0 ? TC_ACT_SHOT : note(slot, NULL, (uint32_t)a1, AB_REDIRECT_PEER, TC_ACT_REDIRECT);
}

AB_HELPER(redirect_neigh) {
    uint32_t size = (uint32_t)a3;
    if ((size != 0 && size < REDIR_NEIGH_SIZE) || a4 != 0) return TC_ACT_SHOT;
    return note(slot, NULL, (uint32_t)a1, AB_REDIRECT_NEIGH, TC_ACT_REDIRECT);
}

/* bpf_redirect_map(map, key, flags): the low bits of flags are the action when the map has no target there. */
AB_HELPER(redirect_map) {
    ab_map *map = ab_pointer(a1);
    uint32_t key = (uint32_t)a2;
    uint64_t allowed = XDP_ACTION_MASK;
    if (map->kind == AB_MAP_DEVMAP || map->kind == AB_MAP_DEVMAP_HASH) allowed |= F_BROADCAST | F_EXCLUDE_INGRESS;
    if ((a3 & ~allowed) != 0) return XDP_ABORTED;
    int found = map->ops->lookup != NULL && map->ops->lookup(map, &key, slot) != NULL;
    if (!found && !(a3 & F_BROADCAST)) {
        note(slot, NULL, 0, 0, 0);
        return a3 & XDP_ACTION_MASK;
    }
    return note(slot, map, key, a3 & ~(uint64_t)XDP_ACTION_MASK, XDP_REDIRECT);
}
