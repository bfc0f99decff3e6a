/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a frontend leaves to its successor in the next worker: the connection itself, and what the two ends of it have agreed on, to the byte. */

#include <stdbool.h>

#include "cleanup.h"
#include "nbd.h"

#define LEGACIES_MAX 65U /* the clients, and the kernel */

struct legacy {
        int fd;
        bool kernel;
        bool handshake;   /* the client has not chosen an export yet; then ... */
        bool flags_known; /* ... its flags have come */
        unsigned n_options;
        bool structured, writes;
        uint32_t client_flags;
        struct nbd_export export;
        uint32_t skip; /* data of a refused write, at the beginning of input or still to come */
        uint8_t *
                input; /* what the successor reads before the socket: requests that have no answer yet, in order, and the beginning of the next */
        size_t n_input;
        uint8_t *output; /* what it sends before anything else: answers, or the rest of one */
        size_t n_output;
};

/* Closes and frees what it still owns. */
void legacy_done(struct legacy *legacy);

/* As many as n, and the array. */
struct legacies {
        size_t n;
        struct legacy items[LEGACIES_MAX];
};

struct legacies *legacies_free(struct legacies *legacies);
DEFINE_CLEANUP(struct legacies *, legacies_free);
