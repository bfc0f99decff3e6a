/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a worker shows of itself, as entries {sv} of the private link's Update. An older supervisor passes over the keys that it does not know. */

#include <systemd/sd-bus.h>

#include "engine.h"

/* To an open a{sv}. Return 0 or a negative errno of sd-bus. */
int link_status_append(sd_bus_message *m, const struct engine_status *status);
int link_status_append_attachment(sd_bus_message *m, const struct attachment *a);
