/* tc.c: the smallest traffic-control program. */
#include "bpf.h"

struct __sk_buff;

SEC("tc") int accept(struct __sk_buff *packet) {
    return 0;
}
