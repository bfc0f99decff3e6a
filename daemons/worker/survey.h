/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks every known proxy whether it would have us: connects, logs in, hangs up. What was found stands in the list of proxies. */

#include "proxies.h"
#include "session.h"

struct survey;

typedef void (*survey_done_t)(void *userdata);

/* used: the proxy that is in use, or NULL; of it only that it is drained is found out. done() follows, when all sessions are over. All pointers must outlive it. */
int survey_start(struct ring *ring, const struct host_config *config, const struct credentials *credentials,
        struct proxies *proxies, const struct proxy *used, survey_done_t done, void *userdata);
