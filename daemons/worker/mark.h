/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a restarted worker must know: the durability identity under which the image was last used, and whether something acknowledged under it may not be durable ("dirty"). A small file,
 * "durability", in the image's runtime directory. */

#include <stdbool.h>

#include "cleanup.h"
#include "ivbs-hello.h"

struct mark;

/* Reads what is there. *ret_found false: nothing was ever marked, and the other two are zero. A file that is short, torn or otherwise not ours to understand counts as found and
 * dirty under an identity of all zeroes, which no server has: never as clean. directory NULL: nothing is kept, and nothing found. */
int mark_open(struct mark **ret, const char *directory, bool *ret_found, struct ivbs_identity *ret_identity,
        bool *ret_dirty);

/* When it returns 0 a worker that is started after a crash of this one finds it. On failure what was there may be there still, or count as dirty. */
int mark_set(struct mark *mark, const struct ivbs_identity *identity, bool dirty);

/* The file stays. */
struct mark *mark_close(struct mark *mark);
DEFINE_CLEANUP(struct mark *, mark_close);

/* Forgets: the image was detached, and owes nothing. Fine when nothing is there. After mark_close(). */
int mark_remove(const char *directory);
