/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A transfer that is under way, as its two files see it: transfer.c has the phases and their order, transfer-phases.c what is done in each. */

#include "job.h"
#include "manager.h"
#include "transfer-record.h"
#include "transfer.h"

enum transfer_phase {
        TRANSFER_LIST,   /* what is in the store? */
        TRANSFER_CREATE, /* import: the image that is to be filled, under a name of its own */
        TRANSFER_CLEAR,  /* an attachment that an earlier supervisor left is ended */
        TRANSFER_ATTACH,
        TRANSFER_SOCKET, /* of the process that does it */
        TRANSFER_HELLO,  /* ... is there */
        TRANSFER_RUN,
        /* From here on every one is gone through, also when there was a failure. */
        TRANSFER_STOP,
        TRANSFER_DETACH,  /* with its flush */
        TRANSFER_REPLACE, /* import: the image that is overwritten goes */
        TRANSFER_RENAME,  /* import: complete, so it gets its name */
        TRANSFER_DISCARD, /* import: incomplete, so it goes, unless it is to be kept */
        TRANSFER_END,
        _TRANSFER_PHASE_MAX,
};

struct transfer {
        struct manager *manager;
        LIST_ENTRY(transfer) entry;
        enum transfer_phase phase;
        struct job *job;
        struct transfer_wish wish;
        char stage[TRANSFER_STORE_NAME_BYTES + 8U]; /* the store's name of what is attached */
        char local[TRANSFER_LOCAL_NAME_SIZE];
        char unit[TRANSFER_LOCAL_NAME_SIZE + 32]; /* the socket's */
        struct transfer_record record;
        uint64_t size; /* bytes of content */
        bool replaces, exclusive, created, recorded, attached, awaited, started, complete, cancelled;
        sd_event_source *go_on, *deadline;

        /* The one call that is being waited for. */
        struct query *query;
        struct units_call *call;
        sd_bus *bus;
        sd_bus_slot *slot;

        enum failure failure;
        char message[JOB_MESSAGE_MAX];
};

const char *transfer_phase_to_string(enum transfer_phase phase);

/* The phase is over: with FAILURE_NONE, or the first failure, which is the one that counts. The next begins from the loop. */
void transfer_settle(struct transfer *transfer, enum failure failure, const char *format, ...) _printf_(3, 4);

/* transfer-phases.c: each returns 0 when transfer_settle() will come, 1 when there is nothing to be done, or a negative errno. */
typedef int (*transfer_phase_run_t)(struct transfer *transfer);
extern const transfer_phase_run_t transfer_phase_runs[_TRANSFER_PHASE_MAX];
/* transfer-check.c */
int transfer_run_list(struct transfer *transfer);
/* What is waited for in TRANSFER_ATTACH may have come. */
void transfer_image_changed(struct transfer *transfer, const struct image *image);
/* Hangs up on the process: it ends. */
void transfer_hang_up(struct transfer *transfer);
