/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The library's epoll descriptor is a source of our loop, and before each wait the loop asks it for its next deadline. In the clear and with TLS are two daemons, since the library knows only one way for all of a daemon's
 * connections. */

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>

#include "log.h"
#include "mhd-loop.h"

#define CONNECTION_MEMORY (24U * 1024U) /* request line and headers have to fit */
#define SILENCE_MAX_SEC   20U
#define PRIORITIES        "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct mhd_loop {
        struct MHD_Daemon *daemon;
        sd_event_source *epoll_source, *timer;
};

static void on_library_message(void *userdata, const char *format, va_list ap) _printf_(2, 0);
static void on_library_message(void *userdata, const char *format, va_list ap) {
        char text[512];
        size_t n;

        /* What peers do wrong is theirs, and they decide how often. */
        if (log_get_max_level() < LOG_DEBUG)
                return;
        (void) vsnprintf(text, sizeof text, format, ap);
        n = strcspn(text, "\n");
        text[n] = 0;
        log_event(LOG_DEBUG, NULL, "libmicrohttpd: %s", text);
}

/* Of a hexadecimal digit; -1 for what is none. */
static int digit_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* An address' escapes, in place; one that stands for the end of a string stays as it is, and so is part of no address that there is. */
static size_t on_unescape(void *userdata, struct MHD_Connection *connection, char *text) {
        char *to = text;

        for (const char *from = text; *from; from++) {
                int high = from[0] == '%' ? digit_value(from[1]) : -1, low = high >= 0 ? digit_value(from[2]) : -1;

                if (low >= 0 && (high > 0 || low > 0)) {
                        *to++ = (char) (high * 16 + low);
                        from += 2;
                } else
                        *to++ = *from;
        }
        *to = 0;
        return (size_t) (to - text);
}

static int on_epoll(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct mhd_loop *loop = userdata;

        (void) MHD_run(loop->daemon);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct mhd_loop *loop = userdata;

        (void) MHD_run(loop->daemon);
        return 0;
}

/* Before each wait of the loop. */
static int on_prepare(sd_event_source *source, void *userdata) {
        struct mhd_loop *loop = userdata;
        MHD_UNSIGNED_LONG_LONG msec;

        if (MHD_get_timeout(loop->daemon, &msec) != MHD_YES)
                return 0;
        /* The library wants to be asked in time, not early: its clock counts whole milliseconds. */
        if (sd_event_source_set_time_relative(loop->timer, msec * 1000) >= 0)
                (void) sd_event_source_set_enabled(loop->timer, SD_EVENT_ONESHOT);
        return 0;
}

static int add_sources(struct mhd_loop *loop, sd_event *event) {
        const union MHD_DaemonInfo *info = MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_EPOLL_FD);
        int r;

        if (!info || info->epoll_fd < 0)
                return -EOPNOTSUPP;

        r = sd_event_add_io(event, &loop->epoll_source, info->epoll_fd, EPOLLIN, on_epoll, loop);
        if (r < 0)
                return r;
        r = sd_event_source_set_prepare(loop->epoll_source, on_prepare);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &loop->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, loop);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(loop->timer, SD_EVENT_OFF);
}

int mhd_loop_new(sd_event *event, const struct mhd_tls *tls, unsigned connections_max, const struct mhd_loop_ops *ops,
        void *userdata, struct mhd_loop **ret) {
        _cleanup_(mhd_loop_freep) struct mhd_loop *loop = calloc(1, sizeof(*loop));
        struct MHD_OptionItem items[5] = {};
        unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
        size_t n = 0;
        int r;

        if (!loop)
                return -ENOMEM;
        if (tls) {
                flags |= MHD_USE_TLS;
                items[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, (void *) tls->certificate };
                items[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, (void *) tls->key };
                items[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *) PRIORITIES };
                if (tls->client_ca)
                        items[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *) tls->client_ca };
        }
        items[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };

        /* The logger has to come first. */
        loop->daemon = MHD_start_daemon(flags, 0, NULL, NULL, ops->request, userdata, MHD_OPTION_EXTERNAL_LOGGER,
                on_library_message, loop, MHD_OPTION_CONNECTION_LIMIT, connections_max,
                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
                SILENCE_MAX_SEC, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, loop,
                MHD_OPTION_NOTIFY_COMPLETED, ops->completed, userdata, MHD_OPTION_NOTIFY_CONNECTION, ops->connection,
                userdata, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
        if (!loop->daemon)
                return tls ? -EKEYREJECTED : -EIO;
        r = add_sources(loop, event);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(loop);
        return 0;
}

struct mhd_loop *mhd_loop_free(struct mhd_loop *loop) {
        if (!loop)
                return NULL;

        if (loop->daemon) {
                /* What was woken for its end has to be sent. */
                for (unsigned i = 0; i < 4; i++)
                        (void) MHD_run(loop->daemon);
                sd_event_source_disable_unref(loop->epoll_source);
                MHD_stop_daemon(loop->daemon);
        }
        sd_event_source_disable_unref(loop->timer);
        free(loop);
        return NULL;
}

void mhd_loop_add(struct mhd_loop *loop, int fd, const struct sockaddr *address, socklen_t length) {
        /* Closes the descriptor itself when it fails. */
        (void) MHD_add_connection(loop->daemon, fd, address, length);
        mhd_loop_kick(loop);
}

void mhd_loop_kick(struct mhd_loop *loop) {
        if (loop->timer && sd_event_source_set_time_relative(loop->timer, 0) >= 0)
                (void) sd_event_source_set_enabled(loop->timer, SD_EVENT_ONESHOT);
}

bool mhd_peer_is_certified(struct MHD_Connection *connection) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
                .data = (unsigned char *) GNUTLS_KP_TLS_WWW_CLIENT };
        gnutls_session_t session;
        unsigned status, n = 0;

        if (!info || !info->tls_session)
                return false;
        session = info->tls_session;
        /* Whoever shows none has nothing that could be verified. */
        return gnutls_certificate_get_peers(session, &n) && n > 0 &&
               gnutls_certificate_verify_peers(session, &purpose, 1, &status) == GNUTLS_E_SUCCESS && status == 0;
}
