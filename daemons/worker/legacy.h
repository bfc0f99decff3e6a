/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a frontend leaves to its successor in the next worker: the connection itself, and what the two ends of it have agreed on, to the byte. */

#include <stdbool.h>

#include "cleanup.h"
#include "ivbs-hello.h"
#include "ivbs-scram.h"
#include "nbd.h"

#define LEGACIES_MAX     65U /* the clients, and the kernel */
#define LEFT_TICKETS_MAX 8U

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

/* For the successor's first login at that proxy, which then is not the slow one with the password. */
struct left_ticket {
        char proxy[IVBS_PROXY_ADDRESS_MAX + 1];
        size_t n; /* 1 - IVBS_TICKET_MAX */
        uint8_t ticket[IVBS_TICKET_MAX];
        uint8_t key[IVBS_TICKET_KEY_SIZE]; /* what it is proved with */
};

struct left_tickets {
        size_t n;
        struct left_ticket items[LEFT_TICKETS_MAX];
};

/* As many as n, and the array. */
struct legacies {
        size_t n;
        struct legacy items[LEGACIES_MAX];
        struct left_tickets tickets;
};

struct legacies *legacies_free(struct legacies *legacies); /* wipes the tickets */
DEFINE_CLEANUP(struct legacies *, legacies_free);
