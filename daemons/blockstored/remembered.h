/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the supervisor itself has to know of an attached image after a restart of its own. A file of its own, for what workers read is theirs. */

#include <stdbool.h>
#include <stdint.h>

struct remembered {
        uint32_t owner_uid;  /* who has attached it; 0: root, systemd, or not known */
        bool detach_pending; /* when nobody holds the device any more */
};

/* What is not there, or cannot be read, is as if nothing had been noted. */
void remembered_load(const char *name, struct remembered *ret);
/* With nothing to note the file is removed. Returns 0 or a negative errno. */
int remembered_save(const char *name, const struct remembered *remembered);
