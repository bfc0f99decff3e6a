/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files of one line an entry: imagetab, fstab, crypttab. Fields are separated by blanks and tabs; a line that begins with '#' is a comment. */

#include <stdbool.h>
#include <stddef.h>

#define TABLE_FIELDS_MAX 6U
#define TABLE_LINE_MAX   8192U /* bytes */
#define TABLE_LINES_MAX  16384U

struct table_line {
        const char *file;
        unsigned line;
        char *fields[TABLE_FIELDS_MAX]; /* without octal escapes; "" where the line has fewer */
        size_t n_fields;                /* more than TABLE_FIELDS_MAX: there were others */
};

/* Calls entry for each line that is one. What cannot be an entry (too long, a control character behind an escape) is complained of and passed over. Returns 0, also when there is no such file, or a negative errno
 * when it cannot be read. */
int table_file_read(const char *file, void (*entry)(void *userdata, const struct table_line *line), void *userdata);

/* Takes the next of comma-separated options, NULL at the end. The text is changed. Empty ones are passed over. */
char *table_option_next(char **text);

/* Whether an option stands in the text: as a word, or, if name ends with '=', as the beginning of one. */
bool table_options_have(const char *text, const char *name);
