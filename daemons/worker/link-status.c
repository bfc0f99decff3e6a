/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include <systemd/sd-id128.h>

#include "latency-bus.h"
#include "link-status.h"

static int open_list(sd_bus_message *m, const char *key, const char *element) {
        char type[16];
        int r;

        snprintf(type, sizeof(type), "a%s", element);
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', type);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', element);
        return r;
}

static int close_list(sd_bus_message *m) {
        int r;

        /* The array, the variant, the entry. */
        for (unsigned i = 0; i < 3; i++) {
                r = sd_bus_message_close_container(m);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_proxies(sd_bus_message *m, const struct engine_status *status) {
        int r;

        r = open_list(m, "Proxies", "(susts)");
        for (size_t i = 0; r >= 0 && i < status->n_proxies; i++) {
                const struct engine_proxy *p = status->proxies + i;

                r = sd_bus_message_append(m, "(susts)", p->address, (uint32_t) p->priority,
                        proxy_state_to_string(p->state), p->round_trip_usec,
                        p->announced ? "announced" : "configured");
        }
        if (r >= 0)
                r = close_list(m);
        if (r >= 0)
                r = open_list(m, "ProxyHealth", "(sus)");
        for (size_t i = 0; r >= 0 && i < status->n_proxies; i++)
                r = sd_bus_message_append(m, "(sus)", status->proxies[i].address,
                        (uint32_t) status->proxies[i].failures, status->proxies[i].reason);
        return r < 0 ? r : close_list(m);
}

/* What the device above cannot rely on. A server is held to what it had when the image was attached. */
static int append_missing(sd_bus_message *m, const struct attachment *a) {
        static const struct {
                uint64_t cap;
                const char *name;
        } features[] = {
                { IVBS_CAP_LEASE, "lease" },
                { IVBS_CAP_FENCE, "fence" },
                { IVBS_CAP_FLUSH, "flush" },
                { IVBS_CAP_DURABILITY, "durability" },
        };
        int r;

        r = open_list(m, "MissingFeatures", "s");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(features); i++)
                if (!a->modern || !(a->caps & features[i].cap))
                        r = sd_bus_message_append(m, "s", features[i].name);
        return r < 0 ? r : close_list(m);
}

static int append_latencies(sd_bus_message *m, const struct io_stats *stats) {
        static const char *const keys[_IO_KIND_MAX] = {
                [IO_READ] = "ReadLatency",
                [IO_WRITE] = "WriteLatency",
                [IO_FLUSH] = "FlushLatency",
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < _IO_KIND_MAX; i++) {
                struct latency latency = { .sum_usec = stats->latency[i].sum_usec, .n = IO_LATENCY_BUCKETS };

                for (size_t k = 0; k < IO_LATENCY_BUCKETS; k++)
                        latency.buckets[k] = (struct latency_bucket){ .up_to_usec = io_latency_bounds[k],
                                .count = stats->latency[i].counts[k] };

                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", keys[i]);
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', LATENCY_SIGNATURE);
                if (r >= 0)
                        r = latency_append(m, &latency);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r;
}

int link_status_append(sd_bus_message *m, const struct engine_status *status) {
        const struct io_stats *s = &status->stats;
        int r;

        r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "ActiveProxy", "s",
                status->active_proxy, "StandbyProxy", "s", status->standby_proxy, "Sessions", "u",
                (uint32_t) status->n_sessions, "RetainedBytes", "t", status->retained_bytes, "Failovers", "t",
                status->failovers, "ReadOperations", "t", s->read_operations, "WriteOperations", "t",
                s->write_operations, "FlushOperations", "t", s->flush_operations, "ReadBytes", "t", s->read_bytes,
                "WrittenBytes", "t", s->written_bytes, "Errors", "t", s->errors, "InFlight", "u", s->in_flight,
                "LatencyUSec", "t", status->latency_usec);
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}", "Reconnects", "t", status->reconnects, "Stalls", "t",
                        s->stalls, "LongestStallUSec", "t", s->longest_stall_usec, "StalledUSec", "t",
                        status->stalled_usec);
        if (r >= 0)
                r = append_latencies(m, s);
        return r < 0 ? r : append_proxies(m, status);
}

int link_status_append_attachment(sd_bus_message *m, const struct attachment *a) {
        char uuid[SD_ID128_UUID_STRING_MAX];
        sd_id128_t id;
        int r;

        r = sd_bus_message_append(
                m, "{sv}{sv}", "ImageName", "s", a->name, "ReadOnly", "b", (int) (a->read_only || a->refuses_writes));
        if (r < 0 || !a->attached)
                return r;

        memcpy(id.bytes, a->uuid, sizeof(id.bytes));
        r = sd_bus_message_append(m, "{sv}{sv}", "UUID", "s", sd_id128_to_uuid_string(id, uuid), "Size", "t", a->size);
        return r < 0 ? r : append_missing(m, a);
}
