/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A histogram of latencies as it goes over the bus: the sum of all, µs, and for each bucket its upper bound and its count, as struct latency has them. */

#include <systemd/sd-bus.h>

#include "latency.h"

#define LATENCY_SIGNATURE "(ta(tt))"

/* Returns 0 or a negative errno of sd-bus. */
int latency_append(sd_bus_message *message, const struct latency *latency);
/* The next value of the message. Returns 0; -EINVAL when it has too many buckets, or bounds that do not grow up to the last; or a negative errno of sd-bus. */
int latency_read(sd_bus_message *message, struct latency *ret);
