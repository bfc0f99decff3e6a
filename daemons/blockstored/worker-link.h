/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sockets that workers call in on, and a worker as the supervisor knows it: a peer-to-peer connection, identified by the unit of the process at its other end before the
 * first byte is read. One link an image; a worker that misbehaves loses its own. */

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "cleanup.h"
#include "device.h"
#include "image.h"

#define WORKER_LINKS_MAX            1024U
#define WORKER_CALLS_PER_SECOND_MAX 200U
#define WORKER_HELLO_TIMEOUT_USEC   (10U * 1000U * 1000U)

struct worker_links;

struct worker_link {
        struct worker_links *links;
        LIST_ENTRY(worker_link) entry;
        char *name; /* the image's, as the unit gives it */
        pid_t pid;
        uid_t uid;
        bool greeted, dropped;
        sd_bus *bus;
        sd_event_source *hello_timer, *drop_source;
        uint64_t window_usec; /* when the present second of counting calls began */
        unsigned n_calls;
        sd_bus_message *pending;      /* the device call that is not answered yet */
        bool pending_connect;         /* ... is ConnectDevice */
        sd_bus_message *job_question; /* a GetUnitJob that is not answered yet */
        struct image_counters counters;
        int heat_fd; /* of a heat map; -EBADF: none was shared */
        void *owner; /* set by hello() */
};

/* What links report upwards. Device calls answer a failure at once, or FAILURE_NONE and later worker_link_answer_device(). */
struct worker_link_ops {
        /* As peer_unit_identify(). */
        int (*identify)(int fd, char **ret_name, pid_t *ret_pid, uid_t *ret_uid);
        /* The first call of a worker. Returns 0 or a negative errno, with which it is refused. */
        int (*hello)(struct worker_link *link, void *userdata);
        /* A greeted link is gone; the last call for it. */
        void (*lost)(struct worker_link *link, void *userdata);
        /* Takes socket. */
        int (*connect_device)(
                struct worker_link *link, const struct device_parameters *parameters, int socket, sd_bus_error *error);
        int (*disconnect_device)(struct worker_link *link, sd_bus_error *error);
        int (*set_waiting)(struct worker_link *link, bool waiting, sd_bus_error *error);
        /* worker_link_answer_job() follows. */
        int (*ask_job)(struct worker_link *link, sd_bus_error *error);
        /* "" for none; valid until the loop runs again. */
        const char *(*get_device)(struct worker_link *link);
        int (*resize_device)(struct worker_link *link, uint64_t size, sd_bus_error *error);
        int (*update)(struct worker_link *link, const struct image_status *status);
};

/* Listens on fd (taken, also on failure). */
int worker_links_new(
        sd_event *event, int fd, const struct worker_link_ops *ops, void *userdata, struct worker_links **ret);
struct worker_links *worker_links_free(struct worker_links *links);
DEFINE_CLEANUP(struct worker_links *, worker_links_free);
unsigned worker_links_count(const struct worker_links *links);

const struct worker_link_ops *worker_link_ops(const struct worker_link *link);
/* The worker's first call: returns 0 or a negative errno. */
int worker_link_greet(struct worker_link *link);
/* Ends the link soon, from the loop; reason goes to the log. */
void worker_link_drop(struct worker_link *link, const char *reason);

/* Answers the pending device call: node for a ConnectDevice that succeeded. */
void worker_link_answer_device(struct worker_link *link, enum failure failure, const char *message, const char *node);

void worker_link_answer_job(struct worker_link *link, const char *type);

/* worker-link-bus.c: the interface that workers call. */
int worker_link_bus_add(struct worker_link *link);
