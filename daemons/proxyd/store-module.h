/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a store in a module of its own shares with who loads it: two symbols. */

#include "store.h"

#define _public_ __attribute__((visibility("default")))
/* Module and proxy are of one build: the store's interface is no promise to anybody. */
#define STORE_MODULE_VERSION "blockstore " BLOCKSTORE_VERSION

extern const char store_module_version[];
extern const struct store_ops store_rbd_ops;
