/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "directory.h"

DIR *directory_open(int parent_fd, const char *name) {
        _cleanup_close_ int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;

        if (directory)
                (void) TAKE_FD(fd);
        return directory;
}

int directory_names_add(struct directory_names *names, const char *name) {
        char **grown = reallocarray(names->names, names->n + 1, sizeof(char *));

        if (!grown)
                return -ENOMEM;
        names->names = grown;
        grown[names->n] = strdup(name);
        if (!grown[names->n])
                return -ENOMEM;
        names->n++;
        return 0;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

void directory_names_sort(struct directory_names *names) {
        if (names->n > 0)
                qsort(names->names, names->n, sizeof(char *), compare_names);
}

void directory_names_done(struct directory_names *names) {
        for (size_t i = 0; i < names->n; i++)
                free(names->names[i]);
        free(names->names);
        *names = (struct directory_names){};
}
