/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The images of the file store, a page at a time. All names are read for each page and the page's own records then: a directory has no order to go on
 * in, and names are cheap. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "directory.h"
#include "store-file.h"

static int collect_names(struct file_store *store, const char *after, store_filter_t filter, void *userdata,
        struct directory_names *names) {
        DIR *directory = directory_open(store->images_fd, ".");
        struct dirent *entry;
        int r = 0;

        if (!directory)
                return -errno;
        while (r >= 0 && (entry = readdir(directory)))
                if (image_store_name_is_valid(entry->d_name) && (!after || strcmp(entry->d_name, after) > 0) &&
                        (!filter || filter(entry->d_name, userdata)))
                        r = directory_names_add(names, entry->d_name);
        closedir(directory);
        directory_names_sort(names);
        return r;
}

/* Returns 1 when ret was filled, 0 for what is no (whole) image: damage of one must not hide the others. */
static int describe(struct file_store *store, const char *name, struct store_listed *ret) {
        _cleanup_close_ int fd = -EBADF;
        struct image_record record;
        struct stat st;

        fd = openat(store->images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || store_file_load_record(store, fd, name, &record) < 0 ||
                fstatat(fd, "data", &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;

        *ret = (struct store_listed){
                .uuid = record.uuid,
                .size = record.size,
                .used = (uint64_t) st.st_blocks * 512U,
                .leased = record.lease.live,
        };
        strcpy(ret->name, name);
        return 1;
}

int store_file_list(struct store *s, const char *after, store_filter_t filter, void *userdata, size_t max,
        struct store_listed **ret, size_t *ret_n, bool *ret_more) {
        struct file_store *store = FILE_STORE(s);
        struct store_listed *listed;
        struct directory_names names = {};
        size_t n = 0, i;
        int r;

        listed = calloc(max, sizeof(*listed));
        if (!listed)
                return -ENOMEM;

        r = collect_names(store, after, filter, userdata, &names);
        if (r < 0) {
                directory_names_done(&names);
                free(listed);
                return r;
        }

        for (i = 0; i < names.n && n < max; i++)
                n += (size_t) describe(store, names.names[i], listed + n);

        *ret = listed;
        *ret_n = n;
        *ret_more = i < names.n;
        directory_names_done(&names);
        return 0;
}
