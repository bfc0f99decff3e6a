/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A generator runs before the journal at boot and beside it at each daemon-reload, with a standard error that leads nowhere. It speaks the journal's datagrams by itself: libsystemd would cost more time to load
 * than all the rest of the program takes. */

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "complain.h"

#define IDENTIFIER "blockstore-generator"

static FILE *stand_in;

void complain_to(FILE *file) {
        stand_in = file;
}

static bool to_journal(int priority, const char *file, unsigned line, const char *image, const char *sentence) {
        static const struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char message[2048];
        int n;

        if (fd < 0)
                return false;

        n = snprintf(message, sizeof(message),
                "MESSAGE=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=" IDENTIFIER "\nCONFIG_FILE=%s\nCONFIG_LINE=%u\n%s%s%s",
                sentence, priority, file, line, image ? "IMAGE=" : "", image ? image : "", image ? "\n" : "");
        if (n < 0 || (size_t) n >= sizeof(message))
                return false;
        return sendto(fd, message, (size_t) n, MSG_NOSIGNAL, (const struct sockaddr *) &journal, sizeof(journal)) == n;
}

static bool to_kernel(int priority, const char *sentence) {
        _cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
        char message[1024];
        int n;

        if (fd < 0)
                return false;

        /* The kernel takes lines below 1 KiB. */
        n = snprintf(message, sizeof(message), "<%d>" IDENTIFIER "[%d]: %s\n", LOG_DAEMON | priority, (int) getpid(),
                sentence);
        if (n < 0)
                return false;
        if ((size_t) n >= sizeof(message))
                n = (int) sizeof(message) - 1;
        return write(fd, message, (size_t) n) == n;
}

void complain(int priority, const char *file, unsigned line, const char *image, const char *format, ...) {
        char sentence[900];
        va_list ap;
        int n;

        n = line > 0 ? snprintf(sentence, sizeof(sentence), "%.200s:%u: ", file, line)
                     : snprintf(sentence, sizeof(sentence), "%.200s: ", file);
        if (n < 0)
                return;
        va_start(ap, format);
        (void) vsnprintf(sentence + n, sizeof(sentence) - (size_t) n, format, ap);
        va_end(ap);

        for (char *p = sentence; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 127)
                        *p = '?';

        if (stand_in) {
                fprintf(stand_in, "<%d>%s\n", priority, sentence);
                return;
        }
        if (!to_journal(priority, file, line, image, sentence) && !to_kernel(priority, sentence))
                fprintf(stderr, IDENTIFIER ": %s\n", sentence);
}
