/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Upgrade: every worker replaced by one of the programs that are installed now, one image after the other. */

#include "job.h"

struct manager;

/* Begins. Returns 0 with its job; -EBUSY while one is under way; or another negative errno. */
int upgrade_start(struct manager *manager, struct job **ret);
/* The supervisor is stopping. */
void upgrade_forget(struct manager *manager);
