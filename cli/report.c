/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every error a user of the command line sees is made here: which thing, why, and what to do. The cause comes from
 * where it was noticed (the daemons' messages are sentences); the advice depends only on the kind of failure and
 * stands in one table. */

#include <stdarg.h>
#include <string.h>

#include "output.h"
#include "report.h"

#define MESSAGE_MAX 2048U
#define UNKNOWN     "org.freedesktop.DBus.Error.Unknown" /* Method, Interface */

/* "NAME" in an advice becomes the subject; without a subject it stays what it is: a word that stands for one. */
static const struct {
        enum failure failure;
        const char *advice;
} advices[] = {
        { FAILURE_PROTOCOL, "Is it a proxy that was asked? See: journalctl -u 'image@*' -u 'blockstore-query@*'" },
        { FAILURE_NO_SUCH_IMAGE, "See what there is: blockstorectl list" },
        { FAILURE_NOT_ATTACHED, "See what is attached: blockstorectl list --local" },
        { FAILURE_NO_PROXY, "See which proxies are known: blockstorectl proxies (\"proxies\" in "
                            "/etc/blockstore/blockstore.json)" },
        { FAILURE_INTERNAL, "See: journalctl -u blockstored -u 'image@*'" },
        { FAILURE_SYSTEM,
                "See what is missing, and what mends it: blockstorectl doctor; and: systemctl status blockstored" },
        { FAILURE_BUSY, "Try again when nobody uses it any more. See what is in use: blockstorectl list" },
        { FAILURE_ALREADY_EXISTS, "See what there is: blockstorectl list" },
        { FAILURE_IO, "See the log of the proxy, and: journalctl -u 'image@*' -u 'blockstore-query@*'" },
        { FAILURE_HELD, "Detach it there first; if that host is gone for good: blockstorectl attach --steal NAME" },
        { FAILURE_TIMEOUT, "It may go on in the background: blockstorectl status NAME" },
        { FAILURE_ACCESS_DENIED, "On this host polkit decides (root may). In the store it is the rights of \"user\" "
                                 "in blockstore.json, "
                                 "whose password is the credential: /etc/credstore/blockstore.default" },
        { FAILURE_CONFIGURATION, "Correct the file that is named and try again" },
};

static const char *advice_find(enum failure failure) {
        for (unsigned i = 0; i < ELEMENTSOF(advices); i++)
                if (advices[i].failure == failure)
                        return advices[i].advice;

        return NULL;
}

static void advice_print(enum failure failure, const char *subject) {
        const char *advice, *mark;

        /* A wrong command line is answered with the help that fits. */
        if (failure == FAILURE_USAGE) {
                fprintf(stderr, "See: blockstorectl help%s%s\n", subject ? " " : "", subject ? subject : "");
                return;
        }

        advice = advice_find(failure);
        if (!advice)
                return;

        mark = subject ? strstr(advice, "NAME") : NULL;
        if (!mark) {
                fprintf(stderr, "%s\n", advice);
                return;
        }

        fprintf(stderr, "%.*s", (int) (mark - advice), advice);
        output_text(stderr, subject);
        fprintf(stderr, "%s\n", mark + strlen("NAME"));
}

/* One message, one full stop, whether or not it came with one. */
static void message_print(const char *message) {
        size_t n = strlen(message);

        fputs(output_color(stderr, COLOR_RED), stderr);
        fputs("blockstorectl: ", stderr);
        output_text(stderr, message);
        if (n == 0 || !strchr(".?!\n", message[n - 1]))
                fputc('.', stderr);
        fputs(output_color(stderr, COLOR_NONE), stderr);
        fputc('\n', stderr);
}

int report(enum failure failure, const char *subject, const char *format, ...) {
        char message[MESSAGE_MAX];
        va_list ap;

        va_start(ap, format);
        vsnprintf(message, sizeof message, format, ap);
        va_end(ap);

        message_print(message);
        advice_print(failure, subject);

        return (int) failure;
}

int report_plain(enum failure failure, const char *format, ...) {
        char message[MESSAGE_MAX];
        va_list ap;

        va_start(ap, format);
        vsnprintf(message, sizeof message, format, ap);
        va_end(ap);

        message_print(message);
        return (int) failure;
}

int report_bus(const char *action, const char *subject, const sd_bus_error *error, int r) {
        enum failure failure;
        const char *cause;

        if (sd_bus_error_is_set(error)) {
                failure = failure_from_bus_name(error->name);
                cause = error->message;
        } else {
                failure = r == -ETIMEDOUT ? FAILURE_TIMEOUT : FAILURE_INTERNAL;
                cause = strerror(r < 0 ? -r : EIO);
        }

        if (!cause || !*cause)
                cause = failure_lookup(failure)->description;

        if (failure == FAILURE_SYSTEM && strncmp(error->name, UNKNOWN, strlen(UNKNOWN)) == 0)
                return report(FAILURE_SYSTEM, NULL,
                        "cannot %s: the blockstored that runs is of a version that does not know how (%s). Restart "
                        "it, "
                        "which no image notices: systemctl restart blockstored",
                        action, cause);

        /* Nobody is behind the bus name, and nobody could be started: not a matter of the image. */
        if (failure == FAILURE_SYSTEM && strncmp(error->name, "org.freedesktop.", strlen("org.freedesktop.")) == 0)
                return report(FAILURE_SYSTEM, NULL,
                        "cannot %s: blockstored cannot be reached on the system bus: %.*s. Is the package installed "
                        "and "
                        "D-Bus running?",
                        action, (int) (strlen(cause) - (cause[strlen(cause) - 1] == '.')), cause);

        /* There the subject would be a verb. */
        return report(failure, failure == FAILURE_USAGE ? NULL : subject, "cannot %s: %s", action, cause);
}

void remark(const char *format, ...) {
        char message[MESSAGE_MAX];
        va_list ap;

        va_start(ap, format);
        vsnprintf(message, sizeof message, format, ap);
        va_end(ap);

        output_text(stderr, message);
        fputc('\n', stderr);
}
