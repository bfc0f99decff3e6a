/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Answers, and the headers that each of them carries. The policy lets the page load nothing but what this server has, run no script that stands in it, be framed by nobody, and send forms nowhere; so a name that
 * somebody has managed to make look like HTML stays a name. */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "exchange.h"
#include "server-internal.h"

static const struct {
        const char *name, *value;
} security_headers[] = {
        { "Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                                     "connect-src 'self'; base-uri 'none'; "
                                     "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
                                     "trusted-types 'none'" },
        { "X-Content-Type-Options", "nosniff" },
        { "X-Frame-Options", "DENY" },
        { "Referrer-Policy", "no-referrer" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Cross-Origin-Opener-Policy", "same-origin" },
};

const char *exchange_header(const struct exchange *exchange, const char *name) {
        return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

static bool add_headers(struct MHD_Response *response, const char *content_type, const char *cache) {
        bool good = MHD_add_response_header(response, "Content-Type", content_type) == MHD_YES &&
                    MHD_add_response_header(response, "Cache-Control", cache) == MHD_YES;

        for (size_t i = 0; good && i < ELEMENTSOF(security_headers); i++)
                good = MHD_add_response_header(response, security_headers[i].name, security_headers[i].value) ==
                       MHD_YES;
        return good;
}

/* Takes response. */
static int answer(struct exchange *exchange, unsigned status, struct MHD_Response *response) {
        enum exchange_state before = exchange->state;

        if (before == EXCHANGE_ANSWERED) {
                if (response)
                        MHD_destroy_response(response);
                return -EALREADY;
        }

        /* Without a response the connection is closed. */
        exchange->state = EXCHANGE_ANSWERED;
        exchange->response = response;
        exchange->status = status;
        if (before == EXCHANGE_WAITING)
                server_wake(exchange);
        return response ? 0 : -ENOMEM;
}

static int answer_with(struct exchange *exchange, unsigned status, const char *content_type, const char *cache,
        const char *extra_name, const char *extra_value, const void *data, size_t size) {
        struct MHD_Response *response =
                MHD_create_response_from_buffer(size, (void *) (uintptr_t) data, MHD_RESPMEM_MUST_COPY);

        if (response &&
                (!add_headers(response, content_type, cache) ||
                        (extra_name && MHD_add_response_header(response, extra_name, extra_value) != MHD_YES))) {
                MHD_destroy_response(response);
                response = NULL;
        }
        return answer(exchange, status, response);
}

int exchange_reply(
        struct exchange *exchange, unsigned status, const char *content_type, const void *data, size_t size) {
        return answer_with(exchange, status, content_type, "no-store", NULL, NULL, data, size);
}

int exchange_reply_text(struct exchange *exchange, unsigned status, const char *text) {
        return exchange_reply(exchange, status, "text/plain; charset=utf-8", text, strlen(text));
}

int exchange_reply_json(struct exchange *exchange, unsigned status, struct json_object *object) {
        size_t n;
        const char *text =
                object ? json_object_to_json_string_length(object, JSON_C_TO_STRING_NOSLASHESCAPE, &n) : NULL;

        if (!text)
                return exchange_reply_text(exchange, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");

        return exchange_reply(exchange, status, "application/json", text, n);
}

static struct json_object *failure_object(const char *error, const char *message) {
        struct json_object *object = json_object_new_object();

        if (object && json_object_object_add(object, "error", json_object_new_string(error)) == 0 &&
                json_object_object_add(object, "message", json_object_new_string(message)) == 0)
                return object;

        json_object_put(object);
        return NULL;
}

int exchange_fail(struct exchange *exchange, unsigned status, const char *error, const char *format, ...) {
        struct json_object *object;
        char message[1024];
        va_list ap;
        int r;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof message, format, ap);
        va_end(ap);

        object = failure_object(error, message);
        r = exchange_reply_json(exchange, status, object);
        json_object_put(object);
        return r;
}

int exchange_refuse_method(struct exchange *exchange, const char *allowed) {
        static const char text[] =
                "{\"error\":\"MethodNotAllowed\",\"message\":\"This address does not know that method.\"}";

        return answer_with(exchange, MHD_HTTP_METHOD_NOT_ALLOWED, "application/json", "no-store", "Allow", allowed,
                text, strlen(text));
}

int exchange_reply_asset(
        struct exchange *exchange, const char *content_type, const char *tag, const void *data, size_t size) {
        const char *known = exchange_header(exchange, "If-None-Match");

        if (known && strstr(known, tag))
                return answer_with(exchange, MHD_HTTP_NOT_MODIFIED, content_type, "no-cache", "ETag", tag, "", 0);
        return answer_with(exchange, MHD_HTTP_OK, content_type, "no-cache", "ETag", tag, data, size);
}

void exchange_wait(struct exchange *exchange) {
        if (exchange->state == EXCHANGE_HANDLED)
                exchange->state = EXCHANGE_WAITING;
}

void exchange_on_gone(
        struct exchange *exchange, void (*on_gone)(struct exchange *exchange, void *userdata), void *userdata) {
        exchange->on_gone = on_gone;
        exchange->on_gone_userdata = userdata;
}

/* Called by the library when it can send. With nothing to send the connection sleeps, else it would ask again at once. */
static ssize_t read_stream(void *userdata, uint64_t position, char *buffer, size_t max) {
        struct exchange *exchange = userdata;
        size_t n = exchange->n_stream_queue < max ? exchange->n_stream_queue : max;

        if (n == 0) {
                if (exchange->stream_ended)
                        return MHD_CONTENT_READER_END_OF_STREAM;
                exchange->stream_asleep = true;
                MHD_suspend_connection(exchange->connection);
                return 0;
        }

        memcpy(buffer, exchange->stream_queue, n);
        exchange->n_stream_queue -= n;
        memmove(exchange->stream_queue, exchange->stream_queue + n, exchange->n_stream_queue);
        return (ssize_t) n;
}

int exchange_stream(struct exchange *exchange, const char *content_type) {
        struct MHD_Response *response;

        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, exchange, NULL);
        if (response && !add_headers(response, content_type, "no-store")) {
                MHD_destroy_response(response);
                response = NULL;
        }
        exchange->streaming = response != NULL;
        return answer(exchange, MHD_HTTP_OK, response);
}

int exchange_stream_push(struct exchange *exchange, const void *data, size_t size) {
        char *queue;

        if (size > STREAM_QUEUE_MAX - exchange->n_stream_queue)
                return -ENOBUFS;
        queue = realloc(exchange->stream_queue, exchange->n_stream_queue + size + 1);
        if (!queue)
                return -ENOMEM;
        memcpy(queue + exchange->n_stream_queue, data, size);
        exchange->stream_queue = queue;
        exchange->n_stream_queue += size;

        if (exchange->stream_asleep) {
                exchange->stream_asleep = false;
                server_wake(exchange);
        }
        return 0;
}

void exchange_stream_end(struct exchange *exchange) {
        exchange->stream_ended = true;
        exchange->n_stream_queue = 0;
        server_hang_up(exchange);
        if (exchange->stream_asleep) {
                exchange->stream_asleep = false;
                server_wake(exchange);
        }
}
