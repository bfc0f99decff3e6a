/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The file that an image is made of or written to. */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"

enum content_format {
        CONTENT_RAW,
        CONTENT_QCOW2,
        _CONTENT_FORMAT_MAX,
        _CONTENT_FORMAT_INVALID = -EINVAL,
};

struct content_file {
        int fd;
        bool stream; /* read or written once, from where it stands */
        enum content_format format;
        uint64_t size;   /* bytes of content, 0: not known */
        char *path;      /* where it is to be, NULL for a stream */
        char *temporary; /* what it is called until it is complete */
};

const char *content_format_to_string(enum content_format format);
enum content_format content_format_from_string(const char *text);

/* Opens a file ("-": standard input) to be imported, and finds out what it is; format: _CONTENT_FORMAT_INVALID to look. size: as the user said, 0: not at all. Returns 0, or the exit code after having told the user. */
int content_file_open(const char *path, enum content_format format, uint64_t size, struct content_file *ret);
/* Makes a file ("-": standard output) to export to, beside its place. */
int content_file_create(const char *path, enum content_format format, bool overwrite, struct content_file *ret);
/* Puts it into its place. */
int content_file_complete(struct content_file *file, bool overwrite);
/* Removes what is not complete, and closes. */
void content_file_done(struct content_file *file);
