/* wake_windows.c: an event that stays set until it is reset; see wake.h. */
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "engine.h"
#include "wake.h"

static HANDLE event_of(const ab_wake *wake) { return (HANDLE)wake->handles[0]; }

int ab_wake_init(ab_wake *wake) {
    atomic_init(&wake->armed, 0);
    wake->handles[0] = (intptr_t)CreateEventW(NULL, TRUE, FALSE, NULL);
    return wake->handles[0] == 0 ? -AB_ENOMEM : 0;
}

void ab_wake_deinit(ab_wake *wake) { CloseHandle(event_of(wake)); }
void ab_wake_signal(ab_wake *wake) { SetEvent(event_of(wake)); }
void ab_wake_clear(ab_wake *wake) { ResetEvent(event_of(wake)); }

int ab_wake_sleep(const ab_wake *wake, int32_t milliseconds) {
    return WaitForSingleObject(event_of(wake), milliseconds < 0 ? INFINITE : (DWORD)milliseconds) == WAIT_OBJECT_0;
}

int ab_wake_descriptor(const ab_wake *wake) {
    (void)wake;
    return -1;
}
#else
typedef int ab_wake_windows_is_empty; /* ISO C wants a declaration in every file */
#endif
