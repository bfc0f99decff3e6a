/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The supervisor as a whole. */

#include <stdbool.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bouncer.h"
#include "cleanup.h"
#include "config-watch.h"
#include "going-down.h"
#include "job.h"
#include "managed.h"
#include "query.h"
#include "query-sources.h"
#include "resize.h"
#include "store-job.h"
#include "transfer.h"
#include "units.h"
#include "worker-link.h"

#define BUS_NAME          "org.blockstore"
#define MANAGER_PATH      "/org/blockstore"
#define MANAGER_INTERFACE "org.blockstore.Manager"
#define IMAGE_PATH        "/org/blockstore/image"
#define IMAGE_INTERFACE   "org.blockstore.Image"
#define JOB_PATH          "/org/blockstore/job"
#define JOB_PATH_SIZE     (sizeof(JOB_PATH) + 12U)
#define JOB_INTERFACE     "org.blockstore.Job"
#define IMAGES_MAX        4096U

struct manager {
        sd_event *event;
        bool activated; /* by a socket of systemd, which brings us back: we may leave when idle */
        uint64_t idle_usec;

        sd_bus *bus;
        bool bus_connected, listed; /* ... and the units have been listed, so that what the bus is told is complete */
        sd_event_source *bus_retry, *announce_source, *idle_timer;
        uint64_t bus_retry_usec; /* how long to wait before the bus is tried again */

        struct units *units;
        struct units_call *list_call;
        struct worker_links *links;
        struct bouncer *bouncer;
        struct config_watch *config_watch;
        struct managed *images; /* hash by name */
        struct jobs *jobs;
        struct upgrade *upgrade; /* under way, or NULL */
        struct going_down *going_down;
        sd_event_source *shutdown_timer; /* once the system is going down */
        unsigned n_operations;
        LIST_HEAD(query_list, query) queries;
        LIST_HEAD(resize_list, resize) resizes;
        LIST_HEAD(transfer_list, transfer) transfers;
        LIST_HEAD(store_job_list, store_job) store_jobs;
        LIST_HEAD(holders_call_list, holders_call) holders_calls;
        struct query_sources query_sources; /* what the query worker has read, if there is one */
        bool query_sources_known;
};

int manager_new(struct manager **ret);
struct manager *manager_free(struct manager *manager);
DEFINE_CLEANUP(struct manager *, manager_free);
/* Everything that the rest of the system may rely on when this returns: the socket is listened on, devices are known. */
int manager_startup(struct manager *manager);
int manager_run(struct manager *manager);

struct managed *manager_find(struct manager *manager, const char *name);
/* The same, made if need be. */
int manager_get(struct manager *manager, const char *name, struct managed **ret);
/* To be called when something that keeps the supervisor here has come or gone. */
void manager_check_idle(struct manager *manager);

/* manager-shutdown.c */
void manager_watch_shutdown(struct manager *manager);
void manager_unwatch_shutdown(struct manager *manager);

/* manager-bus.c */
int manager_bus_connect(struct manager *manager);
void manager_bus_request_name(struct manager *manager);
/* Gives the name back and looks whether a call has come meanwhile. Returns whether it is safe to leave. */
bool manager_bus_release(struct manager *manager);
void manager_bus_close(struct manager *manager);

/* image-bus.c */
int image_bus_add(struct manager *manager);
void image_bus_announce(struct managed *managed); /* PropertiesChanged of what has changed */
void image_bus_announce_added(struct managed *managed);
/* image-heat.c: Image.HeatMap. */
int image_heat_method(struct managed *managed, sd_bus_message *message, sd_bus_error *error);
/* image-holders.c: Image.Holders. */
int image_holders_method(struct managed *managed, sd_bus_message *message, sd_bus_error *error);
/* Without an answer: the bus is gone. */
void image_holders_forget(struct manager *manager);
void image_bus_announce_removed(struct managed *managed);

/* job-bus.c */
extern const struct jobs_ops job_bus_ops;
int job_bus_add(struct manager *manager);
void job_bus_path(const struct job *job, char ret[static JOB_PATH_SIZE]);
