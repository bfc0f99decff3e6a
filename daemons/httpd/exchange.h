/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One request and its answer. A handler answers at once, or says that it waits and answers later; either way exactly once. It belongs to the connection and is gone when that is: whoever keeps a pointer over a
 * turn of the loop asks to be told (exchange_on_gone). */

#include <json-c/json.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "cleanup.h"

#define BODY_MAX         (16U * 1024U)
#define STREAM_QUEUE_MAX (1024U * 1024U)

enum exchange_state {
        EXCHANGE_RECEIVING,
        EXCHANGE_HANDLED, /* a handler has it, and has neither answered nor asked to wait */
        EXCHANGE_WAITING, /* the connection sleeps until there is an answer */
        EXCHANGE_ANSWERED,
};

struct peer;
struct server;

struct exchange {
        struct server *server;
        struct MHD_Connection *connection;
        struct peer *peer;
        char *path;   /* unescaped, without the query */
        char *method; /* "GET" for HEAD, too */
        char *body;   /* ends with a 0 that does not count */
        size_t n_body;
        bool too_large;
        bool local;     /* from this host: loopback or a Unix socket */
        bool certified; /* by a certificate of the client CA */
        enum exchange_state state;
        struct MHD_Response *response;
        unsigned status;
        /* A stream: what is not sent yet; asleep when that is nothing. */
        bool streaming, stream_asleep, stream_ended;
        char *stream_queue;
        size_t n_stream_queue;
        void (*on_gone)(struct exchange *exchange, void *userdata);
        void *on_gone_userdata;
        LIST_ENTRY(exchange) entry; /* of the server's */
};

/* A header of the request, NULL when there is none. Names are taken in any case. */
const char *exchange_header(const struct exchange *exchange, const char *name);

/* The answers. All return 0, or a negative errno with the exchange answered nonetheless, by an error if need be. */
int exchange_reply(
        struct exchange *exchange, unsigned status, const char *content_type, const void *data, size_t size);
int exchange_reply_text(struct exchange *exchange, unsigned status, const char *text);
int exchange_reply_json(struct exchange *exchange, unsigned status, struct json_object *object);
/* {"error": error, "message": ...} */
int exchange_fail(struct exchange *exchange, unsigned status, const char *error, const char *format, ...)
        _printf_(4, 5);
/* 405, with the methods that there are. */
int exchange_refuse_method(struct exchange *exchange, const char *allowed);
/* What a browser has already, by an entity tag. */
int exchange_reply_asset(
        struct exchange *exchange, const char *content_type, const char *tag, const void *data, size_t size);

/* The answer comes later. */
void exchange_wait(struct exchange *exchange);
/* Called once when the exchange is over, however it ended, and about to be freed. */
void exchange_on_gone(
        struct exchange *exchange, void (*on_gone)(struct exchange *exchange, void *userdata), void *userdata);

/* An answer without an end. push returns -ENOBUFS when the peer does not read: end it then. */
int exchange_stream(struct exchange *exchange, const char *content_type);
int exchange_stream_push(struct exchange *exchange, const void *data, size_t size);
void exchange_stream_end(struct exchange *exchange);
