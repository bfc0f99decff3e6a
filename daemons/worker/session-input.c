/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a proxy may say in which state, and who handles it: the table below is the protocol as the worker understands it. Anything else is a breach, and ends the
 * session; ops that we do not know at all are passed over, for a later server may announce things that we never asked for. */

#include <errno.h>
#include <string.h>

#include "session.h"

/* A packet is handled whole, from the input buffer, unless it is the data of a read. */
#define PACKET_MAX (STREAM_INPUT_SIZE - IVBS_HEADER_SIZE)

typedef int (*handler_t)(struct session *session, const struct ivbs_header *header, const uint8_t *payload);

static int on_notice(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct ivbs_notice notice;

        if (ivbs_notice_decode(payload, header->length, &notice) < 0)
                return -EPROTO;
        if (notice.kind == IVBS_NOTICE_DRAIN && !s->draining) {
                s->draining = true;
                if (s->ops->draining)
                        s->ops->draining(s);
        }
        if (notice.kind == IVBS_NOTICE_SIZE && s->attachment && s->state == SESSION_READY &&
                notice.size_epoch > s->size_epoch && notice.size_epoch > s->noticed_epoch) {
                s->noticed_epoch = notice.size_epoch;
                if (s->ops->resized)
                        s->ops->resized(s);
        }
        return 0;
}

static int on_proxies(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct ivbs_proxy proxies[IVBS_PROXIES_MAX];
        size_t n;

        n = ivbs_proxies_decode(payload, header->length, proxies, IVBS_PROXIES_MAX);
        if (n > 0 && s->ops->announced)
                s->ops->announced(s, proxies, n);
        return 0;
}

static int on_call_reply(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        session_reply_t reply;

        /* One that is not the answer leaves the call open: the session's end answers it. */
        if (!s->reply || header->op != s->control_op || header->sequence != s->control_sequence)
                return -EPROTO;

        reply = TAKE_PTR(s->reply);
        reply(s->reply_userdata, 0, header->status, payload, header->length);
        return 0;
}

#define STATE(s)   (1U << SESSION_##s)
#define IDENTIFIED (STATE(HELLO) | STATE(LOGIN) | LOGGED_IN)
#define LOGGED_IN  (STATE(STANDING_BY) | STATE(ATTACHING) | STATE(READY))

static const struct transition {
        uint32_t op;
        unsigned states;
        handler_t handler;
} transitions[] = {
        { IVBS_OP_READ, STATE(READY), session_io_reply },
        { IVBS_OP_WRITE, STATE(READY), session_io_reply },
        { IVBS_OP_FLUSH, STATE(READY), session_io_reply },
        { IVBS_OP_WRITE_FUA, STATE(READY), session_io_reply },
        { IVBS_OP_TRIM, STATE(READY), session_io_reply },
        { IVBS_OP_WRITE_ZEROES, STATE(READY), session_io_reply },
        { IVBS_OP_GREETING, STATE(GREETING), session_on_greeting },
        { IVBS_OP_HELLO, STATE(HELLO), session_on_hello },
        { IVBS_OP_LOGIN, STATE(LOGIN), session_on_login },
        { IVBS_OP_LOGIN_TICKET, STATE(LOGIN), session_on_login },
        { IVBS_OP_SCRAM_FIRST, STATE(LOGIN), session_on_scram },
        { IVBS_OP_SCRAM_FINAL, STATE(LOGIN), session_on_scram },
        { IVBS_OP_SCRAM_TICKET, STATE(LOGIN), session_on_scram },
        { IVBS_OP_ATTACH_TO_IMAGE, STATE(ATTACHING), session_on_attach },
        { IVBS_OP_ATTACH_LEASE, STATE(ATTACHING), session_on_attach },
        { IVBS_OP_RESUME, STATE(ATTACHING) | STATE(READY), session_on_attach },
        { IVBS_OP_FENCE, STATE(READY), session_on_fence },
        { IVBS_OP_KEEPALIVE, IDENTIFIED, session_on_keepalive },
        { IVBS_OP_LIST_PROXIES, LOGGED_IN, on_proxies },
        { IVBS_OP_NOTICE, LOGGED_IN, on_notice },
        { IVBS_OP_DETACH, STATE(READY), on_call_reply },
        { IVBS_OP_LIST_IMAGES, STATE(READY), on_call_reply },
        { IVBS_OP_CREATE_IMAGE, STATE(READY), on_call_reply },
        { IVBS_OP_REMOVE_IMAGE, STATE(READY), on_call_reply },
        { IVBS_OP_RESIZE_IMAGE, STATE(READY), on_call_reply },
        { IVBS_OP_DRAIN, STATE(READY), on_call_reply },
        { IVBS_OP_RENAME_IMAGE, STATE(READY), on_call_reply },
        { IVBS_OP_SNAPSHOT, STATE(READY), on_call_reply },
        { IVBS_OP_LIST_SNAPSHOTS, STATE(READY), on_call_reply },
        { IVBS_OP_SCRUB, STATE(READY), on_call_reply },
        { IVBS_OP_GET_CARE, STATE(READY), on_call_reply },
        { IVBS_OP_SET_LIMITS, STATE(READY), on_call_reply },
        { IVBS_OP_REMOVE_SNAPSHOT, STATE(READY), on_call_reply },
        { IVBS_OP_CLONE_IMAGE, STATE(READY), on_call_reply },
        { IVBS_OP_ROLL_BACK, STATE(READY), on_call_reply },
        { IVBS_OP_JOB_STATUS, STATE(READY), on_call_reply },
        { IVBS_OP_JOB_CANCEL, STATE(READY), on_call_reply },
        { IVBS_OP_STORE_STATUS, STATE(READY), on_call_reply },
};

static const struct transition *find(uint32_t op, enum session_state state) {
        for (size_t i = 0; i < ELEMENTSOF(transitions); i++)
                if (transitions[i].op == op && (transitions[i].states & (1U << state)))
                        return transitions + i;
        return NULL;
}

ssize_t session_input(struct stream *stream, const uint8_t *data, size_t n) {
        struct session *s = stream->owner;
        const struct transition *t;
        struct ivbs_header header;
        int r;

        if (s->skip > 0) {
                size_t skipped = n < s->skip ? n : s->skip;

                s->skip -= (uint32_t) skipped;
                return (ssize_t) skipped;
        }
        if (n < IVBS_HEADER_SIZE)
                return 0;

        ivbs_header_decode(data, &header);
        r = ivbs_header_check(&header, IVBS_TO_CLIENT);
        if (r < 0 && r != -EOPNOTSUPP)
                return r;
        if (r == -EOPNOTSUPP || header.length > PACKET_MAX) {
                /* Only the data of a read may be so long and matter. */
                if (r == 0 && header.op == IVBS_OP_READ && s->state == SESSION_READY)
                        r = session_io_reply(s, &header, NULL);
                else {
                        s->skip = header.length;
                        r = s->state == SESSION_GREETING ? -EPROTO : 0;
                }
                return r < 0 ? r : (ssize_t) IVBS_HEADER_SIZE;
        }

        t = find(header.op, s->state);
        if (!t)
                return -EPROTO;

        if (header.op == IVBS_OP_READ && header.status == IVBS_STATUS_OK) {
                r = t->handler(s, &header, NULL);
                return r < 0 ? r : (ssize_t) IVBS_HEADER_SIZE;
        }

        if (n < IVBS_HEADER_SIZE + header.length)
                return 0;
        r = t->handler(s, &header, data + IVBS_HEADER_SIZE);
        return r < 0 ? r : (ssize_t) (IVBS_HEADER_SIZE + header.length);
}
