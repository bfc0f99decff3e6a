/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "cli.h"
#include "json-object.h"

/* All that blockstorectl prints goes through here: colours, sizes, tables, JSON. */

enum color {
        COLOR_NONE, /* back to normal */
        COLOR_RED,
        COLOR_GREEN,
        COLOR_YELLOW,
        COLOR_GREY,
        COLOR_BOLD,
};

/* The escape sequence, or "" where colours are not wanted: not a terminal, NO_COLOR set, TERM=dumb. */
const char *output_color(FILE *file, enum color color);

/* Green for a state in which the image works, red for a failure, yellow for what is on its way. */
enum color state_color(const char *state);

/* Text that came from elsewhere: control characters (an image's name is the store's, a reason may quote a proxy)
 * become '?', so that none reaches the terminal. */
void output_text(FILE *file, const char *text);

/* What the locale can show. */
bool output_is_utf8(void);

/* The plain character where the locale is not UTF-8. */
const char *output_bullet(void);

#define FORMAT_MAX 32U

/* "512", "64M", "1.5G": powers of 1024, rounded to one decimal; what size_parse() reads. Returns buffer. */
const char *format_size(char buffer[static FORMAT_MAX], uint64_t bytes);
/* "350us", "1.2ms", "3.4s". Returns buffer. */
const char *format_usec(char buffer[static FORMAT_MAX], uint64_t usec);

/* "45s", "12min", "3h 5min", "2d 4h": the two largest units. Returns buffer. */
const char *format_duration(char buffer[static FORMAT_MAX], uint64_t seconds);

enum column_kind {
        COLUMN_TEXT,
        COLUMN_STATE, /* text in its colour */
        COLUMN_NUMBER,
        COLUMN_SIZE, /* bytes */
        COLUMN_USEC, /* 0 is unknown */
        COLUMN_YES,  /* a boolean */
        COLUMN_LIST, /* an array of text */
};

/* One column of a table is one member of the objects that are its rows. What is missing, null or "" prints as "-". */
struct column {
        const char *title;
        const char *key;
        enum column_kind kind;
};

/* Prints rows, an array of objects, as a table, or as the JSON it is when that is asked for. Returns 0 or -ENOMEM. */
int output_table(const struct cli *cli, const struct column *columns, unsigned n_columns, struct json_object *rows);

/* Prints value when JSON is asked for. Returns whether it did. */
bool output_json(const struct cli *cli, struct json_object *value);

/* 0, or a negative errno when something of the output could not be written. */
int output_flush(void);
