/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* "HOST:PORT" to a socket address, without blocking the ring. */

#include <stdbool.h>
#include <sys/socket.h>

#include "ring.h"

struct resolve_lookup;

struct resolve {
        struct ring_op op;
        void (*done)(struct resolve *resolve, int error, const struct sockaddr_storage *address, socklen_t size);
        struct resolve_lookup *lookup; /* not NULL: under way */
        int fd;
        uint64_t counter;
};

/* address: as address_normalise() gives it. A numeric address is answered at once: returns 1 with the outputs set. Otherwise returns 0 and done() follows: error is 0 or a
 * negative errno. resolve must stay in place until then. Or a negative errno. */
int resolve_start(struct resolve *resolve, struct ring *ring, const char *address,
        void (*done)(struct resolve *resolve, int error, const struct sockaddr_storage *address, socklen_t size),
        struct sockaddr_storage *ret_address, socklen_t *ret_size);
/* done() comes soon, with -ECANCELED, if a lookup is under way. */
void resolve_cancel(struct resolve *resolve, struct ring *ring);
