/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* On which line of a JSON text each member and element stands. Private to config.c. */

#include <stddef.h>

#include <json-c/json.h>

#include "cleanup.h"

struct config_lines;

/* text: valid JSON that was parsed to root. Both must outlive the result. Returns 0, -ENOMEM, or -EBADMSG when text and root do not fit together. */
int config_lines_new(const char *text, size_t n, struct json_object *root, struct config_lines **ret);
struct config_lines *config_lines_free(struct config_lines *lines);
DEFINE_CLEANUP(struct config_lines *, config_lines_free);

/* 1-based; 0 when there is no such member or element. */
unsigned config_lines_member(const struct config_lines *lines, const struct json_object *object, const char *key);
unsigned config_lines_element(const struct config_lines *lines, const struct json_object *array, size_t index);

struct config_duplicate {
        char *path; /* of the key; allocated */
        unsigned line;
        unsigned first_line;
};

/* A key that one object has twice. Returns 1 and fills ret, 0 when there is none, or -ENOMEM. */
int config_lines_find_duplicate(const struct config_lines *lines, struct config_duplicate *ret);

/* "parent.key", or "key" when parent is NULL or "": for messages, so what could disturb a terminal is replaced and a long key is cut. NULL: out of
 * memory. */
char *config_path_member(const char *parent, const char *key);
char *config_path_element(const char *parent, size_t index);
