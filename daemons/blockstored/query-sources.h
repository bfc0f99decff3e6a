/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a query worker reads when it starts, and never again: the host's settings, and the password that was passed to it. */

#include <stdbool.h>
#include <stdint.h>

#include "credential-stores.h"

#define QUERY_SOURCES_MAX (1U + 2U * CREDENTIAL_STORES_N)

/* Device, inode, size, times of modification and of change in ns, of each file; all zero where there is none. */
struct query_sources {
        uint64_t files[QUERY_SOURCES_MAX][5];
};

/* How they are now. root: in front of the credential stores' paths, "" but for tests. */
void query_sources_look(const char *root, struct query_sources *ret);

bool query_sources_equal(const struct query_sources *a, const struct query_sources *b);
