/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See nbd-client.h. Input is taken as it comes into one growing buffer and consumed unit by unit; what a unit is depends on the phase. Reads in flight are kept in
 * a small table, because only the request tells how much data its reply has. */

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "nbd-client.h"

#define READ_AT_ONCE (256U * 1024U)
#define READS_MAX    256U

enum phase {
        PHASE_GREETING,
        PHASE_OPTION,
        PHASE_TRANSMISSION,
};

struct message {
        STAILQ_ENTRY(message) entry;
        size_t size, sent;
        uint8_t bytes[];
};

struct nbd_client {
        const struct nbd_client_calls *calls;
        void *userdata;
        int fd;
        sd_event_source *source;
        enum phase phase;
        uint64_t size;
        uint16_t flags;
        STAILQ_HEAD(message_list, message) out;
        uint8_t *in;
        size_t in_size, in_have;
        struct {
                uint64_t cookie;
                uint32_t length;
                bool used;
        } reads[READS_MAX];
};

static void put16(uint8_t *p, uint16_t v) {
        v = htobe16(v);
        memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v) {
        v = htobe32(v);
        memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v) {
        v = htobe64(v);
        memcpy(p, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *p) {
        uint16_t v;

        memcpy(&v, p, sizeof(v));
        return be16toh(v);
}

static uint32_t get32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return be32toh(v);
}

static uint64_t get64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return be64toh(v);
}

struct nbd_client *nbd_client_free(struct nbd_client *c) {
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->source);
        while (!STAILQ_EMPTY(&c->out)) {
                struct message *m = STAILQ_FIRST(&c->out);

                STAILQ_REMOVE_HEAD(&c->out, entry);
                free(m);
        }
        safe_close(c->fd);
        free(c->in);
        free(c);
        return NULL;
}

/* Nothing of c may be used afterwards. */
static int lose(struct nbd_client *c, const char *reason) {
        (void) sd_event_source_set_enabled(c->source, SD_EVENT_OFF);
        c->calls->lost(c->userdata, reason);
        return 0;
}

static int push(struct nbd_client *c, const void *head, size_t n_head, const void *data, size_t n_data) {
        struct message *m;

        m = malloc(sizeof(*m) + n_head + n_data);
        if (!m)
                return -ENOMEM;
        m->size = n_head + n_data;
        m->sent = 0;
        memcpy(m->bytes, head, n_head);
        if (n_data > 0)
                memcpy(m->bytes + n_head, data, n_data);
        STAILQ_INSERT_TAIL(&c->out, m, entry);
        return sd_event_source_set_io_events(c->source, EPOLLIN | EPOLLOUT);
}

static int write_out(struct nbd_client *c) {
        while (!STAILQ_EMPTY(&c->out)) {
                struct message *m = STAILQ_FIRST(&c->out);
                ssize_t n;

                n = send(c->fd, m->bytes + m->sent, m->size - m->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                m->sent += (size_t) n;
                if (m->sent < m->size)
                        return 0;
                STAILQ_REMOVE_HEAD(&c->out, entry);
                free(m);
        }
        return sd_event_source_set_io_events(c->source, EPOLLIN);
}

static int answer_greeting(struct nbd_client *c) {
        uint8_t go[NBD_CLIENT_FLAGS_SIZE + NBD_OPTION_SIZE + 6] = {};

        if (get64(c->in) != NBD_INIT_PASSWD || get64(c->in + 8) != NBD_OPTION_MAGIC)
                return -EPROTO;
        put32(go, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
        put64(go + 4, NBD_OPTION_MAGIC);
        put32(go + 12, NBD_OPT_GO);
        put32(go + 16, 6); /* name of length 0, no information asked for */
        c->phase = PHASE_OPTION;
        return push(c, go, sizeof(go), NULL, 0);
}

static int take_option_reply(struct nbd_client *c, uint32_t kind, const uint8_t *data, uint32_t length) {
        if (kind == NBD_REP_ACK) {
                c->phase = PHASE_TRANSMISSION;
                c->calls->ready(c->userdata);
        } else if (kind == NBD_REP_INFO && length >= 12 && get16(data) == NBD_INFO_EXPORT) {
                c->size = get64(data + 2);
                c->flags = get16(data + 10);
        } else if (kind != NBD_REP_INFO)
                return -ECONNREFUSED;
        return 0;
}

/* Takes one unit from the start of what has come. Returns its length, 0 when it is not there in full, or a negative errno. */
static ssize_t take(struct nbd_client *c, const uint8_t *p, size_t have) {
        uint32_t length = 0;
        int r;

        switch (c->phase) {
        case PHASE_GREETING:
                if (have < NBD_GREETING_SIZE)
                        return 0;
                r = answer_greeting(c);
                return r < 0 ? r : (ssize_t) NBD_GREETING_SIZE;

        case PHASE_OPTION:
                if (have < NBD_OPTION_REPLY_SIZE)
                        return 0;
                length = get32(p + 16);
                if (get64(p) != NBD_OPTION_REPLY_MAGIC || length > 65536)
                        return -EPROTO;
                if (have < NBD_OPTION_REPLY_SIZE + length)
                        return 0;
                r = take_option_reply(c, get32(p + 12), p + NBD_OPTION_REPLY_SIZE, length);
                return r < 0 ? r : (ssize_t) (NBD_OPTION_REPLY_SIZE + length);

        case PHASE_TRANSMISSION:
        default:
                break;
        }

        if (have < NBD_SIMPLE_REPLY_SIZE)
                return 0;
        if (get32(p) != NBD_SIMPLE_REPLY_MAGIC)
                return -EPROTO;
        for (unsigned i = 0; i < READS_MAX; i++)
                if (c->reads[i].used && c->reads[i].cookie == get64(p + 8)) {
                        if (get32(p + 4) == 0)
                                length = c->reads[i].length;
                        if (have < NBD_SIMPLE_REPLY_SIZE + length)
                                return 0;
                        c->reads[i].used = false;
                        break;
                }
        c->calls->reply(
                c->userdata, get64(p + 8), get32(p + 4), length > 0 ? p + NBD_SIMPLE_REPLY_SIZE : NULL, length);
        return (ssize_t) (NBD_SIMPLE_REPLY_SIZE + length);
}

static int read_in(struct nbd_client *c) {
        size_t used = 0;
        ssize_t n;

        if (c->in_size - c->in_have < READ_AT_ONCE) {
                uint8_t *grown = realloc(c->in, c->in_have + READ_AT_ONCE);

                if (!grown)
                        return -ENOMEM;
                c->in = grown;
                c->in_size = c->in_have + READ_AT_ONCE;
        }
        n = recv(c->fd, c->in + c->in_have, c->in_size - c->in_have, MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -ECONNRESET;
        c->in_have += (size_t) n;

        for (;;) {
                n = take(c, c->in + used, c->in_have - used);
                if (n < 0)
                        return (int) n;
                if (n == 0)
                        break;
                used += (size_t) n;
        }
        memmove(c->in, c->in + used, c->in_have - used);
        c->in_have -= used;
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct nbd_client *c = userdata;
        int r = 0;

        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                r = read_in(c);
        if (r >= 0 && (events & EPOLLOUT))
                r = write_out(c);
        return r < 0 ? lose(c, strerror(-r)) : 0;
}

int nbd_client_new(struct nbd_client **ret, sd_event *event, const char *path, const struct nbd_client_calls *calls,
        void *userdata) {
        _cleanup_(nbd_client_freep) struct nbd_client *c = calloc(1, sizeof(*c));
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int r;

        if (!c)
                return -ENOMEM;
        *c = (struct nbd_client){ .calls = calls, .userdata = userdata, .fd = -EBADF };
        STAILQ_INIT(&c->out);
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);

        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        r = sd_event_add_io(event, &c->source, c->fd, EPOLLIN, on_io, c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

bool nbd_client_is_ready(const struct nbd_client *c) {
        return c->phase == PHASE_TRANSMISSION;
}

uint64_t nbd_client_size(const struct nbd_client *c) {
        return c->size;
}

uint16_t nbd_client_flags(const struct nbd_client *c) {
        return c->flags;
}

int nbd_client_send(struct nbd_client *c, enum nbd_command command, uint16_t flags, uint64_t cookie, uint64_t offset,
        uint32_t length, const uint8_t *data) {
        uint8_t head[NBD_REQUEST_SIZE];

        put32(head, NBD_REQUEST_MAGIC);
        put16(head + 4, flags);
        put16(head + 6, (uint16_t) command);
        put64(head + 8, cookie);
        put64(head + 16, offset);
        put32(head + 24, length);

        if (command == NBD_CMD_READ) {
                unsigned i = 0;

                while (i < READS_MAX && c->reads[i].used)
                        i++;
                if (i == READS_MAX)
                        return -EBUSY;
                c->reads[i].used = true;
                c->reads[i].cookie = cookie;
                c->reads[i].length = length;
        }
        return push(c, head, sizeof(head), data, command == NBD_CMD_WRITE ? length : 0);
}
