/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From what was embedded to what embeds it: how completions, timers and list entries find their object. */

#include <stddef.h>

/* ptr: the address of the member of a struct type. */
#define CONTAINER_OF(ptr, type, member)                                 \
        ({                                                              \
                __typeof__(((type *) 0)->member) *_member = (ptr);      \
                (type *) (((char *) _member) - offsetof(type, member)); \
        })
