/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker, some proxies over one store, and a relay before each proxy, in a directory of their own: what systemd and an administrator would set up, without either. The worker and
 * the proxies' own lists know the relays' addresses only. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "child.h"
#include "cleanup.h"
#include "control.h"
#include "relay.h"

#define RIG_PROXIES_MAX 4U
#define RIG_IMAGE       "disk"
#define RIG_USER        "host"
#define RIG_PASSWORD    "a password for tests"

struct rig_options {
        const char *build;     /* build directory: its worker and proxies are run */
        const char *directory; /* where to work; NULL: a new one that rig_free() removes */
        unsigned n_proxies;
        uint64_t size;        /* of the image, bytes */
        bool volatile_store;  /* the proxies are blockstore-proxyd-test, which forgets what was not flushed */
        const char *ceph;     /* configuration of a cluster that the store is on, see tests/lib/ceph; NULL: files */
        const char *settings; /* further settings of the image, JSON members, ending in a comma; may be NULL */
        const char *proxy_settings; /* ... of each proxy */
};

struct rig_proxy {
        struct rig *rig;
        unsigned index;
        struct child child;
        struct relay *relay;
        char name[24], program[4096], argument[4096], environment[2][256];
        uint16_t port; /* where it listens; 0: it does not run */
        bool wanted;   /* it is meant to run: an end that nobody asked for is a defect */
        unsigned n_started;
};

struct rig {
        struct rig_options options;
        sd_event *event;
        char directory[256], socket_path[320], store[320];
        bool remove;
        struct rig_proxy proxies[RIG_PROXIES_MAX];
        struct child worker;
        char worker_program[4096], worker_environment[8][512];
        bool worker_wanted;
        unsigned worker_restarts;
        unsigned n_shot; /* proxies that another one has killed because they did not answer it: started again */
        /* Told of what ended without being asked to. May be NULL. */
        void (*unexpected)(void *userdata, const char *what);
        void *userdata;
};

int rig_new(struct rig **ret, const struct rig_options *options);
struct rig *rig_free(struct rig *rig);
DEFINE_CLEANUP(struct rig *, rig_free);

/* Names a rule that is off, or a named point at which that process stops or dies, from the next start of it on. NULL: none. */
void rig_set_rules_off(struct rig *rig, const char *rules);
void rig_set_worker_point(struct rig *rig, const char *point);
void rig_set_proxy_point(struct rig *rig, unsigned proxy, const char *point);

/* Starts what does not run. Ready: child.is_ready. */
int rig_start_proxy(struct rig *rig, unsigned proxy);
int rig_start_worker(struct rig *rig);
/* kill -9 at once. */
void rig_kill_proxy(struct rig *rig, unsigned proxy);
void rig_kill_worker(struct rig *rig);
/* SIGTERM. */
void rig_stop_proxy(struct rig *rig, unsigned proxy);
void rig_stop_worker(struct rig *rig);

/* All proxies started and ready, the image created, the worker started (it may not be ready yet). */
int rig_start(struct rig *rig);

/* The proxy that answers I/O; -1: nobody has yet. */
int rig_active(const struct rig *rig);
bool rig_all_ready(const struct rig *rig);

/* Runs the loop until condition(userdata) holds: 0, -ETIMEDOUT after so many µs, -EINTR when the run is to end (interrupt.h). */
int rig_wait(struct rig *rig, bool (*condition)(void *userdata), void *userdata, uint64_t timeout_usec);
/* Path of the image's file in the store; of one on a cluster: of a copy. Returns 0 or a negative errno. */
int rig_image_path(const struct rig *rig, char *ret, size_t size);
/* Puts text into a file in the store's directory, all at once; NULL: removes it. That is how a volatile store is told of faults. -errno. */
int rig_store_file(const struct rig *rig, const char *name, const char *text);
bool rig_has_store_file(const struct rig *rig, const char *name);
/* The end of a daemon's log, for a report. */
void rig_show_logs(const struct rig *rig, unsigned lines);

/* rig-directory.c, for rig.c. Its relays are there already; a directory that the rig has made is removed with it. */
int rig_make_directory(struct rig *rig);
int rig_write_configuration(struct rig *rig);
void rig_remove_directory(struct rig *rig);
