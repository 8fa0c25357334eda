/* netevent_helper_defs.h: the helpers by their numbers.
 * Made by anybpf.platforms.headers from the platform's tables: do not edit. */
#ifndef ANYBPF_NETEVENT_HELPER_DEFS_H
#define ANYBPF_NETEVENT_HELPER_DEFS_H

static int (*const bpf_netevent_push_event)(netevent_event_md_t *ctx) = (void *)65536;

#endif
