/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See relay.h. A link ends when either side has hung up and what was on its way to the other one is delivered: a reset towards the worker would otherwise eat replies that a real
 * network had brought, and a worker's hang-up does not take back what it has sent. A link that is cut is reset on both sides at once. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "dice.h"
#include "relay.h"

#define READ_AT_ONCE (256U * 1024U)
#define QUEUED_MAX   (16U * 1024U * 1024U)

struct half {
        int from, to; /* descriptors; owned by the link */
        uint8_t head[IVBS_HEADER_SIZE];
        size_t n_head;
        struct relay_packet *partial;
        size_t n_partial;
        STAILQ_HEAD(packet_list, relay_packet) queue;
        size_t queued;
        bool ended; /* nothing more comes from there */
};

struct relay_link {
        struct relay *relay;
        LIST_ENTRY(relay_link) entry;
        uint64_t id;
        int worker_fd, proxy_fd;
        sd_event_source *worker_source, *proxy_source, *timer;
        struct half half[2]; /* by direction */
        bool silent, io, dead, pinned;
};

struct relay {
        sd_event *event;
        int listen_fd;
        uint16_t port, backend;
        sd_event_source *source, *reaper;
        LIST_HEAD(link_list, relay_link) links;
        relay_filter_t filter;
        void *userdata;
        uint64_t delay_usec, last_io_usec, last_id;
        unsigned n_ended;
        bool silent;
};

static void drop_queue(struct half *h) {
        while (!STAILQ_EMPTY(&h->queue)) {
                struct relay_packet *p = STAILQ_FIRST(&h->queue);

                STAILQ_REMOVE_HEAD(&h->queue, entry);
                free(p);
        }
        h->queued = 0;
}

static void link_free(struct relay_link *l) {
        LIST_REMOVE(l, entry);
        sd_event_source_disable_unref(l->worker_source);
        sd_event_source_disable_unref(l->proxy_source);
        sd_event_source_disable_unref(l->timer);
        safe_close(l->worker_fd);
        safe_close(l->proxy_fd);
        for (unsigned d = 0; d < 2; d++) {
                drop_queue(l->half + d);
                free(l->half[d].partial);
        }
        free(l);
}

/* Links are freed from the loop only: whoever walks over them, or is called back by one, may go on using it. */
static int reap(sd_event_source *source, void *userdata) {
        struct relay *relay = userdata;

        for (struct relay_link *l = LIST_FIRST(&relay->links), *next; l; l = next) {
                next = LIST_NEXT(l, entry);
                if (l->dead)
                        link_free(l);
        }
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

static void link_end(struct relay_link *l) {
        l->dead = true;
        l->relay->n_ended++;
        if (l->worker_source)
                sd_event_source_set_enabled(l->worker_source, SD_EVENT_OFF);
        if (l->proxy_source)
                sd_event_source_set_enabled(l->proxy_source, SD_EVENT_OFF);
        if (l->worker_fd >= 0)
                (void) shutdown(l->worker_fd, SHUT_RDWR);
        if (l->proxy_fd >= 0)
                (void) shutdown(l->proxy_fd, SHUT_RDWR);
        sd_event_source_set_enabled(l->relay->reaper, SD_EVENT_ONESHOT);
}

void relay_cut_link(struct relay_link *l) {
        const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

        if (l->dead)
                return;
        if (l->worker_fd >= 0)
                (void) setsockopt(l->worker_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        l->worker_fd = safe_close(l->worker_fd);
        if (l->proxy_fd >= 0) {
                (void) setsockopt(l->proxy_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
                l->proxy_fd = safe_close(l->proxy_fd);
        }
        l->dead = true;
        l->relay->n_ended++;
        l->worker_source = sd_event_source_disable_unref(l->worker_source);
        l->proxy_source = sd_event_source_disable_unref(l->proxy_source);
        sd_event_source_set_enabled(l->relay->reaper, SD_EVENT_ONESHOT);
}

/* Whether that direction has something to send now; what is to be sent later sets the timer. */
static bool has_due(struct relay_link *l, enum relay_direction direction) {
        const struct relay_packet *p = STAILQ_FIRST(&l->half[direction].queue);

        if (!p)
                return false;
        if (p->due_usec <= now_usec())
                return true;
        (void) sd_event_source_set_time(l->timer, p->due_usec);
        (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
        return false;
}

static void watch(struct relay_link *l) {
        uint32_t worker = 0, proxy = 0;

        if (l->dead)
                return;
        if (!l->silent) {
                if (!l->half[TO_PROXY].ended && l->half[TO_PROXY].queued < QUEUED_MAX)
                        worker |= EPOLLIN;
                if (!l->half[TO_WORKER].ended && l->half[TO_WORKER].queued < QUEUED_MAX)
                        proxy |= EPOLLIN;
                if (has_due(l, TO_WORKER))
                        worker |= EPOLLOUT;
                if (has_due(l, TO_PROXY))
                        proxy |= EPOLLOUT;
        }
        /* A hang-up is told whatever is asked for, and again and again: so without interest the source is off. */
        if (l->worker_source) {
                (void) sd_event_source_set_io_events(l->worker_source, worker);
                (void) sd_event_source_set_enabled(l->worker_source, worker ? SD_EVENT_ON : SD_EVENT_OFF);
        }
        if (l->proxy_source) {
                (void) sd_event_source_set_io_events(l->proxy_source, proxy);
                (void) sd_event_source_set_enabled(l->proxy_source, proxy ? SD_EVENT_ON : SD_EVENT_OFF);
        }
}

bool relay_packet_is_io(const struct relay_packet *p) {
        return p->header.op == IVBS_OP_READ || p->header.op == IVBS_OP_WRITE ||
               (p->header.op >= IVBS_OP_FLUSH && p->header.op <= IVBS_OP_WRITE_FUA);
}

void relay_send(struct relay_link *l, enum relay_direction direction, struct relay_packet *p) {
        if (l->dead) {
                free(p);
                return;
        }
        ivbs_header_encode(&p->header, p->bytes);
        p->due_usec = l->relay->delay_usec > 0 ? now_usec() + l->relay->delay_usec : 0;
        STAILQ_INSERT_TAIL(&l->half[direction].queue, p, entry);
        l->half[direction].queued += p->size;
        if (direction == TO_WORKER && relay_packet_is_io(p)) {
                l->io = true;
                if (p->header.status == IVBS_STATUS_OK)
                        l->relay->last_io_usec = now_usec();
        }
        watch(l);
}

/* A packet is complete. */
static void judge(struct relay_link *l, enum relay_direction direction, struct relay_packet *p) {
        enum relay_verdict verdict = RELAY_PASS;

        if (l->relay->filter)
                verdict = l->relay->filter(l->relay->userdata, l, direction, p);
        switch (verdict) {
        case RELAY_KEEP:
                break;
        case RELAY_DROP:
                free(p);
                break;
        case RELAY_HALF:
                p->half = p->size / 2;
                relay_send(l, direction, p);
                break;
        case RELAY_PASS:
        default:
                relay_send(l, direction, p);
                break;
        }
}

/* Returns -EPROTO for what is no IVBS: the link cannot be followed then. */
static int cut_into_packets(struct relay_link *l, enum relay_direction direction, const uint8_t *data, size_t n) {
        struct half *h = l->half + direction;

        while (n > 0 && !l->dead) {
                size_t take;

                if (!h->partial) {
                        struct ivbs_header header;

                        take = IVBS_HEADER_SIZE - h->n_head < n ? IVBS_HEADER_SIZE - h->n_head : n;
                        memcpy(h->head + h->n_head, data, take);
                        h->n_head += take;
                        data += take;
                        n -= take;
                        if (h->n_head < IVBS_HEADER_SIZE)
                                return 0;
                        ivbs_header_decode(h->head, &header);
                        if (header.length > IVBS_LENGTH_MAX)
                                return -EPROTO;
                        h->partial = malloc(sizeof(*h->partial) + IVBS_HEADER_SIZE + header.length);
                        if (!h->partial)
                                return -ENOMEM;
                        *h->partial =
                                (struct relay_packet){ .header = header, .size = IVBS_HEADER_SIZE + header.length };
                        memcpy(h->partial->bytes, h->head, IVBS_HEADER_SIZE);
                        h->n_partial = IVBS_HEADER_SIZE;
                        h->n_head = 0;
                }
                take = h->partial->size - h->n_partial < n ? h->partial->size - h->n_partial : n;
                memcpy(h->partial->bytes + h->n_partial, data, take);
                h->n_partial += take;
                data += take;
                n -= take;
                if (h->n_partial == h->partial->size)
                        judge(l, direction, TAKE_PTR(h->partial));
        }
        return 0;
}

static int read_some(struct relay_link *l, enum relay_direction direction) {
        static uint8_t buffer[READ_AT_ONCE];
        struct half *h = l->half + direction;
        ssize_t n;

        n = recv(h->from, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n > 0)
                return cut_into_packets(l, direction, buffer, (size_t) n);
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
                h->ended = true;
        return 0;
}

static int write_some(struct relay_link *l, enum relay_direction direction) {
        struct half *h = l->half + direction;

        while (!STAILQ_EMPTY(&h->queue)) {
                struct relay_packet *p = STAILQ_FIRST(&h->queue);
                size_t end = p->half > 0 ? p->half : p->size;
                ssize_t n;

                if (p->due_usec > now_usec())
                        return 0; /* watch() sets the timer */
                n = send(h->to, p->bytes + p->sent, end - p->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0) {
                        if (errno == EAGAIN || errno == EINTR)
                                return 0;
                        return -errno;
                }
                p->sent += (size_t) n;
                if (p->sent < end)
                        return 0;
                if (p->half > 0) {
                        p->half = 0;
                        l->silent = true;
                        return 0;
                }
                STAILQ_REMOVE_HEAD(&h->queue, entry);
                h->queued -= p->size;
                free(p);
        }
        return 0;
}

static void pump(struct relay_link *l) {
        if (l->dead)
                return;
        if (l->pinned && (l->worker_fd < 0 || l->half[TO_PROXY].ended))
                drop_queue(l->half + TO_WORKER);
        for (enum relay_direction d = TO_PROXY; d <= TO_WORKER && !l->silent; d++) {
                struct half *h = l->half + d;

                if (h->to < 0)
                        continue;
                if (write_some(l, d) < 0) {
                        link_end(l);
                        return;
                }
                if (h->ended && STAILQ_EMPTY(&h->queue) && !(l->pinned && d == TO_PROXY)) {
                        link_end(l);
                        return;
                }
        }
        watch(l);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct relay_link *l = userdata;
        enum relay_direction direction = source == l->worker_source ? TO_PROXY : TO_WORKER;

        if (l->dead)
                return 0;
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !l->silent && !l->half[direction].ended &&
                l->half[direction].queued < QUEUED_MAX && read_some(l, direction) < 0) {
                relay_cut_link(l);
                return 0;
        }
        pump(l);
        return 0;
}

static int on_due(sd_event_source *source, uint64_t usec, void *userdata) {
        pump(userdata);
        return 0;
}

/* Connects the link to its proxy. On loopback that succeeds or fails at once. */
static int connect_proxy(struct relay_link *l) {
        const struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_port = htons(l->relay->backend),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        const int on = 1;

        if (l->relay->backend == 0)
                return -ECONNREFUSED;
        l->proxy_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (l->proxy_fd < 0 || connect(l->proxy_fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        (void) setsockopt(l->proxy_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        l->half[TO_PROXY].to = l->half[TO_WORKER].from = l->proxy_fd;
        return sd_event_add_io(l->relay->event, &l->proxy_source, l->proxy_fd, EPOLLIN, on_io, l);
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct relay *relay = userdata;
        struct relay_link *l;
        const int on = 1;
        int r;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        *l = (struct relay_link){
                .relay = relay, .id = ++relay->last_id, .proxy_fd = -EBADF, .silent = relay->silent
        };
        STAILQ_INIT(&l->half[TO_PROXY].queue);
        STAILQ_INIT(&l->half[TO_WORKER].queue);
        l->worker_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        LIST_INSERT_HEAD(&relay->links, l, entry);
        if (l->worker_fd < 0) {
                link_free(l);
                return 0;
        }
        (void) setsockopt(l->worker_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        l->half[TO_PROXY].from = l->half[TO_WORKER].to = l->worker_fd;
        l->half[TO_PROXY].to = l->half[TO_WORKER].from = -EBADF;

        r = sd_event_add_io(relay->event, &l->worker_source, l->worker_fd, 0, on_io, l);
        if (r >= 0)
                r = sd_event_add_time(relay->event, &l->timer, CLOCK_MONOTONIC, 0, 1, on_due, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
        if (r >= 0 && !relay->silent)
                r = connect_proxy(l);
        if (r < 0) {
                relay_cut_link(l);
                return 0;
        }
        watch(l);
        return 0;
}

int relay_new(struct relay **ret, sd_event *event) {
        _cleanup_(relay_freep) struct relay *relay = calloc(1, sizeof(*relay));
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        int r;

        if (!relay)
                return -ENOMEM;
        relay->event = event;
        LIST_INIT(&relay->links);
        relay->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (relay->listen_fd < 0 || bind(relay->listen_fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
                listen(relay->listen_fd, 64) < 0 ||
                getsockname(relay->listen_fd, (struct sockaddr *) &address, &size) < 0)
                return -errno;
        relay->port = ntohs(address.sin_port);
        r = sd_event_add_io(event, &relay->source, relay->listen_fd, EPOLLIN, on_connection, relay);
        if (r >= 0)
                r = sd_event_add_post(event, &relay->reaper, reap, relay);
        if (r >= 0)
                r = sd_event_source_set_enabled(relay->reaper, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(relay);
        return 0;
}

struct relay *relay_free(struct relay *relay) {
        if (!relay)
                return NULL;
        while (!LIST_EMPTY(&relay->links))
                link_free(LIST_FIRST(&relay->links));
        sd_event_source_disable_unref(relay->source);
        sd_event_source_disable_unref(relay->reaper);
        safe_close(relay->listen_fd);
        free(relay);
        return NULL;
}

uint16_t relay_port(const struct relay *relay) {
        return relay->port;
}

void relay_set_backend(struct relay *relay, uint16_t port) {
        relay->backend = port;
}

void relay_set_filter(struct relay *relay, relay_filter_t filter, void *userdata) {
        relay->filter = filter;
        relay->userdata = userdata;
}

void relay_set_delay(struct relay *relay, uint64_t usec) {
        relay->delay_usec = usec;
}

void relay_set_silent(struct relay *relay, bool silent) {
        struct relay_link *l;

        relay->silent = silent;
        LIST_FOREACH(l, &relay->links, entry) {
                if (l->dead)
                        continue;
                l->silent = silent;
                if (!silent && l->proxy_fd < 0 && connect_proxy(l) < 0) {
                        relay_cut_link(l);
                        continue;
                }
                pump(l);
        }
}

unsigned relay_cut(struct relay *relay) {
        struct relay_link *l;
        unsigned n = 0;

        LIST_FOREACH(l, &relay->links, entry)
                if (!l->dead) {
                        relay_cut_link(l);
                        n++;
                }
        return n;
}

unsigned relay_cut_one(struct relay *relay, uint64_t index) {
        struct relay_link *l;
        unsigned n = 0;

        LIST_FOREACH(l, &relay->links, entry)
                n += l->io && !l->dead;
        if (n == 0)
                return 0;
        index %= n;
        LIST_FOREACH(l, &relay->links, entry)
                if (l->io && !l->dead && index-- == 0) {
                        relay_cut_link(l);
                        return 1;
                }
        return 0;
}

uint64_t relay_last_io_usec(const struct relay *relay) {
        return relay->last_io_usec;
}

unsigned relay_n_ended(const struct relay *relay) {
        return relay->n_ended;
}

unsigned relay_n_links(const struct relay *relay) {
        const struct relay_link *l;
        unsigned n = 0;

        LIST_FOREACH(l, &relay->links, entry)
                n += !l->dead;
        return n;
}

void relay_pin(struct relay_link *l) {
        l->pinned = true;
}

void relay_hang_up_on_worker(struct relay_link *l) {
        l->worker_source = sd_event_source_disable_unref(l->worker_source);
        l->worker_fd = safe_close(l->worker_fd);
        l->half[TO_PROXY].from = l->half[TO_WORKER].to = -EBADF;
        pump(l);
}

uint64_t relay_link_id(const struct relay_link *l) {
        return l->id;
}

struct relay_link *relay_find(struct relay *relay, uint64_t id) {
        struct relay_link *l;

        LIST_FOREACH(l, &relay->links, entry)
                if (l->id == id && !l->dead)
                        return l;
        return NULL;
}

struct relay_packet *relay_packet_copy(const struct relay_packet *p) {
        struct relay_packet *copy = malloc(sizeof(*copy) + p->size);

        if (copy)
                memcpy(copy, p, sizeof(*copy) + p->size);
        return copy;
}
