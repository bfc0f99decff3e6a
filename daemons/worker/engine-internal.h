/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the engine share: engine.c (threads, start and stop), engine-clients.c (who is served, and who may write), engine-events.c (what the main thread is
 * told), engine-calls.c (store operations),
 * engine-succession.c (from one worker to the next), engine-directed.c (operations of one proxy), engine-survey.c (which proxies would have us). */

#include <pthread.h>

#include "container-of.h"
#include "engine.h"
#include "frontend-nbd.h"
#include "heat.h"
#include "mailbox.h"

struct engine_call;
STAILQ_HEAD(engine_call_list, engine_call);

struct engine {
        /* The main thread's. */
        pthread_t thread;
        bool has_thread;
        const struct engine_events *events;
        void *userdata;
        struct mailbox *to_io, *to_main;
        int started_fds[2]; /* how set-up went */

        /* Set before the thread starts, read by both. */
        struct engine_settings settings;
        struct heat *heat; /* NULL: not counted. The I/O thread writes; of the descriptor both know */

        /* The I/O thread's. */
        struct ring *ring;
        struct buffers *buffers;
        struct requests *requests;
        struct pool *pool;
        struct frontend_list frontends;
        struct frontend *kernel;
        unsigned n_clients;
        bool listening; /* clients are wanted */
        bool accepting; /* an accept is in the ring */
        struct ring_op accept_op;
        struct ring_timer accept_timer;
        struct ring_timer status_timer;
        struct ring_timer alive_timer;
        struct io_stats stats;

        bool status_pending; /* the main thread has not taken the last one yet */
        bool status_due;
        uint64_t shown_completed, shown_latency_usec;

        unsigned n_surveys;            /* and directed calls, under way: their sessions are on the ring */
        struct engine_call_list calls; /* waiting for a session, or for its answer */
        struct ring_timer call_timer;

        bool stopping, stop_detach, pool_stopping, pool_stopped, finished;
        uint64_t stop_timeout_usec;
        int stop_error;
        bool handing_over, released;
        struct legacies *legacies; /* gathered for the successor */
};

#define ENGINE_OF(ptr, member) CONTAINER_OF(ptr, struct engine, member)

/* engine.c */
void engine_stop_begin(struct engine *engine);
void engine_stop_step(struct engine *engine);

/* engine-succession.c, on the I/O thread */
bool engine_succession_step(struct engine *engine); /* true: no frontend is left */
void engine_succession_left(struct engine *engine, struct legacy *legacy);
void engine_succession_post(struct engine *engine);

/* engine-clients.c, on the I/O thread */
void engine_clients_init(struct engine *engine);
void engine_clients_listen(struct engine *engine);
void engine_clients_serve_kernel(struct engine *engine, int fd);
void engine_clients_adopt(struct engine *engine, struct legacy *legacy);
void engine_clients_stop(struct engine *engine);
/* The image has another size. */
void engine_clients_resize(struct engine *engine);

/* engine-events.c, on the I/O thread */
void engine_post_attached(struct engine *engine);
void engine_post_resized(struct engine *engine);
void engine_post_failed(struct engine *engine, enum failure failure, const char *message);
void engine_post_kernel_lost(struct engine *engine);
void engine_post_stopped(struct engine *engine, int error);
void engine_post_alive(struct engine *engine);
void engine_status_changed(struct engine *engine);
void engine_take_picture(struct engine *engine, struct engine_status *ret);

/* engine-calls.c, on the I/O thread */
void engine_calls_init(struct engine *engine);
void engine_calls_step(struct engine *engine);
void engine_calls_stop(struct engine *engine);
