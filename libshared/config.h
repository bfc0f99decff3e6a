/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON files to typed settings. A program describes its keys in a table; what is wrong in a file is told with file, line, key and what was expected, and nothing is
 * half-applied. json-c parses; the line of a key is found by a second look at the text. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include "cleanup.h"

#define CONFIG_FILE_MAX       (1024U * 1024U)
#define CONFIG_COMPLAINTS_MAX 32U

struct config_file;

/* Where a value stands and how to complain about it. */
struct config_context {
        const struct config_file *file;
        const char *path; /* "listen[1]", "store.path" */
        unsigned line;    /* 1-based */
        char **message;   /* set by config_refuse() */
        unsigned *n_left; /* how many more complaints are wanted; NULL: only the first */
};

/* A handler takes one value. Returns 0, or what config_refuse() returned. */
typedef int (*config_handler_t)(struct config_context *context, struct json_object *value, void *userdata);

struct config_key {
        const char *name;
        config_handler_t handler;
        size_t offset; /* added to userdata */
        bool required;
};

/* Reads and parses: at most CONFIG_FILE_MAX bytes, UTF-8 without a byte order mark, one object, no duplicate keys, nothing behind it. Returns 0 or a negative errno (-ENOENT
 * when there is no such file) with *ret_message a sentence "FILE:LINE: ...", NULL when there is no memory left for one; the caller frees it. */
int config_file_open(const char *path, struct config_file **ret, char **ret_message);
/* The same from memory; name is what messages call it. */
int config_file_parse(const char *name, const char *text, size_t n, struct config_file **ret, char **ret_message);
struct config_file *config_file_free(struct config_file *file);
DEFINE_CLEANUP(struct config_file *, config_file_free);
const char *config_file_path(const struct config_file *file);
/* The object that the file is, as long as it lives: for those whose keys are not for us to choose. */
struct json_object *config_file_root(const struct config_file *file);

/* Walks the top-level object. An unknown key is an error that names the nearest known one. The table ends with a NULL name. On failure some of userdata may have been
 * set: apply to a fresh structure, and throw it away then. Returns 0, -EINVAL or -ENOMEM (with *ret_message NULL). */
int config_apply(const struct config_file *file, const struct config_key *keys, void *userdata, char **ret_message);

/* The same, for somebody who wants to hear of everything that is wrong: *ret_message has a line for each, up to CONFIG_COMPLAINTS_MAX. */
int config_apply_all(
        const struct config_file *file, const struct config_key *keys, void *userdata, char **ret_message);

/* For handlers of nested objects and arrays. */
int config_apply_object(
        struct config_context *context, struct json_object *object, const struct config_key *keys, void *userdata);
int config_apply_array(
        struct config_context *context, struct json_object *array, size_t max, config_handler_t each, void *userdata);

/* Sets the message "FILE:LINE: PATH: expected WHAT, found VALUE" and returns -EINVAL. */
int config_refuse(struct config_context *context, struct json_object *found, const char *expected_format, ...)
        _printf_(3, 4);

/* Ready-made handlers; userdata + offset points to the type named. */
int config_handle_string(
        struct config_context *context, struct json_object *value, void *userdata); /* char *, replaced */
int config_handle_bool(struct config_context *context, struct json_object *value, void *userdata);     /* bool */
int config_handle_unsigned(struct config_context *context, struct json_object *value, void *userdata); /* unsigned */
int config_handle_time(struct config_context *context, struct json_object *value,
        void *userdata); /* uint64_t µs: 30, "30s", "150ms", "2min", "infinity" */
int config_handle_size(struct config_context *context, struct json_object *value,
        void *userdata); /* uint64_t bytes: 4096, "64M", "10G" (powers of 1024) */

/* "HOST", "HOST:PORT", "V4:PORT", "[V6]", "[V6]:PORT" in one spelling: host in lower case, V6 at its shortest and in brackets, port made explicit (default: IVBS_PORT). At
 * most 255 bytes. Returns 0, -EINVAL or -ENOMEM. */
int address_normalise(const char *text, char **ret);
/* "tls://" before it, with a default of ADDRESS_TLS_PORT: by TLS. */
#define ADDRESS_TLS      "tls://"
#define ADDRESS_TLS_PORT 11418U
bool address_is_tls(const char *text);
/* What stands behind that; text itself where there is none. */
const char *address_without_scheme(const char *text);
/* The same, in two parts and without brackets, as getaddrinfo() takes them. */
int address_split(const char *text, char **ret_host, uint16_t *ret_port);
/* "4096", "64M", "1.5G", "10GiB" in powers of 1024, up to E; a fraction of a byte is dropped. Returns 0, -EINVAL or -ERANGE. */
int size_parse(const char *text, uint64_t *ret);
/* "30" (seconds), "30s", "1min 30s", "150ms", "1.5h", "infinity" (UINT64_MAX); units us, ms, s, min (m), h, d. Returns 0, -EINVAL or -ERANGE. */
int time_parse(const char *text, uint64_t *ret_usec);
