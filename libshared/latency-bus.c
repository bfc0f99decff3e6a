/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>

#include "latency-bus.h"

int latency_append(sd_bus_message *message, const struct latency *latency) {
        int r;

        r = sd_bus_message_open_container(message, SD_BUS_TYPE_STRUCT, "ta(tt)");
        if (r >= 0)
                r = sd_bus_message_append(message, "t", latency->sum_usec);
        if (r >= 0)
                r = sd_bus_message_open_container(message, SD_BUS_TYPE_ARRAY, "(tt)");
        for (size_t i = 0; r >= 0 && i < latency->n; i++)
                r = sd_bus_message_append(message, "(tt)", latency->buckets[i].up_to_usec, latency->buckets[i].count);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int read_buckets(sd_bus_message *message, struct latency *latency) {
        uint64_t before = 0;
        int r;

        for (;;) {
                struct latency_bucket bucket;

                r = sd_bus_message_read(message, "(tt)", &bucket.up_to_usec, &bucket.count);
                if (r <= 0)
                        break;
                if (latency->n >= LATENCY_BUCKETS_MAX || (latency->n > 0 && bucket.up_to_usec <= before))
                        return -EINVAL;
                before = bucket.up_to_usec;
                latency->buckets[latency->n++] = bucket;
        }
        if (r < 0)
                return r;
        return latency->n > 0 && before != UINT64_MAX ? -EINVAL : 0;
}

int latency_read(sd_bus_message *message, struct latency *ret) {
        struct latency latency = {};
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_STRUCT, "ta(tt)");
        if (r >= 0)
                r = sd_bus_message_read(message, "t", &latency.sum_usec);
        if (r >= 0)
                r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "(tt)");
        if (r >= 0)
                r = read_buckets(message, &latency);
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;

        *ret = latency;
        return 0;
}
