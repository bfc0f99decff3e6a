/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* getmntent() would read fstab, but it neither counts lines nor says what it has passed over, and naming file and line is the point of reading them here. */

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "complain.h"
#include "octal-escapes.h"
#include "table-file.h"

static void take_line(char *text, struct table_line *line,
        void (*entry)(void *userdata, const struct table_line *line), void *userdata) {
        static char none[] = "";
        char *state = NULL;

        line->n_fields = 0;
        for (size_t i = 0; i < TABLE_FIELDS_MAX; i++)
                line->fields[i] = none;

        text += strspn(text, " \t");
        if (*text == 0 || *text == '#')
                return;

        for (char *field = strtok_r(text, " \t", &state); field; field = strtok_r(NULL, " \t", &state)) {
                /* Only fstab has them, but a backslash means nothing else in the others. */
                if (!octal_unescape(field)) {
                        complain(LOG_ERR, line->file, line->line, NULL,
                                "A control character cannot be in field %zu; the line is passed over.",
                                line->n_fields + 1);
                        return;
                }
                if (line->n_fields < TABLE_FIELDS_MAX)
                        line->fields[line->n_fields] = field;
                line->n_fields++;
        }
        entry(userdata, line);
}

int table_file_read(const char *file, void (*entry)(void *userdata, const struct table_line *line), void *userdata) {
        _cleanup_fclose_ FILE *stream = fopen(file, "re");
        _cleanup_free_ char *text = NULL;
        struct table_line line = { .file = file };
        size_t allocated = 0;
        ssize_t n;

        if (!stream)
                return errno == ENOENT ? 0 : -errno;

        errno = 0;
        while ((n = getline(&text, &allocated, stream)) >= 0) {
                if (++line.line > TABLE_LINES_MAX) {
                        complain(LOG_ERR, file, line.line, NULL, "More than %u lines; the rest is passed over.",
                                TABLE_LINES_MAX);
                        return 0;
                }
                if ((size_t) n > TABLE_LINE_MAX || strlen(text) != (size_t) n) {
                        complain(LOG_ERR, file, line.line, NULL,
                                "The line has more than %u bytes, or a zero byte; it is passed over.", TABLE_LINE_MAX);
                        continue;
                }
                text[strcspn(text, "\r\n")] = 0;
                take_line(text, &line, entry, userdata);
                errno = 0;
        }
        return ferror(stream) ? (errno > 0 ? -errno : -EIO) : 0;
}

char *table_option_next(char **text) {
        char *option;

        while ((option = strsep(text, ",")))
                if (*option)
                        return option;
        return NULL;
}

bool table_options_have(const char *text, const char *name) {
        size_t n = strlen(name);
        bool begins = n > 0 && name[n - 1] == '=';

        for (const char *p = text; *p; p += strspn(p, ",")) {
                size_t k = strcspn(p, ",");

                if ((k == n || (begins && k > n)) && strncmp(p, name, n) == 0)
                        return true;
                p += k;
        }
        return false;
}
