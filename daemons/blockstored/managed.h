/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An image with all that the supervisor runs for it: its device, its worker's link, the watch on its unit, and what callers asked for. */

#include <uthash.h>

#include "device.h"
#include "image.h"
#include "operation.h"
#include "options.h"
#include "units-job.h"
#include "units.h"
#include "worker-link.h"

struct manager;

/* What is being done with the units on behalf of callers. */
enum managed_work {
        MANAGED_IDLE,
        MANAGED_STARTING,
        MANAGED_STOPPING,
};

/* What a worker asks for its device. */
enum managed_device_call {
        MANAGED_DEVICE_NONE,
        MANAGED_DEVICE_CONNECT,
        MANAGED_DEVICE_DISCONNECT,
        MANAGED_DEVICE_WAIT, /* I/O waits */
        MANAGED_DEVICE_GO_ON,
        MANAGED_DEVICE_RESIZE,
};

struct managed {
        UT_hash_handle hh;
        struct manager *manager;
        struct image *image;
        char *path; /* on the bus */
        char *service, *socket, *target;
        uint32_t announce; /* properties whose change is to be told */
        bool announced;    /* InterfacesAdded has been sent */

        struct units_watch *watch;
        struct unit_state unit;      /* as last seen */
        bool unit_known, unit_asked; /* asked: systemd has had the chance to say */

        struct worker_link *link; /* greeted */
        pid_t failed_pid;         /* the worker that last said why it gives up */
        struct device *device;
        struct worker_link *device_caller;      /* whose call the device's operation answers */
        enum managed_device_call device_queued; /* a call that waits for the device to be free */
        struct device_parameters device_wanted; /* of ResizeDevice only the size */
        int device_socket;
        uint64_t unserved_usec;       /* CLOCK_MONOTONIC: since when nobody serves the device; 0: somebody does */
        sd_event_source *io_deadline; /* until when its I/O may wait for that */
        bool abandoned;               /* that is over */
        bool detach_is_lazy;          /* of the detach under way: a holder is no failure */
        sd_event_source *lazy_timer;  /* when to look again whether nobody holds the device */
        sd_event_source *gone_timer;  /* when to look again whether a device without a worker is let go */

        enum managed_work work;
        struct units_call *call, *stray_call;
        struct units_job *job_call;              /* what systemd is doing with the service is being asked for */
        bool socket_was_active, unit_had_failed; /* before the attach under way */
        struct attach_options options;
        struct operation_list operations;
        struct resize *resize; /* which is making the device smaller, before the store is told */
};

/* Adds an image to the manager. Returns 0; -E2BIG when there are too many; or a negative errno. */
int managed_new(struct manager *manager, const char *name, struct managed **ret);
/* Announces the end and frees. */
struct managed *managed_free(struct managed *managed);
/* Frees it when nothing on this host knows of it any more. Returns whether it did. */
bool managed_collect(struct managed *managed);

/* managed-abandon.c: whether somebody serves the device, and what happens if nobody will. */
void managed_device_served(struct managed *managed);
void managed_device_unserved(struct managed *managed);
/* No worker will come, but somebody holds the device: its I/O waits up to io-timeout, then it is disconnected all the same. */
void managed_consider_abandoning(struct managed *managed);
/* Fails the I/O of a device and disconnects it under its holder. Nothing happens when there is no device, when somebody serves it, while something else is being done with it, or again. why: "has ...". */
void managed_abandon(struct managed *managed, const char *why);

/* Finds out whether the service is being restarted, unless that is under way; managed_job_told() follows. */
int managed_ask_job(struct managed *managed);

/* Why the unit failed, of managed->unit: the kind, and the sentence of whoever said it best. */
enum failure managed_failure(const struct managed *managed, char *message, size_t size);

/* Looks for the kernel's device of this image. */
void managed_discover_device(struct managed *managed);
/* The device is free again: what waited for it begins. */
void managed_device_free_again(struct managed *managed);
/* If neither unit nor worker is there any more: disconnects the device, unless somebody holds it. */
void managed_consider_gone(struct managed *managed);

/* managed-worker.c: what workers call. */
extern const struct worker_link_ops managed_worker_ops;

/* managed-lazy.c: whose it is, and whether it is to be detached as soon as nobody uses it. Both end with the attachment. */
void managed_set_owner(struct managed *managed, uid_t uid);
void managed_lazy_begin(struct managed *managed);
void managed_lazy_look_later(struct managed *managed);
/* Returns whether there was anything to cancel. */
bool managed_lazy_cancel(struct managed *managed);
/* The image is not attached any more; it is known again, after a restart of the supervisor. */
void managed_forget(struct managed *managed);
void managed_recall(struct managed *managed);

/* managed-attach.c and managed-detach.c: callers on the bus. Take over the answer when they return 0; else error is set. options is taken (emptied). */
int managed_attach(struct managed *managed, struct attach_options *options, uid_t caller, sd_bus_message *message,
        sd_bus_error *error);
int managed_detach(
        struct managed *managed, const struct detach_options *options, sd_bus_message *message, sd_bus_error *error);
/* The worker has said how it is, or has gone: answers who waits for an attach whose job is done. */
void managed_attach_told(struct managed *managed);
/* Begins a detach that nobody waits for, of an image that nothing is being done with, unless somebody holds its device. */
void managed_detach_if_free(struct managed *managed);
/* The same for the supervisor's own ends, see operation_new_internal(). done may come before these return. */
int managed_attach_for(struct managed *managed, struct attach_options *options, operation_done_t done, void *userdata,
        sd_bus_error *error);
int managed_detach_for(struct managed *managed, operation_done_t done, void *userdata, sd_bus_error *error);
