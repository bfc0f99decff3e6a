/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Paths as names of units, as systemd.unit(5) describes it ("/srv/my data" is "srv-my\x20data"). */

#include <stdbool.h>
#include <stddef.h>

/* Writes the escaped path and the suffix (".mount") into name. The path is absolute; slashes that stand twice or at the end do not count; "/" is "-". Returns 0; -EINVAL if the path is
 * relative, or has "." or ".." in it; -ENAMETOOLONG if a unit's name (255 bytes) or name cannot hold it. On failure name is untouched. */
int unit_name_from_path(const char *path, const char *suffix, char *name, size_t size);

/* Writes the escaped text, for an instance: '/' becomes '-'. Errors as above. */
int unit_name_escape(const char *text, char *name, size_t size);
