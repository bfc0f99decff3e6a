/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small JSON files below /run/blockstore, one for each image in a directory for each purpose: what has to outlive the supervisor's process, or be read by another. */

#include "json-object.h"

/* /run/blockstore/DIRECTORY/NAME.json. Written beside its place and renamed, so that whoever reads meanwhile sees all or nothing; mode 0640, of the workers' group where there is one. Returns 0 or a negative errno. */
int run_file_write(const char *directory, const char *name, struct json_object *object);
/* Returns 1 and the object; 0 when there is no file; -EBADMSG for one that is no JSON object; or a negative errno. */
int run_file_read(const char *directory, const char *name, struct json_object **ret);
/* Returns 0 also when there is none. */
int run_file_remove(const char *directory, const char *name);
