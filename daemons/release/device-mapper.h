/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Removes a device-mapper device by its name. Returns 0; -EBUSY while it is open; or another negative errno. */
int device_mapper_remove(const char *name);
