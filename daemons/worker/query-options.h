/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The options a{sv} that end the arguments of a change of the store. */

#include <stdint.h>

#include <systemd/sd-bus.h>

struct query_option {
        const char *name;
        uint32_t flag; /* a boolean that sets or clears it; 0: a UUID */
};

/* options: ends with an entry without a name. uuid: IVBS_UUID_SIZE bytes, NULL where no option is one. What is not given stays as it is. Returns 0, or a negative errno with error set unless the types were not those. */
int query_read_options(
        sd_bus_message *m, const struct query_option options[], uint32_t *flags, uint8_t *uuid, sd_bus_error *error);
