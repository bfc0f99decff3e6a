/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Puts /org/freedesktop/LogControl1 on the bus for as long as the connection lasts. Returns a negative errno on failure. */
int log_control_bus_add(sd_bus *bus);
