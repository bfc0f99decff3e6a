/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one place that knows what output looks like. A table's rows are the very JSON objects that --json prints, so the
 * two cannot tell different things; JSON keeps bytes and microseconds as numbers, and only the table rounds them for
 * people. */

#include <inttypes.h>
#include <langinfo.h>
#include <string.h>

#include "output.h"

#define CELL_MAX 300U /* a store's name has up to 255 bytes */

static bool colors_wanted(FILE *file) {
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

        /* NO_COLOR counts when it is set and not empty (no-color.org). */
        if (no_color && *no_color)
                return false;
        if (!term || strcmp(term, "dumb") == 0)
                return false;

        return isatty(fileno(file));
}

const char *output_color(FILE *file, enum color color) {
        static const char *const sequences[] = {
                [COLOR_NONE] = "\033[0m",
                [COLOR_RED] = "\033[31m",
                [COLOR_GREEN] = "\033[32m",
                [COLOR_YELLOW] = "\033[33m",
                [COLOR_GREY] = "\033[90m",
                [COLOR_BOLD] = "\033[1m",
        };

        return colors_wanted(file) ? sequences[color] : "";
}

enum color state_color(const char *state) {
        static const struct {
                const char *state;
                enum color color;
        } colors[] = {
                { "attached", COLOR_GREEN },
                { "active", COLOR_GREEN },
                { "standby", COLOR_GREEN },
                { "reachable", COLOR_GREEN },
                { "failed", COLOR_RED },
                { "refused", COLOR_RED },
                { "unreachable", COLOR_RED },
                { "draining", COLOR_YELLOW },
                { "attaching", COLOR_YELLOW },
                { "reconnecting", COLOR_YELLOW },
                { "parked", COLOR_YELLOW },
                { "detaching", COLOR_YELLOW },
                { "inactive", COLOR_GREY },
        };

        for (unsigned i = 0; i < ELEMENTSOF(colors); i++)
                if (strcmp(colors[i].state, state) == 0)
                        return colors[i].color;

        return COLOR_NONE;
}

void output_text(FILE *file, const char *text) {
        const unsigned char *t = (const unsigned char *) text;

        for (; *t; t++) {
                if (*t < 0x20 || *t == 0x7f)
                        fputc('?', file);
                else if (t[0] == 0xc2 && t[1] >= 0x80 && t[1] <= 0x9f) {
                        /* U+0080 to U+009F, the control characters of the upper half */
                        fputc('?', file);
                        t++;
                } else
                        fputc(*t, file);
        }
}

bool output_is_utf8(void) {
        return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

const char *output_bullet(void) {
        return output_is_utf8() ? "\xe2\x97\x8f" : "*";
}

const char *format_size(char buffer[static FORMAT_MAX], uint64_t bytes) {
        static const char units[] = "KMGTPE";
        unsigned unit = 0;
        uint64_t tenths;

        if (bytes < 1024) {
                snprintf(buffer, FORMAT_MAX, "%" PRIu64, bytes);
                return buffer;
        }

        while (unit < 5 && (bytes >> (10 * (unit + 1))) >= 1024)
                unit++;

        for (;;) {
                unsigned shift = 10 * (unit + 1);
                uint64_t whole = bytes >> shift, rest = bytes & ((UINT64_C(1) << shift) - 1);

                /* Down to 20 bits first: ten times the rest of an exabyte would not fit. */
                if (shift > 20)
                        rest >>= shift - 20;
                tenths = whole * 10 + (rest * 10 + (UINT64_C(1) << ((shift > 20 ? 20 : shift) - 1))) /
                                              (UINT64_C(1) << (shift > 20 ? 20 : shift));

                /* 1023.96K is 1.0M */
                if (tenths < 10240 || unit == 5)
                        break;
                unit++;
        }

        if (tenths % 10 == 0)
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 "%c", tenths / 10, units[unit]);
        else
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10, units[unit]);

        return buffer;
}

const char *format_usec(char buffer[static FORMAT_MAX], uint64_t usec) {
        if (usec < 1000)
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 "us", usec);
        else if (usec < 1000 * 1000)
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 ".%" PRIu64 "ms", usec / 1000, usec / 100 % 10);
        else
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 ".%" PRIu64 "s", usec / 1000000, usec / 100000 % 10);

        return buffer;
}

const char *format_duration(char buffer[static FORMAT_MAX], uint64_t seconds) {
        static const struct {
                const char *unit;
                uint64_t seconds;
        } units[] = { { "d", 86400 }, { "h", 3600 }, { "min", 60 }, { "s", 1 } };
        unsigned i = 0;
        int n;

        while (i + 1 < ELEMENTSOF(units) && seconds < units[i].seconds)
                i++;
        n = snprintf(buffer, FORMAT_MAX, "%" PRIu64 "%s", seconds / units[i].seconds, units[i].unit);
        seconds %= units[i].seconds;
        if (i + 1 < ELEMENTSOF(units) && seconds / units[i + 1].seconds > 0)
                snprintf(buffer + n, FORMAT_MAX - (size_t) n, " %" PRIu64 "%s", seconds / units[i + 1].seconds,
                        units[i + 1].unit);
        return buffer;
}

static const char *list_format(char buffer[static CELL_MAX], struct json_object *array) {
        size_t n = 0;

        buffer[0] = 0;
        for (size_t i = 0; i < json_object_array_length(array) && n + 1 < CELL_MAX; i++)
                n += (size_t) snprintf(buffer + n, CELL_MAX - n, "%s%s", i > 0 ? "," : "",
                        json_object_get_string(json_object_array_get_idx(array, i)));

        return buffer;
}

static void cell_format(char cell[static CELL_MAX], const struct column *column, struct json_object *row) {
        struct json_object *member;
        char buffer[FORMAT_MAX], list[CELL_MAX];
        const char *text = "";

        if (json_object_object_get_ex(row, column->key, &member) && member)
                switch (column->kind) {
                case COLUMN_TEXT:
                case COLUMN_STATE:
                case COLUMN_NUMBER:
                        text = json_object_get_string(member);
                        break;
                case COLUMN_SIZE:
                        text = format_size(buffer, json_object_get_uint64(member));
                        break;
                case COLUMN_USEC:
                        if (json_object_get_uint64(member) > 0)
                                text = format_usec(buffer, json_object_get_uint64(member));
                        break;
                case COLUMN_YES:
                        text = json_object_get_boolean(member) ? "yes" : "no";
                        break;
                case COLUMN_LIST:
                        text = list_format(list, member);
                        break;
                }

        snprintf(cell, CELL_MAX, "%s", *text ? text : "-");
}

/* Columns on the screen: every byte that does not continue a character of UTF-8. */
static unsigned text_width(const char *text) {
        unsigned n = 0;

        for (; *text; text++)
                n += ((unsigned char) *text & 0xc0) != 0x80;

        return n;
}

static bool column_is_right_aligned(const struct column *column) {
        return column->kind == COLUMN_NUMBER || column->kind == COLUMN_SIZE || column->kind == COLUMN_USEC;
}

static void cell_print(const struct column *column, const char *cell, unsigned width, enum color color, bool last) {
        unsigned pad = width - text_width(cell);

        if (column_is_right_aligned(column))
                printf("%*s", (int) pad, "");
        fputs(color == COLOR_NONE ? "" : output_color(stdout, color), stdout);
        output_text(stdout, cell);
        fputs(color == COLOR_NONE ? "" : output_color(stdout, COLOR_NONE), stdout);

        /* No blanks at the end of a line. */
        if (last)
                fputc('\n', stdout);
        else
                printf("%*s  ", column_is_right_aligned(column) ? 0 : (int) pad, "");
}

int output_table(const struct cli *cli, const struct column *columns, unsigned n_columns, struct json_object *rows) {
        _cleanup_free_ unsigned *widths = NULL;
        size_t n = json_object_array_length(rows);
        char cell[CELL_MAX];

        if (output_json(cli, rows))
                return 0;

        widths = calloc(n_columns, sizeof *widths);
        if (!widths)
                return -ENOMEM;

        for (unsigned c = 0; c < n_columns; c++) {
                widths[c] = cli->no_legend ? 0 : text_width(columns[c].title);
                for (size_t i = 0; i < n; i++) {
                        unsigned width;

                        cell_format(cell, columns + c, json_object_array_get_idx(rows, i));
                        width = text_width(cell);
                        if (width > widths[c])
                                widths[c] = width;
                }
        }

        if (!cli->no_legend)
                for (unsigned c = 0; c < n_columns; c++)
                        cell_print(columns + c, columns[c].title, widths[c], COLOR_BOLD, c + 1 == n_columns);

        for (size_t i = 0; i < n; i++)
                for (unsigned c = 0; c < n_columns; c++) {
                        cell_format(cell, columns + c, json_object_array_get_idx(rows, i));
                        cell_print(columns + c, cell, widths[c],
                                columns[c].kind == COLUMN_STATE ? state_color(cell) : COLOR_NONE, c + 1 == n_columns);
                }

        return 0;
}

bool output_json(const struct cli *cli, struct json_object *value) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

        if (cli->json == JSON_OFF)
                return false;
        if (cli->json == JSON_PRETTY)
                flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;

        printf("%s\n", json_object_to_json_string_ext(value, flags));
        return true;
}

int output_flush(void) {
        if (fflush(stdout) != 0)
                return -errno;
        if (ferror(stdout)) {
                errno = EIO;
                return -EIO;
        }

        return 0;
}
