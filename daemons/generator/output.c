/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Nothing is overwritten: the directories are new at each run, and what another generator has put there is not ours. A drop-in may get several parts, since a unit can be named by several lines. */

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "output.h"

#define UNIT_DIRECTORY "/usr/lib/systemd/system"

static _printf_(3, 0) int print(const char *path, int flags, const char *format, va_list ap) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0644);
        int r;

        if (fd < 0)
                return -errno;
        r = vdprintf(fd, format, ap) < 0 ? -errno : 0;
        if (close(TAKE_FD(fd)) < 0 && r >= 0)
                r = -errno;
        return r;
}

static int make_directory(char *path, size_t size, const char *directory, const char *unit, const char *kind) {
        int n = snprintf(path, size, "%s/%s.%s", directory, unit, kind);

        if (n < 0 || (size_t) n >= size)
                return -ENAMETOOLONG;
        return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int output_unit(const char *directory, const char *name, const char *format, ...) {
        char path[PATH_MAX];
        va_list ap;
        int r;

        if ((size_t) snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path))
                return -ENAMETOOLONG;
        va_start(ap, format);
        r = print(path, O_EXCL, format, ap);
        va_end(ap);
        return r;
}

int output_dropin(const char *directory, const char *unit, const char *format, ...) {
        char path[PATH_MAX];
        size_t n;
        va_list ap;
        int r;

        r = make_directory(path, sizeof(path), directory, unit, "d");
        if (r < 0)
                return r;
        n = strlen(path);
        if ((size_t) snprintf(path + n, sizeof(path) - n, "/50-blockstore.conf") >= sizeof(path) - n)
                return -ENAMETOOLONG;
        va_start(ap, format);
        r = print(path, O_APPEND, format, ap);
        va_end(ap);
        return r;
}

int output_wants(const char *directory, const char *unit, const char *wanted, const char *instance_of) {
        char path[PATH_MAX], target[PATH_MAX];
        size_t n;
        int r;

        r = make_directory(path, sizeof(path), directory, unit, "wants");
        if (r < 0)
                return r;
        n = strlen(path);
        if ((size_t) snprintf(path + n, sizeof(path) - n, "/%s", wanted) >= sizeof(path) - n ||
                (size_t) snprintf(target, sizeof(target), UNIT_DIRECTORY "/%s", instance_of ?: wanted) >=
                        sizeof(target))
                return -ENAMETOOLONG;
        return symlink(target, path) < 0 && errno != EEXIST ? -errno : 0;
}

char *output_specifiers_escape(const char *text) {
        char *escaped = malloc(strlen(text) * 2 + 1), *out = escaped;

        if (!escaped)
                return NULL;
        for (; *text; text++) {
                if (*text == '%')
                        *out++ = '%';
                *out++ = *text;
        }
        *out = 0;
        return escaped;
}
