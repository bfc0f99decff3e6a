/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sd-bus has an escaping of its own for object paths and libsystemd none for units, so this is the one of systemd.unit(5): '/' is '-', letters, digits, ':', '_' and '.' stay (a leading '.' does not),
 * everything else is \xNN. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unit-name.h"

#define UNIT_NAME_SIZE 256U

static bool stays(char c, bool first) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':' || c == '_' ||
               (c == '.' && !first);
}

static int escape(const char *text, const char *suffix, char *name, size_t size) {
        char buffer[UNIT_NAME_SIZE];
        size_t used = 0;

        for (const char *p = text; *p; p++) {
                if (used + sizeof("\\xNN") > sizeof(buffer))
                        return -ENAMETOOLONG;
                if (*p == '/')
                        buffer[used++] = '-';
                else if (stays(*p, p == text))
                        buffer[used++] = *p;
                else
                        used += (size_t) snprintf(
                                buffer + used, sizeof(buffer) - used, "\\x%02x", (unsigned) (unsigned char) *p);
        }

        if (used + strlen(suffix) >= sizeof(buffer) || used + strlen(suffix) >= size)
                return -ENAMETOOLONG;
        memcpy(name, buffer, used);
        strcpy(name + used, suffix);
        return 0;
}

int unit_name_escape(const char *text, char *name, size_t size) {
        return escape(text, "", name, size);
}

int unit_name_from_path(const char *path, const char *suffix, char *name, size_t size) {
        char plain[4096];
        size_t used = 0;

        if (path[0] != '/')
                return -EINVAL;

        while (*path) {
                size_t n;

                path += strspn(path, "/");
                n = strcspn(path, "/");
                if (n == 0)
                        break;
                if ((n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
                        return -EINVAL;
                if (used + n + 2 > sizeof(plain))
                        return -ENAMETOOLONG;
                if (used > 0)
                        plain[used++] = '/';
                memcpy(plain + used, path, n);
                used += n;
                path += n;
        }
        plain[used] = 0;

        return escape(used > 0 ? plain : "/", suffix, name, size);
}
