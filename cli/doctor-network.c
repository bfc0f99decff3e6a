/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whether somebody on the way could read along: with an address of TLS nobody can; else what counts is the way. */

#include "doctor.h"
#include "host-config.h"
#include "way.h"

#define ADVICE                                                                                                      \
        "data and names travel in the clear. Use TLS (tls://HOST, see proxy.md), let them go through WireGuard or " \
        "IPsec, or over a network of their own."

static void look_at_way(struct doctor *d, const char *address) {
        char interface[WAY_INTERFACE_SIZE] = "";

        switch (way_of(address, interface)) {
        case WAY_TLS:
                found(d, FINDING_OK, address, NULL, "By TLS.");
                break;
        case WAY_LOCAL:
                found(d, FINDING_OK, address, NULL, "On this machine.");
                break;
        case WAY_TUNNEL:
                found(d, FINDING_OK, address, NULL, "Through the WireGuard tunnel %s.", interface);
                break;
        case WAY_NONE:
                found(d, FINDING_WARNING, address, NULL, "There is no way to the proxy; and not encrypted: " ADVICE);
                break;
        case WAY_OPEN:
        default:
                found(d, FINDING_WARNING, address, NULL, "Not encrypted: " ADVICE);
                break;
        }
}

static void look_at_image(struct doctor *d, const char *name) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;
        _cleanup_free_ char *message = NULL;

        /* What is wrong with it is said elsewhere. */
        if (host_config_load(name, &config, &message) < 0)
                return;
        for (size_t i = 0; i < config->n_proxies; i++)
                look_at_way(d, config->proxies[i].address);
}

void check_encryption(struct doctor *d) {
        size_t before = json_object_array_length(d->findings);

        look_at_image(d, NULL);
        for (char **name = d->images; *name; name++)
                look_at_image(d, *name);
        if (json_object_array_length(d->findings) == before)
                found(d, FINDING_SKIPPED, NULL, NULL, "No proxy is configured.");
}
