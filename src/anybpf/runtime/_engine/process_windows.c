/* process_windows.c: the process on Windows. */
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601
#endif
#include "process.h"

#include <string.h>
#include <windows.h>

#include "engine.h"

#ifdef _MSC_VER
#pragma comment(lib, "advapi32") /* which mingw links by itself */
#endif

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length); /* advapi32's RtlGenRandom */

uint32_t ab_process_id(void) { return GetCurrentProcessId(); }
uint32_t ab_thread_id(void) { return GetCurrentThreadId(); }
uint64_t ab_process_uid_gid(void) { return 0; }

/* The executable's file name, which is what a new process is called on Linux. */
void ab_thread_name(char name[AB_COMM_SIZE]) {
    char path[MAX_PATH + 1] = "";
    GetModuleFileNameA(NULL, path, MAX_PATH);
    const char *last = strrchr(path, '\\');
    last = last == NULL ? path : last + 1;
    size_t length = strlen(last);
    memset(name, 0, AB_COMM_SIZE);
    memcpy(name, last, length < AB_COMM_SIZE ? length : AB_COMM_SIZE - 1);
}

static uint64_t ticks(FILETIME time) { return (uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime; }

uint64_t ab_process_start_key(void) {
    FILETIME created, ended, kernel, user;
    return GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user) ? ticks(created) : 0;
}

uint64_t ab_thread_create_time(void) {
    FILETIME created, ended, kernel, user;
    return GetThreadTimes(GetCurrentThread(), &created, &ended, &kernel, &user) ? ticks(created) : 0;
}

uint64_t ab_process_logon_id(void) {
    HANDLE token;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) return 0;
    TOKEN_STATISTICS statistics;
    DWORD size = sizeof statistics;
    BOOL known = GetTokenInformation(token, TokenStatistics, &statistics, size, &size);
    CloseHandle(token);
    if (!known) return 0;
    return (uint64_t)(uint32_t)statistics.AuthenticationId.HighPart << 32 | statistics.AuthenticationId.LowPart;
}

int32_t ab_process_is_admin(void) {
    SID_IDENTIFIER_AUTHORITY authority = {SECURITY_NT_AUTHORITY};
    PSID administrators;
    BOOL member = FALSE;
    if (!AllocateAndInitializeSid(
            &authority, 2, SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS, 0, 0, 0, 0, 0, 0, &administrators))
        return 0;
    CheckTokenMembership(NULL, administrators, &member);
    FreeSid(administrators);
    return member != FALSE;
}

int32_t ab_user_is_admin(uint32_t uid) {
    (void)uid;
    return -AB_EPERM;
}

uint32_t ab_numa_node(void) {
    PROCESSOR_NUMBER processor;
    USHORT node = 0;
    GetCurrentProcessorNumberEx(&processor);
    return GetNumaProcessorNodeEx(&processor, &node) ? node : 0;
}

int ab_random_bytes(void *out, size_t size) { return SystemFunction036(out, (ULONG)size) ? 0 : -AB_EFAULT; }
#else
typedef int ab_process_windows_is_empty; /* ISO C wants a declaration in every file */
#endif
