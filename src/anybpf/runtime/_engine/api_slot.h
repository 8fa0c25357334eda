/* api_slot.h: engines and cpu slots, as Python sees them. */
#ifndef ANYBPF_API_SLOT_H
#define ANYBPF_API_SLOT_H
#include "engine.h"
ab_engine *ab_engine_create(uint32_t cpus);
/* No thread may be running programs. Maps that still exist keep working, and keep the engine's memory, until they end. */
void ab_engine_destroy(ab_engine *engine);
/* An id that no program, map or link of this engine has had. */
uint32_t ab_engine_next_id(ab_engine *engine);
uint32_t ab_engine_cpus(const ab_engine *engine);
ab_slot *ab_slot_acquire(ab_engine *engine);
void ab_slot_release(ab_slot *slot);
void ab_slot_enter(ab_slot *slot);
void ab_slot_leave(ab_slot *slot);
void ab_engine_synchronize(ab_engine *engine);
/* Around a fork, of which the child has one thread only: waits until no other thread runs programs or works on maps, and keeps them
 * out; then lets them in again. Both by the thread that forks, the latter in the parent and in the child (`forked`). */
void ab_engine_hold(ab_engine *engine);
void ab_engine_go_on(ab_engine *engine, int forked);
#endif
