/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may go now: requests that overlap an earlier mutation (write, trim, write zeroes) wait until it has been answered. Knows no sessions. One thread only. */

#include <stdbool.h>

#include "cleanup.h"
#include "request.h"

struct ordering;

/* release: r waited, and may go now. It may enter and leave other requests, and leave r itself. */
int ordering_new(struct ordering **ret, void (*release)(struct request *request, void *userdata), void *userdata);
/* All requests must have left. */
struct ordering *ordering_free(struct ordering *ordering);
DEFINE_CLEANUP(struct ordering *, ordering_free);

/* In order of acceptance, once per request; op, offset and length must not change until it leaves. true: it may go now. false: an earlier mutation that overlaps it (and may
 * wait itself) has not left yet; release() comes when none is left. A FLUSH waits for nothing and holds up nobody; a read holds up nobody. */
bool ordering_enter(struct ordering *ordering, struct request *request);

/* It was answered to its owner, or failed, whether it waited or not. Releases, in order of acceptance, those that waited for it alone. Fine for one that is not in. */
void ordering_leave(struct ordering *ordering, struct request *request);
