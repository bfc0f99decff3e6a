/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See workload.h. Slots are requests; a slot's index is its cookie. The first connection changes and reads, the second reads only, so that what one observer sees of another's
 * changes is checked too. The depth changes every few hundred requests: a full queue and a nearly empty one fail in different ways. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "block.h"
#include "workload-internal.h"

#define PAUSE_USEC (20 * MSEC) /* after an error that was asked for: the next one would come at once */

static void note_progress(struct workload *w, uint64_t now) {
        uint64_t gap = now - w->last_done_usec;

        if (w->n_used > 0 && gap > w->longest_usec)
                w->longest_usec = gap;
        w->last_done_usec = now;
}

/* What was replaced before the oldest read was sent can be forgotten. */
static void update_horizon(struct workload *w) {
        uint64_t oldest = UINT64_MAX;

        for (unsigned i = 0; i < DEPTH_MAX; i++)
                if (w->slots[i].used && w->slots[i].kind == KIND_READ && w->slots[i].sent < oldest)
                        oldest = w->slots[i].sent;
        model_set_horizon(w->model, oldest == UINT64_MAX ? model_event(w->model) : oldest);
}

static void give_back(struct workload *w, struct slot *s) {
        s->used = false;
        w->n_used--;
        update_horizon(w);
}

/* ------ answers ------ */

static void count(struct workload *w, const struct slot *s) {
        struct statistics *st = w->statistics;

        switch (s->kind) {
        case KIND_READ:
                st->reads++;
                st->bytes_read += s->length;
                break;
        case KIND_WRITE:
                st->writes++;
                st->bytes_written += s->length;
                break;
        case KIND_FUA:
                st->fua++;
                st->bytes_written += s->length;
                break;
        case KIND_FLUSH:
                st->flushes++;
                break;
        case KIND_TRIM:
                st->trims++;
                break;
        case KIND_ZEROES:
        default:
                st->zeroes++;
                break;
        }
}

/* Whether the schedule wants this error. If it wants all to fail, the next request waits a little. */
static bool is_asked_for(struct workload *w, const struct slot *s, uint32_t error) {
        if (w->excused > 0) {
                w->excused--;
                return true;
        }
        if (!w->errors.expected || error != NBD_EIO || now_usec() < w->errors.from_usec ||
                w->errors.over[s->connection])
                return false;
        if (w->errors.n++ == 0)
                w->errors.first = model_event(w->model);
        w->paused = true;
        (void) sd_event_source_set_time(w->resume, now_usec() + PAUSE_USEC);
        (void) sd_event_source_set_enabled(w->resume, SD_EVENT_ONESHOT);
        return true;
}

static void on_reply(void *userdata, uint64_t cookie, uint32_t error, const uint8_t *data, uint32_t length) {
        struct connection *c = userdata;
        struct workload *w = c->workload;
        struct slot *s = w->slots + cookie;

        if (cookie >= DEPTH_MAX || !s->used || s->connection != (unsigned) (c - w->connections)) {
                statistics_error(w->statistics, "ERROR: an answer to no request, cookie %" PRIu64, cookie);
                return;
        }
        note_progress(w, now_usec());

        if (error == 0) {
                count(w, s);
                w->errors.over[s->connection] = w->errors.ending;
        } else if (is_asked_for(w, s, error))
                w->statistics->excused_errors++;
        else
                statistics_error(w->statistics,
                        "ERROR %" PRIu32 " for request %" PRIu64 " at %" PRIu64 ", %" PRIu32 " bytes", error, s->sent,
                        s->offset, s->length);
        w->n_done += error == 0 || !w->errors.expected;

        if (workload_is_change(s->kind))
                model_end(w->model, workload_change_of(s->kind), s->offset, s->length, s->sent,
                        error == 0 ? MODEL_DONE : MODEL_UNKNOWN);
        else if (s->kind == KIND_READ && error == 0) {
                w->statistics->blocks_checked += length / CHAOS_BLOCK;
                (void) model_check(w->model, s->offset, length, data, s->sent, s->connection == 0);
        } else if (s->kind == KIND_FLUSH && error == 0 && w->passing)
                w->flushed = true;

        give_back(w, s);
        workload_fill(w);
}

static void on_ready(void *userdata) {
        struct connection *c = userdata;
        struct workload *w = c->workload;

        c->ready = true;
        if (nbd_client_size(c->client) != w->options.size)
                statistics_error(w->statistics, "ERROR: the export has %" PRIu64 " bytes", nbd_client_size(c->client));
        /* The stall of a worker that was killed ends with the first answer, not with the connection. */
        (void) sd_event_source_set_enabled(w->filler, SD_EVENT_ONESHOT);
}

static void on_lost(void *userdata, const char *reason) {
        struct connection *c = userdata;
        struct workload *w = c->workload;
        unsigned index = (unsigned) (c - w->connections);

        if (!w->worker_away && c->ready)
                statistics_error(w->statistics, "ERROR: the worker ended connection %u: %s", index, reason);

        for (struct slot *s = w->slots; s < w->slots + DEPTH_MAX; s++) {
                if (!s->used || s->connection != index)
                        continue;
                if (workload_is_change(s->kind))
                        model_end(w->model, workload_change_of(s->kind), s->offset, s->length, s->sent, MODEL_UNKNOWN);
                w->statistics->unanswered++;
                give_back(w, s);
        }
        c->client = nbd_client_free(c->client);
        c->ready = false;
        /* The next worker takes the first connection that it finds for the one that writes: that must not be a reader which the last one had not accepted yet. */
        if (index == 0 && w->connections[1].client)
                on_lost(w->connections + 1, reason);
        (void) sd_event_source_set_time(w->retry, now_usec() + RECONNECT);
        (void) sd_event_source_set_enabled(w->retry, SD_EVENT_ONESHOT);
}

static const struct nbd_client_calls client_calls = {
        .ready = on_ready,
        .reply = on_reply,
        .lost = on_lost,
};

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct workload *w = userdata;
        bool again = false;

        for (unsigned i = 0; i < CONNECTIONS; i++) {
                struct connection *c = w->connections + i;

                /* The worker takes the first connection that comes for the one that writes. */
                if (!c->client && (i == 0 || w->connections[0].ready) &&
                        nbd_client_new(&c->client, w->event, w->options.socket_path, &client_calls, c) < 0)
                        c->client = NULL;
                again = again || !c->client;
        }
        if (again) {
                (void) sd_event_source_set_time(source, now_usec() + RECONNECT);
                (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        return 0;
}

static int on_resume(sd_event_source *source, uint64_t usec, void *userdata) {
        struct workload *w = userdata;

        w->paused = false;
        workload_fill(w);
        return 0;
}

/* ------ from outside ------ */

static int on_fill(sd_event_source *source, void *userdata) {
        workload_fill(userdata);
        return 0;
}

static void report_wrong(void *userdata, enum model_wrong wrong, uint64_t offset, const char *text) {
        struct workload *w = userdata;

        statistics_wrong(w->statistics, wrong, offset, text);
}

int workload_new(struct workload **ret, sd_event *event, const struct workload_options *options,
        struct statistics *statistics) {
        _cleanup_(workload_freep) struct workload *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        if (options->depth < 1 || options->depth > DEPTH_MAX || options->size < 8 * HOT_SIZE)
                return -EINVAL;
        *w = (struct workload){
                .event = event,
                .options = *options,
                .statistics = statistics,
                .dice = dice_new(options->seed, 1),
                .depth = options->depth,
                .phase_left = PHASE_MIN,
                .buffer = malloc(LENGTH_MAX),
        };
        if (!w->buffer)
                return -ENOMEM;
        for (unsigned i = 0; i < CONNECTIONS; i++)
                w->connections[i].workload = w;

        r = model_new(&w->model, options->size, options->seed, options->strict, report_wrong, w);
        if (r >= 0)
                r = sd_event_add_time(event, &w->retry, CLOCK_MONOTONIC, 0, 1, on_retry, w);
        if (r >= 0)
                r = sd_event_add_time(event, &w->resume, CLOCK_MONOTONIC, 0, 1, on_resume, w);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->resume, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_defer(event, &w->filler, on_fill, w);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->filler, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

struct workload *workload_free(struct workload *w) {
        if (!w)
                return NULL;
        for (unsigned i = 0; i < CONNECTIONS; i++)
                nbd_client_free(w->connections[i].client);
        sd_event_source_disable_unref(w->retry);
        sd_event_source_disable_unref(w->filler);
        sd_event_source_disable_unref(w->resume);
        model_free(w->model);
        free(w->buffer);
        free(w);
        return NULL;
}

void workload_worker_goes(struct workload *w, bool goes) {
        w->worker_away = goes;
}

void workload_drop_connections(struct workload *w) {
        for (unsigned i = 0; i < CONNECTIONS; i++)
                if (w->connections[i].client)
                        on_lost(w->connections + i, "dropped");
}

void workload_set_calm(struct workload *w, bool calm) {
        w->calm = calm;
        (void) sd_event_source_set_enabled(w->filler, SD_EVENT_ONESHOT);
}

void workload_excuse(struct workload *w, unsigned n) {
        w->excused = n;
}

void workload_expect_errors(struct workload *w, uint64_t timeout_usec) {
        memset(&w->errors, 0, sizeof(w->errors));
        w->errors.expected = true;
        w->errors.from_usec = w->last_done_usec + timeout_usec;
}

bool workload_has_failed(const struct workload *w) {
        if (w->errors.n == 0)
                return false;
        for (unsigned i = 0; i < DEPTH_MAX; i++)
                if (w->slots[i].used && w->slots[i].sent < w->errors.first)
                        return false;
        return true;
}

void workload_end_errors(struct workload *w) {
        w->errors.ending = true;
}

uint64_t workload_expect_no_errors(struct workload *w) {
        uint64_t n = w->errors.n;

        w->excused = 0;
        if (w->errors.expected)
                model_settle(w->model);
        memset(&w->errors, 0, sizeof(w->errors));
        return n;
}

void workload_stop(struct workload *w) {
        w->stopping = true;
}

bool workload_is_idle(const struct workload *w) {
        return w->n_used == 0;
}

bool workload_is_connected(const struct workload *w) {
        return w->connections[0].ready && w->connections[1].ready;
}

uint64_t workload_n_done(const struct workload *w) {
        return w->n_done;
}

void workload_watch_stall(struct workload *w) {
        w->longest_usec = 0;
}

uint64_t workload_silence_usec(const struct workload *w) {
        return w->n_used > 0 ? now_usec() - w->last_done_usec : 0;
}

uint64_t workload_stall_usec(const struct workload *w) {
        uint64_t silence = workload_silence_usec(w);

        return silence > w->longest_usec ? silence : w->longest_usec;
}

void workload_begin_pass(struct workload *w) {
        w->passing = true;
        w->flushed = false;
        w->pass_next = 0;
        (void) sd_event_source_set_enabled(w->filler, SD_EVENT_ONESHOT);
}

bool workload_pass_is_over(const struct workload *w) {
        return w->flushed && w->pass_next == w->options.size && w->n_used == 0;
}

int workload_check_file(struct workload *w, const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint64_t sent = model_event(w->model);

        if (fd < 0)
                return -errno;
        for (uint64_t at = 0; at < w->options.size;) {
                uint64_t left = w->options.size - at;
                ssize_t n;

                n = pread(fd, w->buffer, left < LENGTH_MAX ? left : LENGTH_MAX, (off_t) at);
                if (n <= 0 || n % CHAOS_BLOCK != 0)
                        return n < 0 ? -errno : -EIO;
                w->statistics->blocks_checked += (uint64_t) n / CHAOS_BLOCK;
                (void) model_check(w->model, at, (uint64_t) n, w->buffer, sent, false);
                at += (uint64_t) n;
        }
        return 0;
}

struct model *workload_model(struct workload *w) {
        return w->model;
}

uint64_t workload_seed(const struct workload *w) {
        return w->options.seed;
}
