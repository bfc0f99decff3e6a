/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Values that occur in many places: strings, switches, numbers, times and sizes, from JSON and from a command line. Numbers with a unit are
 * calculated exactly in 128 bits, so that "1.5G" is neither a float's opinion nor an overflow. */

#include <limits.h>
#include <string.h>

#include "config.h"

#define STRING_MAX          4096
#define FRACTION_DIGITS_MAX 9U

#define USEC_PER_MSEC       UINT64_C(1000)
#define USEC_PER_SEC        UINT64_C(1000000)

struct unit {
        const char *name;
        uint64_t factor;
};

/* Month and year are left out: nobody waits so long, and their length is not certain. */
static const struct unit time_units[] = {
        { "us", 1 },
        { "usec", 1 },
        { "\u00b5s", 1 },
        { "\u03bcs", 1 },
        { "ms", USEC_PER_MSEC },
        { "msec", USEC_PER_MSEC },
        { "s", USEC_PER_SEC },
        { "sec", USEC_PER_SEC },
        { "m", 60 * USEC_PER_SEC },
        { "min", 60 * USEC_PER_SEC },
        { "h", 3600 * USEC_PER_SEC },
        { "d", 86400 * USEC_PER_SEC },
        { NULL, 0 },
};

/* "GB" is missing on purpose: to some it is a power of 1000, and a device of the wrong size is worse than a question. */
static const struct unit size_units[] = {
        { "B", 1 },
        { "K", UINT64_C(1) << 10 },
        { "KiB", UINT64_C(1) << 10 },
        { "M", UINT64_C(1) << 20 },
        { "MiB", UINT64_C(1) << 20 },
        { "G", UINT64_C(1) << 30 },
        { "GiB", UINT64_C(1) << 30 },
        { "T", UINT64_C(1) << 40 },
        { "TiB", UINT64_C(1) << 40 },
        { "P", UINT64_C(1) << 50 },
        { "PiB", UINT64_C(1) << 50 },
        { "E", UINT64_C(1) << 60 },
        { "EiB", UINT64_C(1) << 60 },
        { NULL, 0 },
};

struct decimal {
        uint64_t whole;
        uint64_t fraction; /* in units of 1 / scale */
        uint64_t scale;
};

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* "12" or "12.5" at *p, which is moved behind it. */
static int take_decimal(const char **p, struct decimal *ret) {
        struct decimal d = { .scale = 1 };
        const char *s = *p;
        unsigned digits = 0;

        if (!is_digit(*s))
                return -EINVAL;

        for (; is_digit(*s); s++)
                if (__builtin_mul_overflow(d.whole, 10, &d.whole) ||
                        __builtin_add_overflow(d.whole, (unsigned) (*s - '0'), &d.whole))
                        return -ERANGE;

        if (*s == '.') {
                s++;
                if (!is_digit(*s))
                        return -EINVAL;
                for (; is_digit(*s); s++) {
                        if (++digits > FRACTION_DIGITS_MAX)
                                return -EINVAL;
                        d.fraction = d.fraction * 10 + (unsigned) (*s - '0');
                        d.scale *= 10;
                }
        }

        *ret = d;
        *p = s;
        return 0;
}

static const char *skip_space(const char *p) {
        return p + strspn(p, " \t");
}

/* The longest unit at *p, which is moved behind it. Returns its factor, or 0. */
static uint64_t take_unit(const char **p, const struct unit *units) {
        size_t longest = 0;
        uint64_t factor = 0;

        for (const struct unit *unit = units; unit->name; unit++) {
                size_t n = strlen(unit->name);

                if (n > longest && strncmp(*p, unit->name, n) == 0) {
                        longest = n;
                        factor = unit->factor;
                }
        }

        *p += longest;
        return factor;
}

/* What is left of a fraction below one is dropped. */
static int multiply(const struct decimal *d, uint64_t factor, uint64_t *ret) {
        unsigned __int128 v =
                (unsigned __int128) d->whole * factor + (unsigned __int128) d->fraction * factor / d->scale;

        if (v >= UINT64_MAX)
                return -ERANGE;

        *ret = (uint64_t) v;
        return 0;
}

int size_parse(const char *text, uint64_t *ret) {
        const char *p = skip_space(text);
        struct decimal d;
        uint64_t factor = 1;
        int r;

        r = take_decimal(&p, &d);
        if (r < 0)
                return r;

        p = skip_space(p);
        if (*p) {
                factor = take_unit(&p, size_units);
                if (factor == 0 || *skip_space(p))
                        return -EINVAL;
        }
        if (factor == 1 && d.scale > 1)
                return -EINVAL;

        return multiply(&d, factor, ret);
}

int time_parse(const char *text, uint64_t *ret_usec) {
        const char *p = skip_space(text);
        uint64_t sum = 0;
        bool first = true;
        int r;

        if (strncmp(p, "infinity", strlen("infinity")) == 0) {
                if (*skip_space(p + strlen("infinity")))
                        return -EINVAL;
                *ret_usec = UINT64_MAX;
                return 0;
        }

        do {
                struct decimal d;
                uint64_t factor, part;

                r = take_decimal(&p, &d);
                if (r < 0)
                        return r;

                p = skip_space(p);
                factor = take_unit(&p, time_units);
                if (factor == 0) {
                        /* Seconds need no unit, where nothing else stands. */
                        if (!first || *p)
                                return -EINVAL;
                        factor = USEC_PER_SEC;
                }

                r = multiply(&d, factor, &part);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, part, &sum) || sum == UINT64_MAX)
                        return -ERANGE;

                p = skip_space(p);
                first = false;
        } while (*p);

        *ret_usec = sum;
        return 0;
}

/* The string of a value, or NULL when it is none that a setting could hold. */
static const char *plain_string(struct json_object *value) {
        const char *s;
        int n;

        if (!json_object_is_type(value, json_type_string))
                return NULL;

        s = json_object_get_string(value);
        n = json_object_get_string_len(value);
        if (n > STRING_MAX)
                return NULL;
        for (int i = 0; i < n; i++)
                if ((uint8_t) s[i] < 0x20 || s[i] == 0x7f || ((uint8_t) s[i] == 0xc2 && (uint8_t) s[i + 1] < 0xa0))
                        return NULL;

        return s;
}

int config_handle_string(struct config_context *context, struct json_object *value, void *userdata) {
        const char *s = plain_string(value);
        char **target = userdata, *copy;

        if (!s)
                return config_refuse(
                        context, value, "a string of at most %d bytes without control characters", STRING_MAX);

        copy = strdup(s);
        if (!copy)
                return -ENOMEM;

        free(*target);
        *target = copy;
        return 0;
}

int config_handle_bool(struct config_context *context, struct json_object *value, void *userdata) {
        bool *target = userdata;

        if (!json_object_is_type(value, json_type_boolean))
                return config_refuse(context, value, "true or false");

        *target = json_object_get_boolean(value);
        return 0;
}

/* A whole number below 2^63: above it json-c clamps without a word. */
static bool whole_number(struct json_object *value, uint64_t *ret) {
        int64_t v;

        if (!json_object_is_type(value, json_type_int))
                return false;

        v = json_object_get_int64(value);
        if (v < 0 || v == INT64_MAX)
                return false;

        *ret = (uint64_t) v;
        return true;
}

int config_handle_unsigned(struct config_context *context, struct json_object *value, void *userdata) {
        unsigned *target = userdata;
        uint64_t v;

        if (!whole_number(value, &v) || v > UINT_MAX)
                return config_refuse(context, value, "a whole number from 0 to %u", UINT_MAX);

        *target = (unsigned) v;
        return 0;
}

int config_handle_time(struct config_context *context, struct json_object *value, void *userdata) {
        const char *s = plain_string(value);
        uint64_t *target = userdata, v;

        if (s ? time_parse(s, &v) < 0 : !whole_number(value, &v) || __builtin_mul_overflow(v, USEC_PER_SEC, &v))
                return config_refuse(context, value,
                        "a time: seconds as a whole number, or a string as \"30s\", \"150ms\", \"2min\" or "
                        "\"infinity\"");

        *target = v;
        return 0;
}

int config_handle_size(struct config_context *context, struct json_object *value, void *userdata) {
        const char *s = plain_string(value);
        uint64_t *target = userdata, v;

        if (s ? size_parse(s, &v) < 0 : !whole_number(value, &v))
                return config_refuse(context, value,
                        "a size: bytes as a whole number, or a string as \"64M\" or \"10G\" (powers of 1024)");

        *target = v;
        return 0;
}
