/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kinds of stores that blockstore-proxyd serves; a build for tests has a list of its own. */

#include "store.h"

const struct store_ops *const store_types[] = { &store_file_ops, &store_module_rbd_ops, NULL };
