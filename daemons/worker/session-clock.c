/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Silence. TCP keeps a connection to a dead machine for minutes, and one to a frozen process for ever; so a proxy that owes something is asked for a sign of life when half
 * the dead time has passed without a byte from it, and is given up when all of it has. Any byte is a sign of life: a slow answer is not a missing one. While nothing is owed,
 * silence is in order, and a packet now and then keeps the proxy from dropping us.
 *
 * The sign is KEEPALIVE's answer. A classic server may not answer that; until it has done so once it is asked for its first block as well, which it must answer.
 *
 * A TLS connection that has carried as much as its keys are good for is to be replaced by another one; that is looked at here, too.
 *
 * The timer is not set anew for each request. It looks at least four times in a dead time whether something is owed, and from then on it is exact. */

#include <inttypes.h>
#include <string.h>

#include "container-of.h"
#include "fault-point.h"
#include "session.h"

#define PROBE_LENGTH 512U
#define SERVED_USEC  (5U * 1000U * 1000U)

/* AES-GCM under one key is good for 24 million records of 16 KiB, some 400 GB (RFC 8446, 5.5). Other keys on the same connection (KeyUpdate) are nothing that kernels before 6.14 can do. */
#define WORN_BYTES (UINT64_C(1) << 37)

/* Whether a reply is due: silence means something then. */
static bool is_owed(const struct session *s) {
        return s->n_in_flight > 0 || s->reply || s->awaiting ||
               (s->probing && s->stream.last_input_usec <= s->probe_usec);
}

/* It waits for a moment in which nothing is in hand, but not for ever. */
static bool is_worn(const struct session *s) {
        uint64_t in = s->stream.bytes_in, out = s->stream.bytes_out, most = in > out ? in : out;

        return s->encrypted && s->state == SESSION_READY && most >= WORN_BYTES &&
               (s->n_in_flight == 0 || most >= 2 * WORN_BYTES);
}

void session_owes(struct session *s) {
        if (!is_owed(s))
                s->owed_usec = ring_now_usec(s->ring);
}

static void probe_sent(struct stream_out *out, int error) {
        CONTAINER_OF(out, struct session, probe_out)->probe_busy = false;
}

static bool may_read(const struct session *s) {
        return !s->modern && !s->answers_keepalive && s->state == SESSION_READY && s->attachment;
}

static void probe(struct session *s) {
        struct ivbs_header header = { .op = IVBS_OP_KEEPALIVE };
        size_t n = IVBS_HEADER_SIZE;

        if (s->probe_busy)
                return;

        memcpy(header.session_id, s->id, sizeof(s->id));
        header.sequence = session_next_sequence(s);
        ivbs_header_encode(&header, s->probe);

        if (may_read(s)) {
                header.op = IVBS_OP_READ;
                header.length = IVBS_READ_SIZE;
                header.sequence = s->probe_sequence = session_next_sequence(s);
                ivbs_header_encode(&header, s->probe + n);
                n += IVBS_HEADER_SIZE;
                ivbs_range_encode(0, PROBE_LENGTH, s->probe + n);
                n += IVBS_READ_SIZE;
        }

        /* Of a classic server that answers neither for want of an image, nothing can be concluded. */
        session_owes(s);
        s->probing = s->modern || s->answers_keepalive || may_read(s);
        s->probe_usec = ring_now_usec(s->ring);
        s->probe_busy = true;
        s->probe_out = (struct stream_out){
                .iov = { { .iov_base = s->probe, .iov_len = n } },
                .n_iov = 1,
                .done = probe_sent,
        };
        stream_send(&s->stream, &s->probe_out);
}

int session_on_keepalive(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        s->answers_keepalive = true;
        return 0;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

void session_watch(struct session *s) {
        uint64_t dead_usec = s->config->dead_time_usec, now = ring_now_usec(s->ring), since, end, next;
        uint64_t idle_usec = (s->idle_limit_ms ?: 30000U) * UINT64_C(1000) / 3;

        if (now - s->connected_usec > SERVED_USEC)
                proxy_served(s->proxy);
        if (is_worn(s) && s->ops->worn) {
                s->ops->worn(s);
                if (s->state == SESSION_CLOSING)
                        return;
        }
        if (rule_is_off("keepalive"))
                idle_usec = UINT64_MAX / 4;
        if (rule_is_off("dead-time"))
                dead_usec = UINT64_MAX / 4;

        if (now - s->stream.last_output_usec >= idle_usec)
                probe(s);
        next = s->stream.last_output_usec + idle_usec;
        if (next <= now)
                next = now + idle_usec;

        if (is_owed(s)) {
                since = s->stream.last_input_usec > s->owed_usec ? s->stream.last_input_usec : s->owed_usec;
                /* While the proxy fences or attaches it reads nothing else, and that may take as long as its disk does. */
                if (s->awaiting && s->config->login_timeout_usec > dead_usec)
                        dead_usec = s->config->login_timeout_usec;

                /* Where we were not run ourselves meanwhile it is asked late, and has as long to answer as ever. */
                if (now - since >= dead_usec / 2 && s->probe_usec <= since)
                        probe(s);
                end = since + dead_usec;
                if (s->probe_usec > since && end < s->probe_usec + dead_usec / 2)
                        end = s->probe_usec + dead_usec / 2;
                if (now >= end) {
                        s->end.silent = true;
                        session_close(s, SESSION_LOST, FAILURE_NO_PROXY,
                                "the proxy has been silent for %" PRIu64 " ms", (now - since) / 1000);
                        return;
                }
                next = earlier(next, now - since >= dead_usec / 2 ? end : since + dead_usec / 2);
        } else
                next = earlier(next, now + dead_usec / 4);

        ring_timer_set(&s->timer, next > now ? next - now : 0);
}
