/* asm/types.h: where old sources look for __u32 and its kin. */
#include <linux/types.h>
