/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "latency-bus.h"
#include "worker-status.h"

#define STATUS_KEYS_MAX 128U

/* One a(susts) of at most IMAGE_PROXIES_MAX; strings point into the message. Returns 0 or a negative errno. */
static int read_proxies(sd_bus_message *message, struct image_proxy *proxies, size_t *ret_n) {
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, "a(susts)");
        if (r < 0)
                return r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "(susts)");
        if (r < 0)
                return r;

        for (;;) {
                const char *address, *state, *origin;
                uint64_t round_trip;
                uint32_t priority;

                r = sd_bus_message_read(message, "(susts)", &address, &priority, &state, &round_trip, &origin);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                if (n >= IMAGE_PROXIES_MAX)
                        return -EINVAL;
                proxies[n++] = (struct image_proxy){
                        .address = (char *) address,
                        .state = (char *) state,
                        .origin = (char *) origin,
                        .priority = priority,
                        .round_trip_usec = round_trip,
                };
        }

        r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;

        *ret_n = n;
        return sd_bus_message_exit_container(message);
}

/* One a(sus), likewise. */
static int read_health(sd_bus_message *message, struct image_health *health, size_t *ret_n) {
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, "a(sus)");
        if (r >= 0)
                r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "(sus)");
        while (r >= 0) {
                const char *address, *reason;
                uint32_t failures;

                r = sd_bus_message_read(message, "(sus)", &address, &failures, &reason);
                if (r <= 0)
                        break;
                if (n >= IMAGE_PROXIES_MAX)
                        return -EINVAL;
                health[n++] = (struct image_health){
                        .address = (char *) address, .reason = (char *) reason, .failures = failures
                };
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;

        *ret_n = n;
        return sd_bus_message_exit_container(message);
}

/* One as; a feature that is not known here is passed over. */
static int read_features(sd_bus_message *message, uint32_t *ret) {
        uint32_t features = 0;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, "as");
        if (r >= 0)
                r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "s");
        while (r >= 0) {
                const char *name;

                r = sd_bus_message_read(message, "s", &name);
                if (r <= 0)
                        break;
                features |= image_feature_from_string(name);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;

        *ret = features;
        return sd_bus_message_exit_container(message);
}

static int read_latency(sd_bus_message *message, struct latency *ret) {
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, LATENCY_SIGNATURE);
        if (r >= 0)
                r = latency_read(message, ret);
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

/* Reads the variant of one key. A key that is not known is passed over, one of another type is refused. */
static int read_key(
        sd_bus_message *message, const char *key, struct image_status *status, struct worker_status_lists *lists) {
        struct image_counters *counters = &status->counters;
        const struct {
                const char *key, *type;
                void *value;
                uint32_t bit;
        } keys[] = {
                { "StateReason", "s", &status->state_reason, 0 },
                { "ImageName", "s", &status->image_name, 0 },
                { "UUID", "s", &status->uuid, 0 },
                { "ActiveProxy", "s", &status->active_proxy, 0 },
                { "StandbyProxy", "s", &status->standby_proxy, 0 },
                { "StateSince", "t", &status->state_since_usec, 0 },
                { "Sessions", "u", &status->n_sessions, IMAGE_SESSIONS },
                { "Size", "t", &status->size, IMAGE_SIZE },
                { "Failovers", "t", &status->failovers, IMAGE_FAILOVERS },
                { "ReadOperations", "t", &counters->read_operations, 0 },
                { "WriteOperations", "t", &counters->write_operations, 0 },
                { "FlushOperations", "t", &counters->flush_operations, 0 },
                { "ReadBytes", "t", &counters->read_bytes, 0 },
                { "WrittenBytes", "t", &counters->written_bytes, 0 },
                { "Errors", "t", &counters->errors, 0 },
                { "LatencyUSec", "t", &counters->latency_usec, 0 },
                { "InFlight", "u", &counters->in_flight, 0 },
                { "RetainedBytes", "t", &counters->retained_bytes, 0 },
                { "Reconnects", "t", &counters->reconnects, 0 },
                { "Stalls", "t", &counters->stalls, 0 },
                { "LongestStallUSec", "t", &counters->longest_stall_usec, 0 },
                { "StalledUSec", "t", &counters->stalled_usec, 0 },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(keys[i].key, key) == 0) {
                        status->mask |= keys[i].bit;
                        return sd_bus_message_read(message, "v", keys[i].type, keys[i].value);
                }

        if (strcmp(key, "State") == 0) {
                const char *state;

                r = sd_bus_message_read(message, "v", "s", &state);
                if (r < 0)
                        return r;
                status->state = image_state_from_string(state);
                return status->state < 0 ? -EINVAL : 0;
        }
        if (strcmp(key, "ReadOnly") == 0) {
                int value; /* sd-bus writes an int for "b" */

                r = sd_bus_message_read(message, "v", "b", &value);
                if (r < 0)
                        return r;
                status->read_only = value;
                status->mask |= IMAGE_READ_ONLY;
                return 0;
        }
        if (strcmp(key, "Failure") == 0) {
                uint32_t value;

                r = sd_bus_message_read(message, "v", "u", &value);
                if (r < 0)
                        return r;
                status->failure = failure_lookup((enum failure) value)->failure;
                return 0;
        }
        if (strcmp(key, "Proxies") == 0) {
                status->mask |= IMAGE_PROXIES;
                status->proxies = lists->proxies;
                return read_proxies(message, lists->proxies, &status->n_proxies);
        }
        if (strcmp(key, "ProxyHealth") == 0) {
                status->mask |= IMAGE_PROXY_HEALTH;
                status->health = lists->health;
                return read_health(message, lists->health, &status->n_health);
        }
        if (strcmp(key, "MissingFeatures") == 0) {
                status->mask |= IMAGE_MISSING_FEATURES;
                return read_features(message, &status->missing_features);
        }

        if (strcmp(key, "ReadLatency") == 0)
                return read_latency(message, &counters->read_latency);
        if (strcmp(key, "WriteLatency") == 0)
                return read_latency(message, &counters->write_latency);
        if (strcmp(key, "FlushLatency") == 0)
                return read_latency(message, &counters->flush_latency);

        return sd_bus_message_skip(message, "v");
}

int worker_status_read(sd_bus_message *message, struct image_status *status, struct worker_status_lists *lists) {
        unsigned n = 0;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
        while (r >= 0) {
                const char *key;

                r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv");
                if (r <= 0)
                        break;

                r = sd_bus_message_read(message, "s", &key);
                if (r >= 0)
                        r = ++n > STATUS_KEYS_MAX ? -EINVAL : read_key(message, key, status, lists);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
        }
        return r;
}
