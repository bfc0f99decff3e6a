/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The workload's parts: workload.c has connections and answers, workload-requests.c chooses and sends. */

#include "dice.h"
#include "nbd-client.h"
#include "workload.h"

#define DEPTH_MAX    64U
#define LENGTH_MAX   (1024U * 1024U)
#define RECONNECT    (20 * MSEC)
#define HOT_SIZE     (512U * 1024U) /* where many requests meet */
#define PASS_AT_ONCE 8U
#define CONNECTIONS  2U
#define PHASE_MIN    100U
#define PHASE_MAX    600U

enum kind {
        KIND_READ,
        KIND_WRITE,
        KIND_FUA,
        KIND_FLUSH,
        KIND_TRIM,
        KIND_ZEROES,
};

struct slot {
        bool used;
        unsigned connection;
        enum kind kind;
        uint64_t offset, sent;
        uint32_t length;
};

struct connection {
        struct workload *workload;
        struct nbd_client *client; /* NULL: none yet */
        bool ready;
};

struct workload {
        sd_event *event;
        struct workload_options options;
        struct statistics *statistics;
        struct model *model;
        struct connection connections[CONNECTIONS];
        struct slot slots[DEPTH_MAX];
        sd_event_source *retry, *filler, *resume;
        struct dice dice;
        unsigned n_used, depth, phase_left, excused;
        bool stopping, passing, flushed, worker_away, calm, paused;
        uint64_t pass_next, n_done;
        uint64_t last_done_usec, longest_usec; /* of the stall that is watched */
        uint8_t *buffer;

        /* While errors are asked for. */
        struct {
                bool expected, ending;
                bool over[CONNECTIONS]; /* it has had a good answer since they were to end */
                uint64_t from_usec, first, n;
        } errors;
};

static inline enum model_change workload_change_of(enum kind kind) {
        return kind == KIND_TRIM ? MODEL_TRIM : kind == KIND_ZEROES ? MODEL_ZERO : MODEL_WRITE;
}

static inline bool workload_is_change(enum kind kind) {
        return kind != KIND_READ && kind != KIND_FLUSH;
}

/* Sends what there is room for. */
void workload_fill(struct workload *w);
