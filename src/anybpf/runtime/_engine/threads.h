/* threads.h: the few things that the engine asks of the operating system's threads: POSIX and Win32 behind one set of names. */
#ifndef ANYBPF_THREADS_H
#define ANYBPF_THREADS_H

#include <stdint.h>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

typedef SRWLOCK ab_mutex;
typedef CONDITION_VARIABLE ab_condition;

static inline int ab_mutex_init(ab_mutex *mutex) { InitializeSRWLock(mutex); return 0; }
static inline void ab_mutex_deinit(ab_mutex *mutex) { (void)mutex; }
static inline void ab_mutex_lock(ab_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
static inline void ab_mutex_unlock(ab_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }

static inline int ab_condition_init(ab_condition *condition) { InitializeConditionVariable(condition); return 0; }
static inline void ab_condition_deinit(ab_condition *condition) { (void)condition; }
static inline void ab_condition_signal(ab_condition *condition) { WakeConditionVariable(condition); }
static inline void ab_condition_broadcast(ab_condition *condition) { WakeAllConditionVariable(condition); }
static inline void ab_condition_wait(ab_condition *condition, ab_mutex *mutex) {
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}

static inline uintptr_t ab_thread_self(void) { return (uintptr_t)GetCurrentThreadId(); }
static inline void ab_thread_yield(void) { SwitchToThread(); }

#else
#include <pthread.h>
#include <sched.h>

typedef pthread_mutex_t ab_mutex;
typedef pthread_cond_t ab_condition;

static inline int ab_mutex_init(ab_mutex *mutex) { return -pthread_mutex_init(mutex, NULL); }
static inline void ab_mutex_deinit(ab_mutex *mutex) { pthread_mutex_destroy(mutex); }
static inline void ab_mutex_lock(ab_mutex *mutex) { pthread_mutex_lock(mutex); }
static inline void ab_mutex_unlock(ab_mutex *mutex) { pthread_mutex_unlock(mutex); }

static inline int ab_condition_init(ab_condition *condition) { return -pthread_cond_init(condition, NULL); }
static inline void ab_condition_deinit(ab_condition *condition) { pthread_cond_destroy(condition); }
static inline void ab_condition_signal(ab_condition *condition) { pthread_cond_signal(condition); }
static inline void ab_condition_broadcast(ab_condition *condition) { pthread_cond_broadcast(condition); }
static inline void ab_condition_wait(ab_condition *condition, ab_mutex *mutex) { pthread_cond_wait(condition, mutex); }

/* pthread_t is an integer or a pointer on every system that we build for. */
static inline uintptr_t ab_thread_self(void) { return (uintptr_t)pthread_self(); }
static inline void ab_thread_yield(void) { sched_yield(); }
#endif

#endif
