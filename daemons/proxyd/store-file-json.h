/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The small JSON files of a file store. */

#include <stddef.h>

#include "config.h"

#define STORE_JSON_SIZE 4096U

/* shown: what messages call the directory. Returns 0, -ENOENT, -EUCLEAN (damaged: *ret_message says how), or another negative errno. */
int store_json_load(int directory_fd, const char *shown, const char *name, const struct config_key *keys, void *record,
        char **ret_message);
/* As a whole, and durably. Returns 0 or a negative errno, with the old one in place. */
int store_json_replace(int directory_fd, const char *name, struct json_object *object);

/* For what is written in place: the text, padded; and the write. */
int store_json_print(struct json_object *object, char ret[static STORE_JSON_SIZE]);
int store_json_write(int fd, const char text[static STORE_JSON_SIZE]);
