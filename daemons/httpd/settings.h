/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* httpd.json in the configuration directory, and what is to be kept secret, which are credentials of the unit. */

#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"

#define SETTINGS_HOSTS_MAX 16U
#define TOKEN_MIN          16U /* bytes */
#define TOKEN_MAX          256U

struct settings {
        bool control;                        /* attach, detach and cancel are offered at all; polkit decides */
        bool classic;                        /* the old control protocol: POST / and /status/ */
        bool anonymous_read;                 /* reading needs no token, wherever it comes from */
        bool local_token;                    /* this host's own requests need the token for changes, too */
        char *hosts[SETTINGS_HOSTS_MAX + 1]; /* names that Host may have, beside localhost and this host's own */
        size_t n_hosts;
        char *token; /* NULL: none */
        /* PEM. A certificate and its key come together or not at all; a client CA comes with them or not at all. NULL: none */
        char *certificate, *key, *client_ca;
};

/* A file that is absent counts as empty. Returns 0, or a negative errno with *ret_message a sentence for a user; the caller frees it. */
int settings_load(struct settings **ret, char **ret_message);
/* settings-credentials.c: token, certificate, key and client-ca. As settings_load(). */
int settings_load_credentials(struct settings *settings, char **ret_message);
struct settings *settings_free(struct settings *settings);
DEFINE_CLEANUP(struct settings *, settings_free);
