/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Image.HeatMap: read out of the worker's own memory at the moment at which somebody asks, so that it costs nothing while nobody does. */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "heat-map.h"
#include "manager.h"
#include "peer-bus.h"

static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;
}

int image_heat_method(struct managed *managed, sd_bus_message *message, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ struct heat_picture *picture = NULL;
        int r;

        if (!managed->link || managed->link->heat_fd < 0)
                return peer_bus_error_set(error, FAILURE_NOT_ATTACHED,
                        managed->link ? "The worker of %s is an older one, which does not count accesses"
                                      : "Image %s has no worker, so nothing is counted",
                        managed->image->name);

        picture = malloc(sizeof(*picture));
        if (!picture)
                return -ENOMEM;
        r = heat_map_read(managed->link->heat_fd, now_usec(), picture);
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_INTERNAL, "The heat map of %s cannot be read: %s",
                        managed->image->name, strerror(-r));

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "tt", picture->size, (uint64_t) HEAT_HALF_LIFE_USEC);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'd', picture->reads, sizeof(picture->reads));
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'd', picture->writes, sizeof(picture->writes));
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
