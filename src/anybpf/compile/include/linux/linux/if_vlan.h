/* linux/if_vlan.h: flags of VLAN devices. Linux gives programs no struct vlan_hdr: they define their own. */
#ifndef ANYBPF_LINUX_IF_VLAN_H
#define ANYBPF_LINUX_IF_VLAN_H

enum vlan_flags {
    VLAN_FLAG_REORDER_HDR = 0x1,
    VLAN_FLAG_GVRP = 0x2,
    VLAN_FLAG_LOOSE_BINDING = 0x4,
    VLAN_FLAG_MVRP = 0x8,
    VLAN_FLAG_BRIDGE_BINDING = 0x10,
};

#endif
