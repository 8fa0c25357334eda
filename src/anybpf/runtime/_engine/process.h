/* process.h: who runs the program, under one set of names for every operating system. */
#ifndef ANYBPF_PROCESS_H
#define ANYBPF_PROCESS_H

#include <stddef.h>
#include <stdint.h>

#define AB_COMM_SIZE 16 /* bytes of a thread's name, its NUL included (TASK_COMM_LEN) */

uint32_t ab_process_id(void);
uint32_t ab_thread_id(void);
uint64_t ab_process_uid_gid(void);         /* gid << 32 | uid; 0 where users have no numbers */
void ab_thread_name(char name[AB_COMM_SIZE]);
uint64_t ab_process_start_key(void);       /* tells this process from earlier ones with the same id */
uint64_t ab_thread_create_time(void);      /* 100 ns units since 1601, as Windows counts */
uint64_t ab_process_logon_id(void);        /* 0 where there are no logon sessions */
int32_t ab_process_is_admin(void);         /* 1 or 0 */
int32_t ab_user_is_admin(uint32_t uid);    /* 1 or 0; a negative error where users have no numbers */
uint32_t ab_numa_node(void);
int ab_random_bytes(void *out, size_t size); /* from the operating system; 0 or a negative error */

#endif
