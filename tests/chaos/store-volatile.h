/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For tests only, see store-volatile.c. */

#include "store.h"

extern const struct store_ops store_volatile_ops;
