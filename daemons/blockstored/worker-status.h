/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a worker says of itself by the private link's Update. */

#include <systemd/sd-bus.h>

#include "image.h"

/* What the lists of one Update are read into; strings point into the message. */
struct worker_status_lists {
        struct image_proxy proxies[IMAGE_PROXIES_MAX];
        struct image_health health[IMAGE_PROXIES_MAX];
};

/* Reads an a{sv}. status comes with what was known before, and is changed by what is said now. Returns 0, or a negative errno: too many keys, or one that is not of its type. */
int worker_status_read(sd_bus_message *message, struct image_status *status, struct worker_status_lists *lists);
