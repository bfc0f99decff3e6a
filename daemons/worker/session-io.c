/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests out, replies in. A reply is matched by its sequence, and must be of the op that was sent under it: with any other, nothing that this server says can be
 * trusted, and the session ends.
 *
 * A reply may be seen before the completion of the send that asked for it; then the request is answered only when the kernel has let go of its bytes. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container-of.h"
#include "session.h"

static uint32_t wire_op(const struct request *request) {
        switch (request->op) {
        case REQUEST_READ:
                return IVBS_OP_READ;
        case REQUEST_WRITE:
                return request->fua ? IVBS_OP_WRITE_FUA : IVBS_OP_WRITE;
        case REQUEST_FLUSH:
                return IVBS_OP_FLUSH;
        case REQUEST_TRIM:
                return IVBS_OP_TRIM;
        case REQUEST_WRITE_ZEROES:
                return IVBS_OP_WRITE_ZEROES;
        case _REQUEST_OP_MAX:
                break;
        }
        abort();
}

static struct request **slot_of(struct session *s, uint32_t sequence) {
        return s->by_sequence + (sequence & (SESSION_SEQUENCES - 1));
}

static void request_sent(struct stream_out *out, int error) {
        struct request *request = CONTAINER_OF(out, struct request, out);

        request->sending = false;
        if (request->answered)
                request->session->ops->answered(request->session, request, request->error);
}

static void finish(struct session *s, struct request *request, int error) {
        *slot_of(s, request->sequence) = NULL;
        TAILQ_REMOVE(&s->in_flight, request, entry);
        s->n_in_flight--;
        s->bytes_in_flight -= request->length;

        request->answered = true;
        request->error = error;
        if (!request->sending)
                s->ops->answered(s, request, error);
}

/* A number whose predecessor in the table is still out is passed over; there are far more numbers than requests. */
uint32_t session_next_sequence(struct session *s) {
        while (*slot_of(s, s->next_sequence))
                s->next_sequence++;
        return s->next_sequence++;
}

void session_send(struct session *s, struct request *request) {
        struct ivbs_header header = { .op = wire_op(request) };
        uint8_t *payload = request->prefix + IVBS_HEADER_SIZE;
        uint32_t prefix = 0, data = 0;

        switch (request->op) {
        case REQUEST_READ:
        case REQUEST_TRIM:
                ivbs_range_encode(request->offset, request->length, payload);
                prefix = IVBS_READ_SIZE;
                break;
        case REQUEST_WRITE:
                ivbs_offset_encode(request->offset, payload);
                prefix = IVBS_WRITE_PREFIX_SIZE;
                data = request->length;
                break;
        case REQUEST_WRITE_ZEROES:
                ivbs_zeroes_encode(
                        &(struct ivbs_zeroes){
                                .offset = request->offset,
                                .length = request->length,
                                .flags = (request->fua ? IVBS_ZEROES_FUA : 0) |
                                         (request->no_hole ? IVBS_ZEROES_NO_HOLE : 0),
                        },
                        payload);
                prefix = IVBS_ZEROES_SIZE;
                break;
        case REQUEST_FLUSH:
        case _REQUEST_OP_MAX:
                break;
        }

        request->sequence = session_next_sequence(s);
        *slot_of(s, request->sequence) = request;

        memcpy(header.session_id, s->id, sizeof(s->id));
        header.length = prefix + data;
        header.sequence = request->sequence;
        ivbs_header_encode(&header, request->prefix);

        request->session = s;
        request->attempts++;
        request->generation = s->generation;
        request->has_identity = false;
        request->answered = false;
        request->sending = true;
        request->out.iov[0] = (struct iovec){ .iov_base = request->prefix, .iov_len = IVBS_HEADER_SIZE + prefix };
        request->out.iov[1] = (struct iovec){ .iov_base = request->data, .iov_len = data };
        request->out.n_iov = data > 0 ? 2 : 1;
        request->out.pipe = NULL;
        request->out.done = request_sent;
        session_owes(s);
        TAILQ_INSERT_TAIL(&s->in_flight, request, entry);
        s->n_in_flight++;
        s->bytes_in_flight += request->length;
        stream_send(&s->stream, &request->out);
}

int session_payload(struct stream *stream) {
        struct session *s = stream->owner;

        finish(s, TAKE_PTR(s->receiving), 0);
        return 0;
}

static int receive_data(struct session *s, struct request *request) {
        if (request->length >= SESSION_PIPE_MIN && request->length <= s->pipe_max && request_take_pipe(request)) {
                s->receiving = request;
                stream_receive_into_pipe(&s->stream, request->pipe, request->length);
                return 0;
        }

        if (request_take_buffer(request) < 0)
                return -ENOMEM;
        s->receiving = request;
        stream_receive_into(&s->stream, request->data, request->length);
        return 0;
}

int session_spill(struct stream *stream, void **ret_buffer) {
        struct session *s = stream->owner;
        ssize_t n;

        n = request_spill_pipe(s->receiving);
        if (n < 0)
                return (int) n;
        /* What comes from this proxy comes in such small pieces. */
        s->pipe_max = (size_t) n / 2;
        *ret_buffer = s->receiving->data + n;
        return 0;
}

int session_io_reply(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct request *request = *slot_of(s, header->sequence);

        if (!request && s->probe_sequence != 0 && header->sequence == s->probe_sequence &&
                header->op == IVBS_OP_READ) {
                s->probe_sequence = 0;
                s->skip = payload ? 0 : header->length;
                return 0;
        }
        if (!request || request->sequence != header->sequence || wire_op(request) != header->op)
                return -EPROTO;

        if (request->op == REQUEST_FLUSH && payload && (s->caps & IVBS_CAP_DURABILITY))
                request->has_identity = ivbs_identity_decode(payload, header->length, &request->identity) >= 0;

        switch (header->status) {
        case IVBS_STATUS_OK:
                if (request->op == REQUEST_READ) {
                        if (header->length != request->length)
                                return -EPROTO;
                        return receive_data(s, request);
                } else {
                        if (request->op == REQUEST_FLUSH && (s->caps & IVBS_CAP_DURABILITY) && !request->has_identity)
                                return -EPROTO;
                        finish(s, request, 0);
                }
                return 0;

        case IVBS_STATUS_TEMPORARY_ERROR:
        case IVBS_STATUS_NOT_READY:
                finish(s, request, SESSION_NOT_NOW);
                return 0;

        case IVBS_STATUS_USE_ANOTHER_PROXY:
                s->draining = true;
                finish(s, request, SESSION_ELSEWHERE);
                return 0;

        case IVBS_STATUS_EXPIRED:
                finish(s, request, SESSION_STALE);
                return 0;

        case IVBS_STATUS_NOT_LOGGEDIN:
                return -EPROTO;

        default:
                finish(s, request, ivbs_status_to_errno(header->status));
                return 0;
        }
}
