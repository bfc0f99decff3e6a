/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How far an import has come, kept over the end of everything: what --resume goes by. */

#include <stdint.h>

struct transfer_record {
        char uuid[37];        /* of the image that is being filled */
        char format[8];       /* of the file */
        uint64_t size;        /* bytes of content */
        uint64_t done;        /* bytes from the beginning that are in the store for good */
        uint64_t file_size;   /* bytes */
        int64_t changed_usec; /* when the file was changed last, µs since 1970 */
};

/* name: the local name of the transfer. Return 0 or a negative errno: -ENOENT when there is none, -EBADMSG for one that cannot be understood. */
int transfer_record_write(const char *name, const struct transfer_record *record);
int transfer_record_read(const char *name, struct transfer_record *ret);
int transfer_record_remove(const char *name);
