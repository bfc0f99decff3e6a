/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where standard error is the journal, fields go beside the message; where it is something else (a terminal, a test), it is what a person reads, and nothing goes to the
 * journal behind their back. */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <systemd/sd-journal.h>

#include "log.h"

#define FIELDS_MAX   8U
#define FIELD_SIZE   400U
#define MESSAGE_SIZE 2048U

static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        char present[64];
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;

        /* systemd gives device and inode of the stream it made: a variable that was merely inherited does not fit a redirected standard error. */
        snprintf(present, sizeof(present), "%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
        return strcmp(stream, present) == 0;
}

static void make_printable(char *text) {
        for (unsigned char *p = (unsigned char *) text; *p; p++)
                if (*p < 0x20 || *p == 0x7f)
                        *p = '?';
}

static struct iovec write_field(char *buffer, size_t size, const char *name, const char *value) {
        int n = snprintf(buffer, size, "%s=%s", name, value);

        make_printable(buffer);
        return (struct iovec){
                .iov_base = buffer,
                .iov_len = n < 0               ? 0
                           : (size_t) n < size ? (size_t) n
                                               : size - 1,
        };
}

void log_event(int priority, const struct log_field *fields, const char *format, ...) {
        char text[MESSAGE_SIZE], message[MESSAGE_SIZE + 16], buffers[FIELDS_MAX + 1][FIELD_SIZE];
        const char digit[] = { (char) ('0' + (priority & 7)), 0 };
        struct iovec iov[FIELDS_MAX + 2];
        int n_iov = 0, n_buffers = 0, saved = errno;
        va_list ap;

        if (priority > log_get_max_level())
                return;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        make_printable(text);

        if (!stderr_is_journal()) {
                fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
                errno = saved;
                return;
        }

        iov[n_iov++] = write_field(message, sizeof(message), "MESSAGE", text);
        iov[n_iov++] = write_field(buffers[n_buffers++], FIELD_SIZE, "PRIORITY", digit);
        for (; fields && fields->name && n_buffers < (int) ELEMENTSOF(buffers); fields++)
                if (fields->value)
                        iov[n_iov++] = write_field(buffers[n_buffers++], FIELD_SIZE, fields->name, fields->value);

        (void) sd_journal_sendv(iov, n_iov);
        errno = saved;
}
