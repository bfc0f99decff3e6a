/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One image of a store, one name on this host: two would be two caches and two devices of the same bytes, and the proxy, to which both are the same machine, would give the image to each in turn. */

#include "host-config.h"

/* Claims the image (the store's name, at the proxies that config has) for the local name. Returns a descriptor that holds the claim until it is closed; -EBUSY with the other local name in ret_other when it is taken; -ENOENT
 * where there is no directory for claims; or another negative errno. */
int one_name_claim(
        const struct host_config *config, const char *image, const char *name, char *ret_other, size_t size);
