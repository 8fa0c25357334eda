/* inttypes.h: fixed-width types, by the C library's other name; the print formats have no use here. */
#include <stdint.h>
