/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* LIST_PROXIES: where else the store can be reached. First what this proxy calls itself (by default the address by
 * which the client has reached it: a wildcard would help nobody), then its peers in the configuration's order. */

#include <string.h>

#include "client.h"
#include "config.h"

static size_t add(struct ivbs_proxy *proxies, size_t n, const char *address, bool tls) {
        tls = tls || address_is_tls(address);
        address = address_without_scheme(address);
        if (n >= IVBS_PROXIES_MAX || !address[0] || strlen(address) > IVBS_PROXY_ADDRESS_MAX)
                return n;

        for (size_t i = 0; i < n; i++)
                if (strcmp(proxies[i].address, address) == 0)
                        return n;

        proxies[n] = (struct ivbs_proxy){ .priority = (uint16_t) n, .flags = tls ? IVBS_PROXY_TLS : 0 };
        strcpy(proxies[n].address, address);
        return n + 1;
}

/* Returns an allocated payload, or NULL. */
static uint8_t *encode(const struct client *client, size_t *ret_n) {
        const struct settings *settings = client->proxy->settings;
        struct ivbs_proxy proxies[IVBS_PROXIES_MAX];
        uint8_t *data;
        size_t n = 0;

        for (size_t i = 0; i < settings->n_advertise; i++)
                n = add(proxies, n, settings->advertise[i], false);
        if (n == 0)
                n = add(proxies, n, client->local_address, client->encrypted);
        for (size_t i = 0; i < settings->n_peers; i++)
                n = add(proxies, n, settings->peers[i], false);

        data = malloc(IVBS_PROXIES_SIZE_MAX);
        if (data)
                *ret_n = ivbs_proxies_encode(proxies, n, data);
        return data;
}

void client_list_proxies(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        uint8_t *data;
        size_t n;

        data = encode(client, &n);
        if (data)
                client_answer_take(client, header->op, header->sequence, IVBS_STATUS_OK, data, n);
        else
                client_answer(client, header->op, header->sequence, IVBS_STATUS_TEMPORARY_ERROR);
}

void client_push_proxies(struct client *client) {
        uint8_t *data;
        size_t n;

        /* Who does not take its answers gets no more on top. */
        if (client->state != CLIENT_ATTACHED || client->n_requests >= CLIENT_REQUESTS_MAX / 2)
                return;

        data = encode(client, &n);
        if (data)
                client_answer_take(client, IVBS_OP_LIST_PROXIES, 0, IVBS_STATUS_OK, data, n);
}
