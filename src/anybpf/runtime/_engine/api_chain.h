/* api_chain.h: the programs attached at one point, and what they make of an event together. */
#ifndef ANYBPF_API_CHAIN_H
#define ANYBPF_API_CHAIN_H
#include "api_event.h"
#include "api_program.h"

/* Verdicts are numbers from 0 to 63; return values that lie above are told apart no further. */
enum { AB_CHAIN_VERDICTS = 64, AB_CHAIN_SAMPLE = 64 };

typedef struct ab_chain ab_chain;           /* programs in the order in which they run */
typedef struct ab_attachment ab_attachment; /* one program's place at a point, and its counts */

/* How return values become one verdict (anybpf.platforms.ChainRule). Sets of values have a bit for each. */
typedef struct ab_chain_rule {
    uint64_t known;         /* values that mean something; any other counts as `otherwise` */
    uint64_t proceed;       /* after these the next program runs */
    uint64_t denied;        /* these fail a call with EPERM, unless a program has set another error (bpf_set_retval) */
    uint8_t ranks[64];      /* the value of the highest rank is the verdict, the later one of equals */
    uint32_t otherwise;
    uint32_t fault;         /* what a program that faults counts as */
    uint32_t empty;         /* the verdict where nothing is attached */
    uint32_t watch_offset;  /* once a program has changed these bytes of the context, no further one runs; */
    uint32_t watch_size;    /* 0: none */
} ab_chain_rule;

/* What an attachment has counted. `sampled_ns` is the time of the `sampled` runs: the second to the last of the first
 * AB_CHAIN_SAMPLE on a slot, and then one in so many. */
typedef struct ab_attachment_counts {
    uint64_t events;
    uint64_t errors;        /* runs that faulted; they are not among the verdicts */
    uint64_t sampled;
    uint64_t sampled_ns;
    uint64_t verdicts[65];  /* runs that returned 0 to 63; the last: any other number */
    ab_fault fault;         /* the last one on the slot with the most, when there are errors */
} ab_attachment_counts;

/* On whose behalf an event happens, when that is not the thread that brings it. */
typedef struct ab_task {
    uint64_t pid_tgid;      /* process id << 32 | thread id; 0: it is that thread, and only the cookies say something */
    uint64_t uid_gid;       /* gid << 32 | uid */
    uint64_t socket_cookie; /* 0: unknown */
    uint64_t netns_cookie;  /* 0: unknown */
    char comm[16];          /* NUL-padded */
} ab_task;

/* NULL: no memory. */
ab_chain *ab_chain_create(ab_engine *engine, const ab_chain_rule *rule);
/* No thread may be running it. */
void ab_chain_destroy(ab_chain *chain);
/* Replaces the attachments, in the order in which they run. Those left out are not run once threads that are inside have passed
 * between two events. 0 or -ENOMEM. */
int ab_chain_set(ab_chain *chain, ab_attachment *const *attachments, uint32_t count);
/* Runs the chain on one event, which has been made for its type of program: loads data and context into it, and leaves there what
 * the programs made of them. `task` may be NULL. The verdict, or a negative error. */
int64_t ab_chain_fire(ab_chain *chain, ab_event *event, const uint8_t *data, uint32_t length, const uint8_t *context,
                      const ab_task *task);

/* NULL: no memory. `mode` is AB_MODE_*. */
ab_attachment *ab_attachment_create(ab_engine *engine, const ab_program *program, uint32_t mode);
/* The memory lives on until no thread can be counting in it. It must be in no chain any more. */
void ab_attachment_destroy(ab_attachment *attachment);
/* From the next event on this program runs in its place: 0 or -ENOMEM. */
int ab_attachment_update(ab_attachment *attachment, const ab_program *program, uint32_t mode);
void ab_attachment_count(const ab_attachment *attachment, ab_attachment_counts *counts);
#endif
