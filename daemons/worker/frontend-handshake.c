/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The fixed newstyle handshake with a client on the socket. What a client may do is settled when it enters transmission, not when it connects: asking for information does not
 * make anybody the writer. */

#include <errno.h>

#include "frontend-nbd.h"

/* A client needs a handful; one that asks on and on never becomes a user of the image. */
#define OPTIONS_MAX 64U

int frontend_send_greeting(struct frontend *f) {
        uint8_t greeting[NBD_GREETING_SIZE];

        nbd_greeting_encode(greeting);
        return frontend_send(f, greeting, sizeof(greeting));
}

static int send_ack(struct frontend *f, uint32_t option) {
        uint8_t reply[NBD_OPTION_REPLY_SIZE];

        nbd_option_ack_encode(option, reply);
        return frontend_send(f, reply, sizeof(reply));
}

static int send_error(struct frontend *f, uint32_t option, uint32_t error, const char *text) {
        uint8_t reply[NBD_TEXT_REPLY_SIZE_MAX];

        return frontend_send(f, reply, nbd_option_error_encode(option, error, text, reply));
}

static bool is_ours(const struct frontend *f, const char *name, size_t length) {
        return length == 0 || nbd_name_equal(name, length, f->name);
}

static void enter(struct frontend *f) {
        f->ops->open(f->userdata, f, true, &f->export);
        f->writes = !(f->export.flags & NBD_FLAG_READ_ONLY);
        f->phase = FRONTEND_TRANSMISSION;
        ring_timer_unset(&f->handshake_timer);
}

static int on_info(struct frontend *f, const struct nbd_option *option, const uint8_t *payload) {
        uint8_t reply[NBD_GO_REPLY_SIZE_MAX];
        struct nbd_info_request request;
        size_t n;

        if (nbd_info_request_decode(payload, option->length, &request) < 0)
                return send_error(f, option->option, NBD_REP_ERR_INVALID, "the option's payload makes no sense");
        if (!is_ours(f, request.name, request.name_length))
                return send_error(f, option->option, NBD_REP_ERR_UNKNOWN, "there is no such export on this socket");

        if (option->option == NBD_OPT_GO)
                enter(f);
        else
                f->ops->open(f->userdata, f, false, &f->export);

        n = nbd_option_go_encode(option->option, &f->export, request.infos, f->name, "", reply);
        return frontend_send(f, reply, n);
}

static int on_export_name(struct frontend *f, const struct nbd_option *option, const uint8_t *payload) {
        uint8_t reply[NBD_EXPORT_REPLY_SIZE];
        const char *name;
        size_t length;

        /* This option has no error reply: hanging up is the answer. */
        if (nbd_export_name_decode(payload, option->length, &name, &length) < 0 || !is_ours(f, name, length))
                return -ENOENT;

        enter(f);
        return frontend_send(f, reply, nbd_export_reply_encode(&f->export, f->client_flags, reply));
}

static int on_list(struct frontend *f, const struct nbd_option *option) {
        uint8_t reply[NBD_TEXT_REPLY_SIZE_MAX];
        int r;

        if (option->length > 0)
                return send_error(f, option->option, NBD_REP_ERR_INVALID, "LIST has no payload");

        r = frontend_send(f, reply, nbd_option_server_encode(f->name, reply));
        return r < 0 ? r : send_ack(f, option->option);
}

static int on_option(struct frontend *f, const struct nbd_option *option, const uint8_t *payload) {
        if (++f->n_options > OPTIONS_MAX)
                return -EPROTO;

        switch (option->option) {
        case NBD_OPT_GO:
        case NBD_OPT_INFO:
                return on_info(f, option, payload);
        case NBD_OPT_EXPORT_NAME:
                return on_export_name(f, option, payload);
        case NBD_OPT_LIST:
                return on_list(f, option);
        case NBD_OPT_STRUCTURED_REPLY:
                if (option->length > 0)
                        return send_error(f, option->option, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY has no payload");
                f->structured = true;
                return send_ack(f, option->option);
        case NBD_OPT_ABORT:
                f->phase = FRONTEND_DISCONNECTING;
                return send_ack(f, option->option);
        default:
                return send_error(f, option->option, NBD_REP_ERR_UNSUP, "this server does not know the option");
        }
}

ssize_t frontend_handshake(struct frontend *f, const uint8_t *data, size_t n) {
        struct nbd_option option;
        int r;

        if (f->phase == FRONTEND_FLAGS) {
                if (n < NBD_CLIENT_FLAGS_SIZE)
                        return 0;
                r = nbd_client_flags_decode(data, &f->client_flags);
                if (r < 0)
                        return r;
                f->phase = FRONTEND_OPTIONS;
                return NBD_CLIENT_FLAGS_SIZE;
        }

        r = nbd_option_decode(data, n, &option);
        if (r <= 0)
                return r;
        if (n < NBD_OPTION_SIZE + option.length)
                return 0;

        r = on_option(f, &option, data + NBD_OPTION_SIZE);
        return r < 0 ? r : (ssize_t) (NBD_OPTION_SIZE + option.length);
}
