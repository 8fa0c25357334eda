/* format.c: see format.h. Checks first and prints second would read the format twice; here one pass does both, and what was
 * printed before an error is dropped. */
#include "format.h"

#include <string.h>

#include "memory.h"

#define STRING_MAX 512 /* as much as Linux copies for a string argument */

typedef struct printer {
    char *out;
    uint64_t size;
    uint64_t length;
} printer;

/* [0 +-]*[1-9][0-9]* between % and the conversion. */
typedef struct field {
    int zero, left, plus, space;
    uint32_t width;
} field;

static void put(printer *to, char c) {
    if (to->length + 1 < to->size) to->out[to->length] = c;
    to->length++;
}

static void pad(printer *to, char c, uint32_t width, uint64_t taken) {
    for (uint64_t i = taken; i < width; i++) put(to, c);
}

static void put_text(printer *to, const field *how, const char *text, uint64_t length) {
    if (!how->left) pad(to, ' ', how->width, length);
    for (uint64_t i = 0; i < length; i++) put(to, text[i]);
    if (how->left) pad(to, ' ', how->width, length);
}

static uint32_t digits_of(uint64_t number, uint32_t base, int upper, char text[20]) {
    char reversed[20];
    uint32_t count = 0;
    do {
        uint32_t digit = (uint32_t)(number % base);
        reversed[count++] = (char)(digit < 10 ? '0' + digit : (upper ? 'A' : 'a') + digit - 10);
        number /= base;
    } while (number != 0);
    for (uint32_t i = 0; i < count; i++) text[i] = reversed[count - 1 - i];
    return count;
}

static void put_number(printer *to, const field *how, uint64_t number, char sign, uint32_t base, int upper) {
    char digits[20];
    uint32_t count = digits_of(number, base, upper, digits);
    uint64_t taken = count + (sign != 0);
    if (!how->left && !how->zero) pad(to, ' ', how->width, taken);
    if (sign) put(to, sign);
    if (!how->left && how->zero) pad(to, '0', how->width, taken);
    for (uint32_t i = 0; i < count; i++) put(to, digits[i]);
    if (how->left) pad(to, ' ', how->width, taken);
}

static void put_signed(printer *to, const field *how, int64_t number) {
    char sign = number < 0 ? '-' : how->plus ? '+' : how->space ? ' ' : 0;
    put_number(to, how, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, sign, 10, 0);
}

static void put_string(printer *to, const field *how, uint64_t address, ab_slot *slot) {
    char text[STRING_MAX];
    int64_t copied = ab_memory_read_string(slot, address, text, sizeof text);
    put_text(to, how, text, copied > 0 ? (uint64_t)copied - 1 : 0);
}

/* %p and its kin: all 16 digits. Linux hashes what %p prints, to hide where the kernel is; here nobody is to be kept from it. */
static void put_pointer(printer *to, const field *how, uint64_t address) {
    field wide = *how;
    if (wide.width == 0) {
        wide.width = 16;
        wide.zero = 1;
    }
    put_number(to, &wide, address, 0, 16, 0);
}

/* %pS and its kin would name a kernel symbol; there are none here, so they print what Linux prints for an unknown address. */
static void put_symbol(printer *to, const field *how, uint64_t address) {
    char text[22] = "0x";
    uint32_t count = digits_of(address, 16, 0, text + 2);
    put_text(to, how, text, 2 + count);
}

/* %pI4 1.2.3.4, %pi4 001.002.003.004, %pI6 with a colon after every four digits, %pi6 without. */
static void put_ip(printer *to, const field *how, uint64_t address, int v6, int compact, ab_slot *slot) {
    uint8_t bytes[16] = {0};
    char text[40];
    uint32_t length = 0;
    if (ab_memory_read(slot, address, bytes, v6 ? 16 : 4) != 0) memset(bytes, 0, sizeof bytes);
    for (uint32_t i = 0; i < (v6 ? 16u : 4u); i++) {
        if (v6) {
            if (!compact && i > 0 && i % 2 == 0) text[length++] = ':';
            text[length++] = "0123456789abcdef"[bytes[i] >> 4];
            text[length++] = "0123456789abcdef"[bytes[i] & 15];
        } else {
            char digits[20];
            uint32_t count = digits_of(bytes[i], 10, 0, digits);
            if (i > 0) text[length++] = '.';
            for (uint32_t zeros = count; compact && zeros < 3; zeros++) text[length++] = '0';
            for (uint32_t j = 0; j < count; j++) text[length++] = digits[j];
        }
    }
    put_text(to, how, text, length);
}

static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static int is_printable(char c) { return c >= ' ' && c <= '~'; }
static int is_letter_or_digit(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'); }
/* What may follow a bare %p or %s. */
static int ends_conversion(char c) { return c == 0 || is_space(c) || (is_printable(c) && !is_letter_or_digit(c)); }

static const char *read_field(const char *at, field *how) {
    memset(how, 0, sizeof *how);
    for (;; at++) {
        if (*at == '0') how->zero = 1;
        else if (*at == '-') how->left = 1;
        else if (*at == '+') how->plus = 1;
        else if (*at == ' ') how->space = 1;
        else break;
    }
    for (; *at >= '0' && *at <= '9'; at++) {
        if (how->width < 100000) how->width = how->width * 10 + (uint32_t)(*at - '0');
    }
    return at;
}

/* Prints what stands at the p. Returns the last character of the conversion, or NULL. As in Linux, what is followed into memory
 * ignores the field's width. */
static const char *print_pointer(printer *to, const char *at, const field *how, uint64_t argument, ab_slot *slot) {
    static const field bare;
    char kind = at[1];
    if (ends_conversion(kind)) {
        put_pointer(to, how, argument);
        return at;
    }
    if ((kind == 'k' || kind == 'u') && at[2] == 's') {
        if (!ends_conversion(at[3])) return NULL;
        put_string(to, &bare, argument, slot);
        return at + 2;
    }
    if (kind == 'K' || kind == 'x') {
        put_pointer(to, how, argument);
        return at + 1;
    }
    if (kind == 's' || kind == 'S' || kind == 'B') {
        put_symbol(to, how, argument);
        return at + 1;
    }
    if ((kind == 'i' || kind == 'I') && (at[2] == '4' || at[2] == '6')) {
        put_ip(to, &bare, argument, at[2] == '6', kind == 'i', slot);
        return at + 2;
    }
    return NULL;
}

/* Letters and digits behind a pointer's conversion belong to it, as in Linux. */
static const char *convert_pointer(printer *to, const char *at, const field *how, uint64_t argument, ab_slot *slot) {
    at = print_pointer(to, at, how, argument, slot);
    while (at != NULL && is_letter_or_digit(at[1])) at++;
    return at;
}

static const char *convert_integer(printer *to, const char *at, const field *how, uint64_t argument) {
    int wide = *at == 'l';
    if (*at == 'l') at++;
    if (*at == 'l') at++;
    switch (*at) {
        case 'd':
        case 'i': put_signed(to, how, wide ? (int64_t)argument : (int32_t)argument); return at;
        case 'u': put_number(to, how, wide ? argument : (uint32_t)argument, 0, 10, 0); return at;
        case 'x':
        case 'X': put_number(to, how, wide ? argument : (uint32_t)argument, 0, 16, *at == 'X'); return at;
        default: return NULL;
    }
}

/* `at` stands behind the %. Returns the last character of the conversion, or NULL when Linux would refuse it. */
static const char *convert(printer *to, const char *at, uint64_t argument, ab_slot *slot) {
    field how;
    at = read_field(at, &how);
    if (*at == 'p') return convert_pointer(to, at, &how, argument, slot);
    if (*at == 's') {
        if (!ends_conversion(at[1])) return NULL;
        put_string(to, &how, argument, slot);
        return at;
    }
    if (*at == 'c') {
        char c = (char)argument;
        put_text(to, &how, &c, 1);
        return at;
    }
    return convert_integer(to, at, &how, argument);
}

int64_t ab_format(
    char *out, uint64_t size, const char *format, uint64_t format_size, const uint64_t *arguments, uint32_t count, uint32_t *used,
    ab_slot *slot) {
    printer to = {out, size, 0};
    *used = 0;
    if (size > 0) out[0] = 0;
    if (format_size == 0 || memchr(format, 0, (size_t)format_size) == NULL) return -AB_EINVAL;
    for (const char *at = format; *at != 0; at++) {
        if ((uint8_t)*at < 0x80 && !is_printable(*at) && !is_space(*at)) return -AB_EINVAL;
        if (*at != '%') {
            put(&to, *at);
        } else if (at[1] == '%') {
            put(&to, *at++);
        } else {
            if (*used >= count) return -AB_EINVAL;
            at = convert(&to, at + 1, arguments[(*used)++], slot);
            if (at == NULL) return -AB_EINVAL;
        }
    }
    if (size > 0) out[to.length < size ? to.length : size - 1] = 0;
    return (int64_t)to.length;
}
