/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The hot path: a packet becomes a request, the request an operation of the store, its end an answer. A request comes
 * from a list of free ones and its data from the proxy's buffers; a write's payload is received straight into the
 * buffer, a read's is sent straight from it. No system call is made here: all of it goes through the ring.
 *
 * Three bounds, and all of them work by not looking at more input: so many requests of a client, so many bytes of a
 * client, so many bytes in all. Who finds no buffer waits in a line, so that a client with large requests is not
 * overtaken for ever by those with small ones. A packet that was put off is parsed anew. */

#include <assert.h>
#include <malloc.h>
#include <string.h>

#include "client.h"
#include "container-of.h"
#include "fault-point.h"
#include "log.h"

#define LAST_ANSWER_USEC 1000000U /* it is taken by then, or never */
#define TRIM_WORTHWHILE  64U      /* requests */
#define SMALL_SIZE       272U     /* the largest fixed payload of an answer: ATTACH_TO_IMAGE's */

struct request {
        struct stream_out out;
        struct store_io io;
        struct client *client;
        SLIST_ENTRY(request) entry;
        struct image_gate_waiter gate;
        struct image_limit_waiter turn;
        uint32_t op, sequence;
        void *buffer; /* of the proxy's buffers, size bytes */
        size_t size;
        void *taken; /* of the heap */
        bool change; /* it changes the image */
        bool last;   /* close behind it */
        uint8_t header[IVBS_HEADER_SIZE];
        uint8_t small[SMALL_SIZE];
};

/* --- buffers --- */

static void wake_first(struct proxy *proxy) {
        struct client *first = TAILQ_FIRST(&proxy->memory_waiters);

        if (first)
                client_resume(first, PAUSE_MEMORY);
}

/* Whoever is the next may find that there is room. */
static void leave_line(struct client *client) {
        if (!client->waits_for_memory)
                return;

        TAILQ_REMOVE(&client->proxy->memory_waiters, client, memory_entry);
        client->waits_for_memory = false;
        wake_first(client->proxy);
}

/* Returns a buffer; or NULL, with the client in the line or, when nothing is in use that could be waited for, not. */
static void *get_buffer(struct client *client, size_t size) {
        struct proxy *proxy = client->proxy;
        struct client *first = TAILQ_FIRST(&proxy->memory_waiters);
        void *buffer = NULL;

        if (!first || first == client)
                buffer = buffers_get(proxy->buffers, size);
        if (buffer) {
                leave_line(client);
                return buffer;
        }

        /* Nothing may be in use because the first in the line was just woken, and has not had its turn. */
        if (buffers_in_use(proxy->buffers) > 0 || (first && first != client)) {
                if (!client->waits_for_memory)
                        TAILQ_INSERT_TAIL(&proxy->memory_waiters, client, memory_entry);
                client->waits_for_memory = true;
                proxy->memory_short(proxy);
                client_pause(client, PAUSE_MEMORY);
        } else
                leave_line(client);
        return NULL;
}

void client_check_progress(struct client *client, unsigned patience) {
        /* Of what it sends, only a payload is held in a buffer: other packets are no excuse for not taking answers. */
        uint64_t bytes = client->stream.bytes_out + (client->receiving ? client->stream.bytes_in : 0);

        if (client->bytes_in_flight == 0 || client->attachment.n_ios > 0 || bytes != client->seen_bytes) {
                client->seen_bytes = bytes;
                client->n_stalled = 0;
                return;
        }

        if (++client->n_stalled < patience)
                return;
        log_event(LOG_NOTICE, CLIENT_FIELDS(client),
                "%s takes no answers, and others wait for the memory that they fill: connection closed",
                client->address);
        client_close(client, -EPROTO);
}

/* --- requests --- */

static struct request *request_new(struct client *client, uint32_t op, uint32_t sequence) {
        struct proxy *proxy = client->proxy;
        struct request *request = SLIST_FIRST(&proxy->free_requests);

        if (request) {
                SLIST_REMOVE_HEAD(&proxy->free_requests, entry);
                if (--proxy->n_free_requests < proxy->n_idle_requests)
                        proxy->n_idle_requests = proxy->n_free_requests;
        } else {
                request = malloc(sizeof(*request));
                if (!request)
                        return NULL;
        }

        request->client = client;
        request->op = op;
        request->sequence = sequence;
        request->buffer = request->taken = NULL;
        request->size = 0;
        request->change = request->last = false;
        client->n_requests++;
        return request;
}

static void request_release(struct request *request) {
        struct client *client = request->client;
        struct proxy *proxy = client->proxy;

        client->n_requests--;
        free(request->taken);
        if (request->op == IVBS_OP_LOGIN || request->op == IVBS_OP_LOGIN_TICKET)
                explicit_bzero(request->small, sizeof(request->small));
        if (request->buffer) {
                client->bytes_in_flight -= request->size;
                buffers_put(proxy->buffers, request->buffer, request->size);
                wake_first(proxy);
        }
        SLIST_INSERT_HEAD(&proxy->free_requests, request, entry);
        proxy->n_free_requests++;

        client_resume(client, PAUSE_FULL);
        client_settle(client);
}

static void free_some(struct proxy *proxy, unsigned n) {
        while (n-- > 0) {
                struct request *request = SLIST_FIRST(&proxy->free_requests);

                SLIST_REMOVE_HEAD(&proxy->free_requests, entry);
                proxy->n_free_requests--;
                free(request);
        }
}

void proxy_requests_free(struct proxy *proxy) {
        free_some(proxy, proxy->n_free_requests);
}

void proxy_requests_trim(struct proxy *proxy) {
        unsigned n = proxy->n_idle_requests;

        free_some(proxy, n);
        proxy->n_idle_requests = proxy->n_free_requests;
        /* They lie among others: the C library gives back pages only when it is asked to. */
        if (n >= TRIM_WORTHWHILE)
                (void) malloc_trim(0);
}

/* --- answers --- */

static void sent(struct stream_out *out, int error) {
        struct request *request = CONTAINER_OF(out, struct request, out);

        if (request->last)
                client_close(request->client, 0);
        request_release(request);
}

/* Takes the request. n bytes of payload follow the header. */
static void answer(struct request *request, enum ivbs_status status, void *payload, size_t n) {
        struct client *client = request->client;
        struct ivbs_header header = {
                .op = request->op,
                .status = status,
                .length = (uint32_t) n,
                .sequence = request->sequence,
        };

        /* What a classic client has never heard of. */
        if (client->caps == 0) {
                if (status == IVBS_STATUS_HELD || status == IVBS_STATUS_IN_USE)
                        header.status = IVBS_STATUS_NOT_READY;
                else if (status == IVBS_STATUS_NO_SPACE)
                        header.status = IVBS_STATUS_PERMANENT_ERROR;
        }
        if (status == IVBS_STATUS_DAMAGED && !(client->caps & IVBS_CAP_CARE))
                header.status = IVBS_STATUS_PERMANENT_ERROR;

        memcpy(header.session_id, client->session_id, IVBS_SESSION_ID_SIZE);
        ivbs_header_encode(&header, request->header);
        request->out.iov[0] = (struct iovec){ .iov_base = request->header, .iov_len = IVBS_HEADER_SIZE };
        request->out.iov[1] = (struct iovec){ .iov_base = payload, .iov_len = n };
        request->out.n_iov = n > 0 ? 2 : 1;
        request->out.pipe = NULL;
        request->out.done = sent;
        stream_send(&client->stream, &request->out);
}

/* For answers that need nothing from the store. Without memory for one the client would wait for ever: it has to go.
 */
static struct request *answer_new(struct client *client, uint32_t op, uint32_t sequence) {
        struct request *request = request_new(client, op, sequence);

        if (!request)
                client_close(client, -ENOMEM);
        return request;
}

void client_answer(struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status) {
        struct request *request = answer_new(client, op, sequence);

        if (request)
                answer(request, status, NULL, 0);
}

void client_answer_last(struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status) {
        struct request *request = answer_new(client, op, sequence);

        client->state = CLIENT_CLOSING;
        ring_timer_set(&client->timer, LAST_ANSWER_USEC);
        if (request) {
                request->last = true;
                answer(request, status, NULL, 0);
        }
}

void client_answer_copy(struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status,
        const void *payload, size_t n) {
        struct request *request = answer_new(client, op, sequence);

        assert(n <= SMALL_SIZE);
        if (!request)
                return;
        if (n > 0)
                memcpy(request->small, payload, n);
        answer(request, status, request->small, n);
}

void client_answer_take(
        struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status, void *payload, size_t n) {
        struct request *request = answer_new(client, op, sequence);

        if (!request) {
                free(payload);
                return;
        }
        request->taken = payload;
        answer(request, status, payload, n);
}

/* --- I/O --- */

static enum ivbs_status status_of_error(int error) {
        if (error >= 0)
                return IVBS_STATUS_OK;
        switch (-error) {
        case ENOSPC:
                return IVBS_STATUS_NO_SPACE;
        case EBADMSG:
                return IVBS_STATUS_DAMAGED;
        case EAGAIN:
                return IVBS_STATUS_TEMPORARY_ERROR;
        default:
                return IVBS_STATUS_PERMANENT_ERROR;
        }
}

/* Whoever keeps what is not durable yet has to know under which identity a sync's answer holds. */
static bool tells_identity(const struct request *request, enum ivbs_status status) {
        if (!(request->client->caps & IVBS_CAP_DURABILITY))
                return false;
        return request->io.kind == STORE_FLUSH || (request->io.durable && status == IVBS_STATUS_PERMANENT_ERROR);
}

static void answer_io(struct request *request, int error) {
        enum ivbs_status status = status_of_error(error);
        struct ivbs_identity identity;

        if (error >= 0 && request->io.kind == STORE_READ)
                answer(request, status, request->buffer, request->io.length);
        else if (tells_identity(request, status)) {
                proxy_get_identity(request->client->proxy, &identity);
                ivbs_identity_encode(&identity, request->small);
                answer(request, status, request->small, IVBS_IDENTITY_SIZE);
        } else
                answer(request, status, NULL, 0);
}

/* What must be over before the image is another's. A sync that fails, too: the store's error epoch must have been raised by then. */
static bool is_waited_for(const struct request *request) {
        return request->change || request->io.kind == STORE_FLUSH;
}

static void io_done(struct store_io *io, int error) {
        struct request *request = CONTAINER_OF(io, struct request, io);
        struct client *client = request->client;
        bool idle;

        if (error == -EBADMSG)
                log_event(LOG_CRIT, CLIENT_EVENT_FIELDS(client, MESSAGE_DATA_DAMAGED),
                        "The block at byte %ju of %s does not agree with its checksum: %s of %ju bytes at %ju is "
                        "refused",
                        (uintmax_t) io->progress, client->attachment.image->name, ivbs_op_to_string(request->op),
                        (uintmax_t) io->length, (uintmax_t) io->offset);
        else if (error < 0 && error != -ENOSPC)
                log_event(LOG_ERR, CLIENT_EVENT_FIELDS(client, MESSAGE_STORE_ERROR),
                        "%s of %ju bytes at %ju of %s failed: %s", ivbs_op_to_string(request->op),
                        (uintmax_t) io->length, (uintmax_t) io->offset, client->attachment.image->name,
                        strerror(-error));

        attachment_io_done(&client->attachment, is_waited_for(request));
        /* A busy control keeps the client alive beyond the answer. */
        idle = client->control.busy && client->attachment.n_ios == 0;

        answer_io(request, error);

        if (idle)
                client_io_idle(client);
}

/* What was counted as in hand, and is not for the store. */
static void finish(struct request *request, enum ivbs_status status) {
        struct client *client = request->client;
        bool idle;

        attachment_io_done(&client->attachment, is_waited_for(request));
        idle = client->control.busy && client->attachment.n_ios == 0;
        answer(request, status, NULL, 0);
        if (idle)
                client_io_idle(client);
}

/* Checked when the packet is taken, and again when its payload is there: a large write can take its time. */
static enum ivbs_status check_rights(const struct client *client, bool change) {
        if (client->attachment.expired)
                return IVBS_STATUS_EXPIRED;
        if (client->attachment.moved)
                return IVBS_STATUS_USE_ANOTHER_PROXY;
        if (change && !client->attachment.writes)
                return IVBS_STATUS_READ_ONLY;
        return IVBS_STATUS_OK;
}

/* A snapshot that was being made no longer stands in its way. */
static void go(struct image_gate_waiter *waiter) {
        struct request *request = CONTAINER_OF(waiter, struct request, gate);
        struct client *client = request->client;
        enum ivbs_status status;

        /* What was moved or has expired meanwhile is not executed; but what has ended is, since somebody may count on its being over. */
        status = check_rights(client, request->change);
        if (status == IVBS_STATUS_OK)
                client->proxy->store->ops->submit(&request->io);
        else
                finish(request, status);
}

/* A snapshot of the image is being made. Returns whether the request has been taken care of. */
static bool wait_at_gate(struct request *request, struct image_gate *gate) {
        bool leave_out;

        request->gate = (struct image_gate_waiter){
                .go = go,
                .offset = request->io.offset,
                .length = request->io.kind == STORE_FLUSH ? 0 : request->io.length,
        };
        if (image_gate_stops(gate, &request->gate, request->io.kind == STORE_TRIM, &leave_out))
                return true;
        /* To forget data is a favour, and not worth copying all of it first. */
        if (leave_out)
                finish(request, IVBS_STATUS_OK);
        return leave_out;
}

/* Who knows that sizes change is told that this one may have; it was refused under the size that the session was told, or a smaller one since. */
static enum ivbs_status beyond_end(const struct client *client) {
        return (client->caps & IVBS_CAP_RESIZE) && client->attachment.image->size.epoch > 0
                       ? IVBS_STATUS_RESIZED
                       : IVBS_STATUS_INVALID_REQUEST;
}

static void pass_gate(struct request *request) {
        struct client *client = request->client;
        struct image_gate *gate = client->attachment.image->gate;

        if (gate && is_waited_for(request) && wait_at_gate(request, gate))
                return;
        client->proxy->store->ops->submit(&request->io);
}

/* The image's limits let it begin. */
static void turn_came(struct image_limit_waiter *waiter) {
        struct request *request = CONTAINER_OF(waiter, struct request, turn);
        const struct client *client = request->client;
        enum ivbs_status status;

        status = check_rights(client, request->change);
        if (status == IVBS_STATUS_OK && request->io.offset + request->io.length > client->attachment.limit)
                status = beyond_end(client);
        if (status == IVBS_STATUS_OK)
                pass_gate(request);
        else
                finish(request, status);
}

static void submit(struct request *request) {
        struct client *client = request->client;
        enum ivbs_status status;

        status = check_rights(client, request->change);
        /* A reader could keep it from ever being over. */
        if (status == IVBS_STATUS_OK && is_waited_for(request) &&
                (image_is_being_let_go(client->attachment.image) || client->attachment.image->n_quiescing > 0))
                status = IVBS_STATUS_TEMPORARY_ERROR;
        /* The image may have become smaller while the data came in. */
        if (status == IVBS_STATUS_OK && request->io.kind != STORE_FLUSH &&
                request->io.offset + request->io.length > client->attachment.limit)
                status = beyond_end(client);
        if (status != IVBS_STATUS_OK) {
                answer(request, status, NULL, 0);
                return;
        }

        attachment_io_started(&client->attachment, is_waited_for(request));
        if (request->turn.start_usec > ring_now_usec(client->proxy->ring)) {
                request->turn.go = turn_came;
                image_limit_wait(client->attachment.image->limit, client->proxy->ring, &request->turn);
                return;
        }
        pass_gate(request);
}

/* What a packet asks for; prefix: the payload's bytes that are parameters. */
struct wish {
        struct store_io io;
        bool change, data_in, data_out;
        size_t prefix;
};

/* Returns 0, or -EAGAIN when more bytes are needed to know. */
static int decode(const struct ivbs_header *header, const uint8_t *payload, size_t n, struct wish *ret) {
        struct wish wish = { .change = true };
        struct ivbs_zeroes zeroes;

        switch (header->op) {
        case IVBS_OP_WRITE:
        case IVBS_OP_WRITE_FUA:
                wish.prefix = IVBS_WRITE_PREFIX_SIZE;
                wish.data_in = true;
                wish.io.kind = STORE_WRITE;
                wish.io.durable = header->op == IVBS_OP_WRITE_FUA;
                break;

        case IVBS_OP_READ:
                wish.prefix = header->length;
                wish.data_out = true;
                wish.change = false;
                wish.io.kind = STORE_READ;
                break;

        case IVBS_OP_TRIM:
                wish.prefix = header->length;
                wish.io.kind = STORE_TRIM;
                break;

        case IVBS_OP_WRITE_ZEROES:
                wish.prefix = header->length;
                wish.io.kind = STORE_WRITE_ZEROES;
                break;

        case IVBS_OP_FLUSH:
        default:
                wish.prefix = header->length;
                wish.change = false;
                wish.io.kind = STORE_FLUSH;
                break;
        }

        if (n < wish.prefix)
                return -EAGAIN;

        switch (wish.io.kind) {
        case STORE_WRITE:
                wish.io.offset = ivbs_offset_decode(payload);
                wish.io.length = header->length - IVBS_WRITE_PREFIX_SIZE;
                break;

        case STORE_READ:
        case STORE_TRIM:
                ivbs_range_decode(payload, &wish.io.offset, &wish.io.length);
                break;

        case STORE_WRITE_ZEROES:
                if (ivbs_zeroes_decode(payload, wish.prefix, &zeroes) < 0)
                        break; /* length 0 is refused later */
                wish.io.offset = zeroes.offset;
                wish.io.length = zeroes.length;
                wish.io.durable = zeroes.flags & IVBS_ZEROES_FUA;
                wish.io.no_hole = zeroes.flags & IVBS_ZEROES_NO_HOLE;
                break;

        case STORE_FLUSH:
        default:
                break;
        }

        *ret = wish;
        return 0;
}

static enum ivbs_status check_wish(const struct client *client, const struct wish *wish) {
        if (wish->io.kind != STORE_FLUSH &&
                !ivbs_range_is_valid(wish->io.offset, wish->io.length, client->attachment.limit))
                return beyond_end(client);
        if (wish->data_out && wish->io.length > IVBS_DATA_MAX)
                return IVBS_STATUS_INVALID_REQUEST;
        return check_rights(client, wish->change);
}

/* The wish is refused: its answer, and its data to be passed over. */
static ssize_t refuse(
        struct client *client, const struct ivbs_header *header, const struct wish *wish, enum ivbs_status status) {
        leave_line(client);
        client->skip = header->length - wish->prefix;
        client_answer(client, header->op, header->sequence, status);
        return (ssize_t) (IVBS_HEADER_SIZE + wish->prefix);
}

ssize_t client_request(struct client *client, const struct ivbs_header *header, const uint8_t *data, size_t n) {
        struct request *request;
        enum ivbs_status status;
        struct image_limit *limit;
        void *buffer = NULL;
        struct wish wish;
        uint64_t start = 0;
        size_t size;

        if (decode(header, data + IVBS_HEADER_SIZE, n - IVBS_HEADER_SIZE, &wish) < 0)
                return 0;
        status = check_wish(client, &wish);
        if (status != IVBS_STATUS_OK)
                return refuse(client, header, &wish, status);

        size = wish.data_in || wish.data_out ? (size_t) wish.io.length : 0;
        if (size > 0) {
                if (client->bytes_in_flight > 0 &&
                        client->bytes_in_flight + size > client->proxy->settings->client_memory) {
                        leave_line(client);
                        client_pause(client, PAUSE_FULL);
                        return 0;
                }
                buffer = get_buffer(client, size);
                if (!buffer && client->waits_for_memory)
                        return 0;
                if (!buffer)
                        return refuse(client, header, &wish, IVBS_STATUS_TEMPORARY_ERROR);
        }

        /* Last, since what is put off is looked at again. */
        limit = client->attachment.image->limit;
        if (limit && image_limit_is_on(limit) && wish.io.kind != STORE_FLUSH &&
                image_limit_admit(limit, ring_now_usec(client->proxy->ring), size, &start) < 0) {
                buffers_put(client->proxy->buffers, buffer, size);
                wake_first(client->proxy);
                return refuse(client, header, &wish, IVBS_STATUS_TEMPORARY_ERROR);
        }

        request = request_new(client, header->op, header->sequence);
        if (!request) {
                buffers_put(client->proxy->buffers, buffer, size);
                return -ENOMEM;
        }
        request->buffer = buffer;
        request->size = size;
        request->change = wish.change;
        request->turn.start_usec = start;
        client->bytes_in_flight += size;
        request->io = wish.io;
        request->io.image = client->attachment.image->handle;
        request->io.buffer = buffer;
        request->io.done = io_done;

        if (wish.data_in) {
                client->receiving = request;
                stream_receive_into(&client->stream, buffer, size);
        } else
                submit(request);
        return (ssize_t) (IVBS_HEADER_SIZE + wish.prefix);
}

int client_payload(struct client *client) {
        struct request *request = client->receiving;

        client->receiving = NULL;
        /* Refused or cut off while it came in. */
        if (client->state != CLIENT_ATTACHED || client->proxy->diverting) {
                answer(request,
                        client->state == CLIENT_DRAINING || client->proxy->diverting ? IVBS_STATUS_USE_ANOTHER_PROXY
                                                                                     : IVBS_STATUS_INVALID_REQUEST,
                        NULL, 0);
                return 0;
        }

        fault_point("write-received");
        submit(request);
        return 0;
}

void client_request_closing(struct client *client) {
        leave_line(client);
}

void client_request_abandon(struct client *client) {
        struct request *request = client->receiving;

        if (!request)
                return;
        client->receiving = NULL;
        request_release(request);
}
