/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Proxies and the images behind them, asked by the supervisor's query worker, which connects and logs in as the images do. doctor itself opens no connection. */

#include <string.h>

#include "bus-json.h"
#include "bus.h"
#include "doctor.h"
#include "host-config.h"
#include "image.h"
#include "local-proxy.h"
#include "output.h"

static void look_at_proxy(struct doctor *d, struct json_object *proxy, unsigned *ret_usable) {
        const char *address = json_string(proxy, "address"), *state = json_string(proxy, "state");
        char command[DOCTOR_COMMAND_MAX], unit[LOCAL_PROXY_UNIT_MAX] = "", usec[FORMAT_MAX];

        if (strcmp(state, "refused") == 0) {
                found(d, FINDING_ERROR, address, "install -D -m 0600 /dev/stdin /etc/credstore/blockstore.default",
                        "The proxy answers and refuses the login: %s. Check \"user\" in blockstore.json and its "
                        "password.",
                        json_string(proxy, "reason"));
        } else if (strcmp(state, "unreachable") == 0) {
                bool here = local_proxy_find(address, unit);

                snprintf(command, sizeof command, "systemctl start '%s'", unit);
                found(d, FINDING_WARNING, address, here ? command : NULL, "The proxy cannot be reached: %s.",
                        json_string(proxy, "reason"));
        } else if (strcmp(state, "draining") == 0) {
                snprintf(command, sizeof command, "blockstorectl proxy drain --undo '%s'", address);
                found(d, FINDING_WARNING, address, command,
                        "The proxy is drained: the login works, and nothing can be attached there until that is "
                        "undone.");
        } else {
                found(d, FINDING_OK, address, NULL, "The proxy is %s, the login works; round trip %s.", state,
                        format_usec(usec, json_number(proxy, "round_trip_usec")));
                (*ret_usable)++;
        }
}

void check_proxies(struct doctor *d) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) struct json_object *proxies = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        unsigned n_usable = 0;
        int r;

        if (!doctor_needs_bus(d))
                return;

        r = bus_call_read(d->bus, "ProbeProxies", &error, &reply, NULL);
        if (r >= 0)
                r = bus_json_read_records(reply, probed_proxy_fields, &proxies);
        if (r < 0) {
                found(d, FINDING_ERROR, NULL, "systemctl status 'blockstore-query@default.service'",
                        "The proxies cannot be asked: %s", error.message ? error.message : strerror(-r));
                return;
        }

        for (size_t i = 0; i < json_object_array_length(proxies); i++)
                look_at_proxy(d, json_object_array_get_idx(proxies, i), &n_usable);
        if (n_usable == 0)
                found(d, FINDING_ERROR, NULL, "blockstorectl proxies",
                        "No proxy can be used: nothing can be attached, and I/O of what is attached waits.");
        else if (n_usable == 1)
                found(d, FINDING_WARNING, NULL, NULL,
                        "Only one proxy can be used: while it is gone, all I/O waits. A second one over the same "
                        "store "
                        "takes over.");
}

static bool store_has(struct json_object *images, const char *name) {
        for (size_t i = 0; i < json_object_array_length(images); i++)
                if (strcmp(json_string(json_object_array_get_idx(images, i), "name"), name) == 0)
                        return true;

        return false;
}

static bool same_user(const struct host_config *a, const struct host_config *b) {
        return a->user && b->user && strcmp(a->user, b->user) == 0;
}

void check_store_images(struct doctor *d) {
        _cleanup_(host_config_freep) struct host_config *host = NULL;
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        if (!*d->images) {
                found(d, FINDING_OK, NULL, NULL, "No image is configured or attached here.");
                return;
        }
        if (!doctor_needs_bus(d))
                return;

        r = host_config_load(NULL, &host, &message);
        if (r >= 0)
                r = image_load_store(d->bus, &error, &images);
        if (r < 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "The store cannot be asked for its images: %s",
                        message         ? message
                        : error.message ? error.message
                                        : strerror(-r));
                return;
        }

        for (char **name = d->images; *name; name++) {
                _cleanup_(host_config_freep) struct host_config *config = NULL;
                _cleanup_free_ char *complaint = NULL;
                char command[DOCTOR_COMMAND_MAX];
                const char *image;

                if (host_config_load(*name, &config, &complaint) < 0)
                        continue; /* check_image_config() says so */
                image = config->image ? config->image : *name;
                if (store_has(images, image)) {
                        found(d, FINDING_OK, *name, NULL, "The store has image %s.", image);
                        continue;
                }
                if (!same_user(config, host)) {
                        found(d, FINDING_SKIPPED, *name, NULL,
                                "The image has a user of its own, as whom the store is not asked.");
                        continue;
                }
                snprintf(command, sizeof command, "blockstorectl create %s SIZE", image);
                found(d, FINDING_ERROR, *name, command, "The store has no image %s that user %s may see.", image,
                        host->user);
        }
}

void check_image_states(struct doctor *d) {
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        unsigned n = 0;
        int r;

        if (!doctor_needs_bus(d))
                return;
        r = image_load_all(d->bus, &error, &images);
        if (r < 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "blockstored cannot be asked for its images: %s",
                        error.message ? error.message : strerror(-r));
                return;
        }

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);
                const char *name = json_string(image, "name"), *state = json_string(image, "state"),
                           *reason = json_string(image, "state_reason");
                char command[DOCTOR_COMMAND_MAX];

                snprintf(command, sizeof command,
                        "systemctl reset-failed image@%s.service && systemctl start image@%s.service", name, name);
                if (strcmp(state, "failed") == 0)
                        found(d, FINDING_ERROR, name, command, "The image has failed: %s", reason);
                else if (strcmp(state, "parked") == 0 || strcmp(state, "reconnecting") == 0)
                        found(d, FINDING_ERROR, name, "blockstorectl proxies", "The image is %s, its I/O waits: %s",
                                state, reason);
                else if (json_object_array_length(json_object_object_get(image, "missing_features")) > 0)
                        found(d, FINDING_WARNING, name, NULL,
                                "The server cannot give all that keeps data safe; \"blockstorectl status %s\" says "
                                "what "
                                "that means.",
                                name);
                else if (strcmp(state, "inactive") != 0)
                        found(d, FINDING_OK, name, NULL, "The image is %s.", state);
                else
                        continue;
                n++;
        }
        if (n == 0)
                found(d, FINDING_OK, NULL, NULL, "No image is attached.");
}
