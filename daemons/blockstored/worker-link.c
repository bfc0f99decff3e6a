/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Nothing that a worker sends is believed before the kernel and systemd have said who it is, and little afterwards. Bounds, so that a worker that lies costs only its own
 * link:
 * - links: one an image (a new one replaces the old: the old worker is dead or about to be), WORKER_LINKS_MAX in all, and so many new ones a second;
 * - silence: the first call must come within WORKER_HELLO_TIMEOUT_USEC;
 * - calls: so many a second; one device call at a time;
 * - bytes and descriptors: sd-bus refuses messages over 128 MiB or with over 1024 descriptors, and the unit's LimitNOFILE leaves room for that.
 *
 * A link is never freed from within one of its own callbacks: it is marked and its drop_source, run by the loop, frees it. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "image-log.h"
#include "peer-bus.h"
#include "worker-link.h"

#define ACCEPTS_PER_SECOND_MAX 100U
#define SECOND_USEC            (1000U * 1000U)
#define COMPLAINTS_EVERY_USEC  (10U * SECOND_USEC)

struct worker_links {
        sd_event *event;
        sd_event_source *listen_source;
        int fd;
        const struct worker_link_ops *ops;
        void *userdata;
        LIST_HEAD(worker_link_list, worker_link) list;
        unsigned n;
        uint64_t complained_usec; /* when a refusal was last logged */
        unsigned n_silent;        /* refusals since */
};

unsigned worker_links_count(const struct worker_links *links) {
        return links ? links->n : 0;
}

const struct worker_link_ops *worker_link_ops(const struct worker_link *link) {
        return link->links->ops;
}

static void link_free(struct worker_link *link) {
        if (link->greeted)
                link->links->ops->lost(link, link->links->userdata);

        if (link->entry.le_prev) {
                LIST_REMOVE(link, entry);
                link->links->n--;
        }
        sd_event_source_disable_unref(link->hello_timer);
        sd_event_source_disable_unref(link->drop_source);
        sd_bus_message_unref(link->pending);
        sd_bus_message_unref(link->job_question);
        sd_bus_close_unref(link->bus);
        safe_close(link->heat_fd);
        free(link->name);
        free(link);
}

static int on_drop(sd_event_source *source, void *userdata) {
        link_free(userdata);
        return 0;
}

void worker_link_drop(struct worker_link *link, const char *reason) {
        if (link->dropped)
                return;

        log_image(LOG_INFO, link->name, "The link of worker %d ends: %s", (int) link->pid, reason);
        link->dropped = true;
        (void) sd_event_source_set_enabled(link->drop_source, SD_EVENT_ONESHOT);
}

static int on_hello_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        worker_link_drop(userdata, "it has not said Hello in time");
        return 0;
}

int worker_link_greet(struct worker_link *link) {
        int r;

        if (link->greeted)
                return 0;

        r = link->links->ops->hello(link, link->links->userdata);
        if (r < 0)
                return r;

        link->greeted = true;
        (void) sd_event_source_set_enabled(link->hello_timer, SD_EVENT_OFF);
        return 0;
}

/* Sees every message first: counts, and notices the end. */
static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        uint64_t now = 0;

        if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.Local", "Disconnected")) {
                worker_link_drop(link, "it has hung up");
                return 1;
        }
        if (link->dropped)
                return 1; /* swallowed */

        (void) sd_event_now(link->links->event, CLOCK_MONOTONIC, &now);
        if (now - link->window_usec >= SECOND_USEC) {
                link->window_usec = now;
                link->n_calls = 0;
        }
        if (++link->n_calls > WORKER_CALLS_PER_SECOND_MAX) {
                worker_link_drop(link, "it calls too often");
                return 1;
        }

        return 0;
}

static void replace_older(struct worker_links *links, const char *name) {
        struct worker_link *link;

        LIST_FOREACH(link, &links->list, entry)
                if (strcmp(link->name, name) == 0 && !link->dropped)
                        worker_link_drop(link, "a newer one of the same unit replaces it");
}

static void undo_link(struct worker_link **link) {
        if (*link)
                link_free(*link);
}

/* Takes fd, also on failure. */
static int link_new(struct worker_links *links, int fd) {
        _cleanup_(undo_link) struct worker_link *link = NULL;
        _cleanup_close_ int owned = fd;
        int r;

        link = calloc(1, sizeof(*link));
        if (!link)
                return -ENOMEM;
        link->links = links;
        link->heat_fd = -EBADF;

        r = links->ops->identify(owned, &link->name, &link->pid, &link->uid);
        if (r < 0)
                return r;

        r = sd_event_add_defer(links->event, &link->drop_source, on_drop, link);
        if (r >= 0)
                r = sd_event_source_set_enabled(link->drop_source, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(links->event, &link->hello_timer, CLOCK_MONOTONIC,
                        WORKER_HELLO_TIMEOUT_USEC, 0, on_hello_timeout, link);
        if (r >= 0)
                r = peer_bus_serve(TAKE_FD(owned), links->event, true, &link->bus);
        if (r >= 0)
                r = sd_bus_add_filter(link->bus, NULL, on_message, link);
        if (r >= 0)
                r = worker_link_bus_add(link);
        if (r < 0)
                return r;

        replace_older(links, link->name);
        LIST_INSERT_HEAD(&links->list, link, entry);
        links->n++;
        TAKE_PTR(link);
        return 0;
}

/* One line for many: whoever can connect could else fill the log. */
static void complain(struct worker_links *links, const char *reason) {
        uint64_t now = 0;

        (void) sd_event_now(links->event, CLOCK_MONOTONIC, &now);
        if (links->complained_usec > 0 && now - links->complained_usec < COMPLAINTS_EVERY_USEC) {
                links->n_silent++;
                return;
        }

        if (links->n_silent > 0)
                log_message(LOG_WARNING, "A connection was refused, and %u before it: %s", links->n_silent, reason);
        else
                log_message(LOG_WARNING, "A connection was refused: %s", reason);
        links->complained_usec = now;
        links->n_silent = 0;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata) {
        struct worker_links *links = userdata;
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
                if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
                        complain(links, strerror(errno));
                return 0;
        }

        if (links->n >= WORKER_LINKS_MAX) {
                complain(links, "there are as many workers as can be");
                return 0;
        }

        r = link_new(links, TAKE_FD(fd));
        if (r == -EACCES)
                complain(links, "it does not come from an image@.service");
        else if (r < 0)
                complain(links, strerror(-r));
        return 0;
}

int worker_links_new(
        sd_event *event, int fd, const struct worker_link_ops *ops, void *userdata, struct worker_links **ret) {
        _cleanup_(worker_links_freep) struct worker_links *links = NULL;
        _cleanup_close_ int owned = fd;
        int r;

        links = calloc(1, sizeof(*links));
        if (!links)
                return -ENOMEM;
        *links = (struct worker_links){
                .event = sd_event_ref(event), .fd = TAKE_FD(owned), .ops = ops, .userdata = userdata
        };
        LIST_INIT(&links->list);

        r = sd_event_add_io(event, &links->listen_source, links->fd, EPOLLIN, on_connection, links);
        if (r < 0)
                return r;

        r = sd_event_source_set_ratelimit(links->listen_source, SECOND_USEC, ACCEPTS_PER_SECOND_MAX);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(links);
        return 0;
}

struct worker_links *worker_links_free(struct worker_links *links) {
        struct worker_link *link;

        if (!links)
                return NULL;

        while ((link = LIST_FIRST(&links->list)))
                link_free(link);
        sd_event_source_disable_unref(links->listen_source);
        sd_event_unref(links->event);
        safe_close(links->fd);
        free(links);
        return NULL;
}
