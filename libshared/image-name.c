/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* In a file of its own for the generator, which is to need nothing but the C library. */

#include <string.h>

#include "host-config.h"

bool image_local_name_is_valid(const char *name) {
        size_t n = 0;

        if (!name)
                return false;

        for (const char *p = name; *p; p++, n++) {
                bool alphanumeric = (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9');

                if (n >= IMAGE_LOCAL_NAME_MAX || (!alphanumeric && (n == 0 || !strchr("_.:-", *p))))
                        return false;
        }

        return n > 0;
}
