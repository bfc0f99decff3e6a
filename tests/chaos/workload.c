/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See workload.h. Slots are requests; a slot's index is its cookie. The first connection changes and reads, the second reads only, so that what one observer sees of another's
 * changes is checked too. The depth changes every few hundred requests: a full queue and a nearly empty one fail in different ways. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "block.h"
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
        sd_event_source *retry, *filler;
        struct dice dice;
        unsigned n_used, depth, phase_left, excused;
        bool stopping, passing, flushed, worker_away, calm;
        uint64_t pass_next, n_done;
        uint64_t last_done_usec, longest_usec; /* of the stall that is watched */
        uint8_t *buffer;
};

static void fill(struct workload *w);

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

static enum model_change change_of(enum kind kind) {
        return kind == KIND_TRIM ? MODEL_TRIM : kind == KIND_ZEROES ? MODEL_ZERO : MODEL_WRITE;
}

static bool is_change(enum kind kind) {
        return kind != KIND_READ && kind != KIND_FLUSH;
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

static void on_reply(void *userdata, uint64_t cookie, uint32_t error, const uint8_t *data, uint32_t length) {
        struct connection *c = userdata;
        struct workload *w = c->workload;
        struct slot *s = w->slots + cookie;

        if (cookie >= DEPTH_MAX || !s->used || s->connection != (unsigned) (c - w->connections)) {
                statistics_error(w->statistics, "ERROR: an answer to no request, cookie %" PRIu64, cookie);
                return;
        }
        note_progress(w, now_usec());
        w->n_done++;

        if (error != 0) {
                if (w->excused > 0) {
                        w->excused--;
                        w->statistics->excused_errors++;
                } else
                        statistics_error(w->statistics,
                                "ERROR %" PRIu32 " for request %" PRIu64 " at %" PRIu64 ", %" PRIu32 " bytes", error,
                                s->sent, s->offset, s->length);
        } else
                count(w, s);

        if (is_change(s->kind))
                model_end(w->model, change_of(s->kind), s->offset, s->length, s->sent,
                        error == 0 ? MODEL_DONE : MODEL_UNKNOWN);
        else if (s->kind == KIND_READ && error == 0) {
                w->statistics->blocks_checked += length / CHAOS_BLOCK;
                (void) model_check(w->model, s->offset, length, data, s->sent, s->connection == 0);
        } else if (s->kind == KIND_FLUSH && error == 0 && w->passing)
                w->flushed = true;

        give_back(w, s);
        fill(w);
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
                if (is_change(s->kind))
                        model_end(w->model, change_of(s->kind), s->offset, s->length, s->sent, MODEL_UNKNOWN);
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

/* ------ requests ------ */

static void send_request(struct workload *w, struct slot *s) {
        static const enum nbd_command commands[] = {
                [KIND_READ] = NBD_CMD_READ,
                [KIND_WRITE] = NBD_CMD_WRITE,
                [KIND_FUA] = NBD_CMD_WRITE,
                [KIND_FLUSH] = NBD_CMD_FLUSH,
                [KIND_TRIM] = NBD_CMD_TRIM,
                [KIND_ZEROES] = NBD_CMD_WRITE_ZEROES,
        };
        uint16_t flags = s->kind == KIND_FUA ? NBD_CMD_FLAG_FUA : 0;
        int r = 0;

        s->used = true;
        if (w->n_used++ == 0)
                w->last_done_usec = now_usec();
        s->sent = model_event(w->model);
        if (is_change(s->kind))
                r = model_begin(w->model, change_of(s->kind), s->offset, s->length, s->sent);
        if (s->kind == KIND_WRITE || s->kind == KIND_FUA)
                for (uint32_t at = 0; at < s->length; at += CHAOS_BLOCK)
                        block_fill(w->buffer + at, w->options.seed, s->offset + at, s->sent);
        if (s->kind == KIND_ZEROES && dice_percent(&w->dice, 30))
                flags |= NBD_CMD_FLAG_FUA;
        if (s->kind == KIND_ZEROES && dice_percent(&w->dice, 30))
                flags |= NBD_CMD_FLAG_NO_HOLE;
        if (r >= 0)
                r = nbd_client_send(w->connections[s->connection].client, commands[s->kind], flags,
                        (uint64_t) (s - w->slots), s->offset, s->kind == KIND_FLUSH ? 0 : s->length, w->buffer);
        if (r < 0)
                statistics_error(w->statistics, "ERROR: cannot send: %s", strerror(-r));
}

static enum kind choose_kind(struct workload *w) {
        uint64_t n = dice_below(&w->dice, 100);

        if (n < 42)
                return KIND_READ;
        if (n < 80)
                return KIND_WRITE;
        if (n < 86)
                return KIND_FUA;
        if (n < 92)
                return KIND_ZEROES;
        if (n < 97)
                return KIND_TRIM;
        return w->options.flushes ? KIND_FLUSH : KIND_READ;
}

static void choose(struct workload *w, struct slot *s) {
        uint64_t blocks = 1, range = w->options.size, start = 0;
        unsigned log;

        /* The smaller of two logarithms: half of all requests are below 16 KiB, a few have 1 MiB. */
        log = (unsigned) dice_below(&w->dice, 12);
        for (unsigned i = 0, other = (unsigned) dice_below(&w->dice, 12); i < 1; i++)
                log = other < log ? other : log;
        blocks = dice_between(&w->dice, (UINT64_C(1) << log) / 2 + 1, UINT64_C(1) << log);

        *s = (struct slot){ .kind = choose_kind(w), .length = (uint32_t) (blocks * CHAOS_BLOCK) };
        s->connection = s->kind == KIND_READ && w->connections[1].ready && dice_percent(&w->dice, 35);
        if (dice_percent(&w->dice, 25)) {
                start = HOT_SIZE * (w->options.seed % 7);
                range = HOT_SIZE;
                if (s->length > range / 8)
                        s->length = CHAOS_BLOCK;
        }
        s->offset = start + dice_below(&w->dice, (range - s->length) / CHAOS_BLOCK + 1) * CHAOS_BLOCK;
}

static void fill_pass(struct workload *w) {
        while (w->n_used < PASS_AT_ONCE) {
                struct slot *s = w->slots;

                if (!w->connections[0].ready || (!w->flushed && w->n_used > 0))
                        return;
                while (s->used)
                        s++;
                if (!w->flushed)
                        *s = (struct slot){ .kind = KIND_FLUSH };
                else if (w->pass_next < w->options.size) {
                        uint64_t left = w->options.size - w->pass_next;

                        *s = (struct slot){ .kind = KIND_READ,
                                .offset = w->pass_next,
                                .length = left < LENGTH_MAX ? (uint32_t) left : LENGTH_MAX };
                        w->pass_next += s->length;
                } else
                        return;
                send_request(w, s);
        }
}

static void fill(struct workload *w) {
        if (w->passing) {
                fill_pass(w);
                return;
        }
        while (!w->stopping && w->connections[0].ready && w->n_used < (w->calm ? 1 : w->depth)) {
                struct slot *s = w->slots;

                if (w->phase_left-- == 0) {
                        w->phase_left = (unsigned) dice_between(&w->dice, PHASE_MIN, PHASE_MAX);
                        w->depth = dice_percent(&w->dice, 50) ? w->options.depth
                                                              : (unsigned) dice_between(&w->dice, 1, w->options.depth);
                }
                while (s->used)
                        s++;
                choose(w, s);
                send_request(w, s);
        }
}

static int on_fill(sd_event_source *source, void *userdata) {
        fill(userdata);
        return 0;
}

/* ------ from outside ------ */

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
