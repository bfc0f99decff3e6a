/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* TLS for the sessions of this process: the relay, which is started when first needed, and the certificates, which are read again when a file has changed. One thread only. */

#include "tls.h"

struct tls_client;

/* The paths are taken over from files. Returns 0 or -ENOMEM. */
int tls_client_new(struct tls_client **ret, struct tls_files *files);
/* No handshake may be under way. Accepts NULL, returns NULL. */
struct tls_client *tls_client_free(struct tls_client *client);

/* What a handshake takes. context: to be given back. When files that have changed cannot be used, the old ones stay. Returns 0, or a negative errno with *ret_message a sentence. */
int tls_client_prepare(
        struct tls_client *client, struct tls_relay **ret_relay, struct tls_context **ret_context, char **ret_message);
