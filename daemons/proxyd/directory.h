/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Directories of a store, which are reached by descriptors and never by paths, and the names in them. */

#include <dirent.h>
#include <stddef.h>

struct directory_names {
        char **names;
        size_t n;
};

/* name: "." for the directory itself; a symbolic link is none. NULL with errno set. */
DIR *directory_open(int parent_fd, const char *name);

/* Adds a copy. Returns 0 or -ENOMEM, with what there was still there. */
int directory_names_add(struct directory_names *names, const char *name);
/* By bytes. */
void directory_names_sort(struct directory_names *names);
void directory_names_done(struct directory_names *names);
