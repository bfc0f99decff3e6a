/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the workload asks for, and when: by chance while it runs, from the first byte to the last when it passes over the image at the end. */

#include <string.h>

#include "block.h"
#include "workload-internal.h"

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
        if (workload_is_change(s->kind))
                r = model_begin(w->model, workload_change_of(s->kind), s->offset, s->length, s->sent);
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

void workload_fill(struct workload *w) {
        if (w->passing) {
                fill_pass(w);
                return;
        }
        while (!w->stopping && !w->paused && w->connections[0].ready && w->n_used < (w->calm ? 1 : w->depth)) {
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
