/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What several programs want of json-c's objects: scoped ownership, and members that may be missing. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"

DEFINE_CLEANUP(struct json_object *, json_object_put);

/* Members of objects; "", 0 and false when there is none of that name, or no object. */
const char *json_string(struct json_object *object, const char *key);
uint64_t json_number(struct json_object *object, const char *key);
bool json_is_true(struct json_object *object, const char *key);

/* Takes value, also on failure; NULL is -ENOMEM. */
int json_add(struct json_object *object, const char *key, struct json_object *value);
int json_append(struct json_object *array, struct json_object *value);
