/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the worker's main thread share: worker.c (start, state, stop) and worker-succession.c (from one worker to the next). */

#include "device-link.h"
#include "engine.h"
#include "going-down.h"
#include "patience.h"
#include "succession.h"
#include "supervisor-link.h"
#include "transitions.h"

#define WORKER_SENTENCE_MAX 1024U

/* Whether the kernel has a device of this image, by what the supervisor says. */
enum worker_device {
        WORKER_DEVICE_UNKNOWN,
        WORKER_DEVICE_NONE,
        WORKER_DEVICE_THERE,
};

struct worker {
        const char *name;
        sd_event *event;
        struct host_config *config;
        struct credentials *credentials;
        struct engine *engine;
        struct supervisor_link *supervisor;
        struct device_link *device;
        int listen_fd;
        int claim_fd; /* on the image, for this name */

        struct attachment attachment; /* the engine's until attached; then this is the main thread's copy */
        struct attachment known;
        struct engine_status status;
        bool attached, ready, stopping;
        enum failure failure;
        char sentence[WORKER_SENTENCE_MAX]; /* why it failed */
        char node[64];
        struct transitions transitions;
        struct patience patience;
        enum pool_state shown; /* of the pool: what people are told */
        uint64_t started_usec;
        bool waits, io_fails; /* I/O, for a proxy; it has waited as long as it may */
        struct going_down *watch;
        bool going_down; /* the system is */
        bool told_badly;
        bool device_gone; /* given back, or never there */
        sd_event_source *extend_timer, *io_deadline;

        /* worker-succession.c's */
        struct succession *found; /* what a predecessor has left; until it is adopted */
        bool continues; /* a former worker has left an attachment, and perhaps a device: what was asked for is already there */
        enum worker_device kernel_has;
        bool asking, handing_over;
        struct legacies *left;
        sd_event_source *ask_timer;
};

/* worker.c */
void worker_show(struct worker *w);
/* The end: shows it, and leaves the loop. */
void worker_finish(struct worker *w);
void worker_become_ready(struct worker *w);
/* A plain stop: the device is given back, then the lease. */
void worker_stop(struct worker *w);

/* worker-succession.c: */
/* A stop was asked for: finds out whether another worker follows, and hands over to it or stops. */
void worker_end(struct worker *w);
void worker_job_told(struct worker *w, const char *type);
/* The supervisor can be called. */
void worker_ask_device(struct worker *w);
void worker_device_told(struct worker *w, const char *node);
/* The engine has ended for a successor. Takes legacies. */
void worker_left(struct worker *w, struct legacies *legacies);
/* ... with this result of the last flush. */
void worker_hand_over(struct worker *w, int error);
/* The image is attached: takes up what a predecessor has left, if it is of this image. Returns whether the kernel's device was part of it. */
bool worker_adopt(struct worker *w);
/* Whether giving up for want of a proxy would leave a device behind that nobody serves. */
bool worker_must_go_on(const struct worker *w);
/* Whether the image was attached by a former worker, for those above. */
bool worker_continues(const struct worker *w);
void worker_succession_done(struct worker *w);
