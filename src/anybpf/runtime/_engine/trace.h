/* trace.h: the lines that programs print, in a bounded pipe of the engine: when it is full the oldest line is lost. */
#ifndef ANYBPF_TRACE_H
#define ANYBPF_TRACE_H

#include "api_trace.h"

#define AB_TRACE_CAPACITY (256u * 1024) /* bytes */

ab_trace *ab_trace_create(uint32_t capacity);
void ab_trace_destroy(ab_trace *trace);

#endif
