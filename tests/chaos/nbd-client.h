/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connection of an NBD client to the worker's socket, asynchronous: fixed newstyle handshake (GO), then as many requests at once as its user likes. Written from the NBD
 * project's protocol document, independently of the worker's side; only the constants are shared. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "cleanup.h"
#include "nbd.h"

struct nbd_client;

struct nbd_client_calls {
        void (*ready)(void *userdata);
        /* data: of a read without error, length bytes. Not called for requests that are lost with the connection. */
        void (*reply)(void *userdata, uint64_t cookie, uint32_t error, const uint8_t *data, uint32_t length);
        /* The connection is gone, for a reason in words. The object may be freed here. */
        void (*lost)(void *userdata, const char *reason);
};

/* Connects to the Unix socket at path and begins the handshake. */
int nbd_client_new(struct nbd_client **ret, sd_event *event, const char *path, const struct nbd_client_calls *calls,
        void *userdata);
struct nbd_client *nbd_client_free(struct nbd_client *client);
DEFINE_CLEANUP(struct nbd_client *, nbd_client_free);

bool nbd_client_is_ready(const struct nbd_client *client);
uint64_t nbd_client_size(const struct nbd_client *client); /* bytes */
uint16_t nbd_client_flags(const struct nbd_client *client);

/* Sends a request; the data of a write are copied. length: at most 32 MiB for reads and writes. cookie: the caller's, unique among those in flight. */
int nbd_client_send(struct nbd_client *client, enum nbd_command command, uint16_t flags, uint64_t cookie,
        uint64_t offset, uint32_t length, const uint8_t *data);
