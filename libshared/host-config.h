/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A host's settings: built-in < blockstore.json < images.d/NAME.json < what AttachImage was given. Used by workers, the supervisor and the CLI. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"
#include "ivbs.h"

#define HOST_CONFIG_DIRECTORY \
        "/etc/blockstore" /* $BLOCKSTORE_CONFIG_DIRECTORY overrides, for tests and unprivileged use */
#define HOST_RUNTIME_DIRECTORY "/run/blockstore" /* $BLOCKSTORE_RUNTIME_DIRECTORY likewise */
#define HOST_PROXIES_MAX       64U
#define IMAGE_LOCAL_NAME_MAX   64U

enum device_kind {
        DEVICE_NBD,
        DEVICE_NONE,
};

enum nbd_access {
        NBD_ACCESS_EXCLUSIVE, /* one writing client at a time */
        NBD_ACCESS_SHARED,
};

enum retain_mode {
        RETAIN_AUTO, /* unless the proxy runs on this very machine: a power loss takes both */
        RETAIN_ALWAYS,
};

/* Where the classic LOGIN, which carries what is as good as the password, is used when a proxy has nothing better. */
enum host_classic_login {
        HOST_CLASSIC_LOGIN_SECURE, /* where nobody on a network can read it */
        HOST_CLASSIC_LOGIN_ALWAYS,
        HOST_CLASSIC_LOGIN_NEVER,
};

struct proxy_address {
        char *address;     /* "HOST:PORT" or "[V6]:PORT", as given, port made explicit */
        uint16_t priority; /* lower is preferred; list order breaks ties */
};

struct host_config {
        struct proxy_address *proxies;
        size_t n_proxies;
        char *user;  /* NULL: not set */
        char *image; /* the store's name; NULL: the local name */
        bool read_only;
        bool steal;
        enum device_kind device;
        enum nbd_access nbd_access;
        unsigned connections;         /* sessions to the active proxy, 1-16 */
        uint64_t attach_timeout_usec; /* UINT64_MAX: infinity */
        uint64_t connect_timeout_usec;
        uint64_t login_timeout_usec;
        uint64_t dead_time_usec;
        uint64_t io_timeout_usec; /* UINT64_MAX: infinity */
        enum retain_mode retain;  /* whether acknowledged writes are kept until they are durable */
        uint64_t retain_limit;    /* bytes, 1 MiB - 1 GiB */
        uint64_t busy_poll_usec;  /* 0 - BUSY_POLL_MAX_USEC */
        enum host_classic_login classic_login;
        char *tls_ca;                    /* paths; NULL: the system's CAs */
        char *tls_certificate, *tls_key; /* ... NULL: none */
        char *tls_name;                  /* what certificates of proxies are to say; NULL: the address */
        bool classic_replay;             /* send unanswered writes again where a classic server cannot be fenced */
};

/* [A-Za-z0-9][A-Za-z0-9_.:-]{0,63}: what may be the instance of image@. */
bool image_local_name_is_valid(const char *name);

/* The settings of one image (name valid), or of store operations in general (name NULL). A file that is absent counts as empty. Returns 0, or a negative errno with
 * *ret_message a sentence for a user that names file, line and what was expected; the caller frees it. */
int host_config_load(const char *name, struct host_config **ret, char **ret_message);
struct host_config *host_config_free(struct host_config *config);
DEFINE_CLEANUP(struct host_config *, host_config_free);

/* Whether images.d has a file for the image. */
bool host_config_image_exists(const char *name);

/* Local names of all files in images.d (names that are not valid are passed over), sorted, NULL-terminated; free each and the array. */
int host_config_list_images(char ***ret_names);
