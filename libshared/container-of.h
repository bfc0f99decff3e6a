/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From what was embedded to what embeds it: how completions, timers and list entries find their object. */

#include <stddef.h>

/* ptr: the address of the member of a struct type. */
#define CONTAINER_OF(ptr, type, member) ((type *) (((char *) (ptr)) - offsetof(type, member)))
