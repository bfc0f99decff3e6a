/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A proxy's configuration file, /etc/blockstore/proxyd/NAME.json. */

#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"
#include "store.h"
#include "tls-context.h"

#define SETTINGS_DIRECTORY  "/etc/blockstore/proxyd"
#define SETTINGS_LISTEN_MAX 16U
#define SETTINGS_PEERS_MAX  63U

/* Where LOGIN, which carries what is as good as the password, is taken. */
enum classic_login {
        CLASSIC_LOGIN_SECURE, /* where nobody on a network can read it */
        CLASSIC_LOGIN_ALWAYS,
        CLASSIC_LOGIN_NEVER,
};

struct settings {
        char **listen_tls; /* as listen, for those who speak TLS */
        size_t n_listen_tls;
        struct tls_files tls; /* ca: of clients' certificates, NULL: they need none */
        char **listen;        /* "HOST:PORT", numeric hosts; port 0: any free one */
        size_t n_listen;
        char **advertise; /* what LIST_PROXIES calls this proxy; none: the address by which the client has reached it
                           */
        size_t n_advertise;
        char **peers; /* the other proxies of the store, preferred ones first */
        size_t n_peers;
        const struct store_ops *store_ops;
        char *store_path;                                         /* or what a store that is no directory is called */
        char *ceph_pool, *ceph_namespace, *ceph_conf, *ceph_user; /* of the type "rbd"; namespace: may be NULL */
        uint64_t ceph_connect_usec;
        char *users_path;
        uint64_t idle_limit_usec;       /* UINT64_MAX: infinity */
        uint64_t login_limit_usec;      /* from the connection to the login */
        uint64_t proxies_interval_usec; /* between two LIST_PROXIES */
        uint64_t drain_limit_usec;      /* a stop waits so long for requests and clients */
        uint64_t memory;                /* bytes of requests' data in flight, in all */
        uint64_t client_memory;         /* ... of one client */
        unsigned clients_max;
        uint64_t busy_poll_usec; /* 0 - BUSY_POLL_MAX_USEC */
        enum classic_login classic_login;
        unsigned failed_logins;                     /* of an address in a minute, see login-limits.h; 0: no limit */
        uint64_t user_clients_max, user_images_max; /* of one user; UINT64_MAX: no limit */
        uint64_t scrub_rate;                        /* bytes a second, of one scrub */
};

/* Returns 0, or a negative errno with *ret_message a sentence that names file, line and what was expected. Relative
 * paths in the file are relative to its directory. */
int settings_load(const char *path, struct settings **ret, char **ret_message);
/* Looks for everything that is wrong: *ret_message has a line for each. *ret_users_path: the users file, also after a failure where it could be found out; the caller frees it. */
int settings_check(const char *path, char **ret_users_path, char **ret_message);

/* A configuration that was read anew takes the place of the one in use, as far as that goes without a restart: what has changed, and what has and cannot change, by their keys in words for the journal, "" for none. fresh is
 * to be freed. To be called where settings are used, on the ring's thread; users_path, which other threads use, stays. */
#define SETTINGS_CHANGES_MAX 256U
void settings_take(struct settings *settings, struct settings *fresh, char ret_taken[static SETTINGS_CHANGES_MAX],
        char ret_left[static SETTINGS_CHANGES_MAX]);
struct settings *settings_free(struct settings *settings);
DEFINE_CLEANUP(struct settings *, settings_free);
