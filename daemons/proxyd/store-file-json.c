/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records are small JSON files. Each has a spare beside it: a new version is written into the spare, synced, and the
 * two change names. So a reader finds the old record or the new one, whole; and since both are always padded to one
 * block that stays allocated, a lease can be taken and given back on a store that has no byte left. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "store-file-json.h"
#include "store-file-record.h"

void (*store_file_step)(const char *step) = NULL;

static int read_file(int directory_fd, const char *name, char ret[static STORE_JSON_SIZE], size_t *ret_n) {
        _cleanup_close_ int fd = -EBADF;
        size_t n = 0;

        fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        while (n < STORE_JSON_SIZE) {
                ssize_t k = read(fd, ret + n, STORE_JSON_SIZE - n);

                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (k == 0)
                        break;
                n += (size_t) k;
        }

        *ret_n = n;
        return 0;
}

int store_json_write(int fd, const char text[static STORE_JSON_SIZE]) {
        size_t n = 0;

        while (n < STORE_JSON_SIZE) {
                ssize_t k = pwrite(fd, text + n, STORE_JSON_SIZE - n, (off_t) n);

                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                n += (size_t) k;
                store_file_stepped("spare written");
        }
        return 0;
}

static int write_spare(int directory_fd, const char *spare, const char text[static STORE_JSON_SIZE]) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = openat(directory_fd, spare, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        store_file_stepped("spare opened");

        r = store_json_write(fd, text);
        if (r < 0)
                return r;
        if (ftruncate(fd, STORE_JSON_SIZE) < 0 || fsync(fd) < 0)
                return -errno;

        store_file_stepped("spare synced");
        return 0;
}

/* Padded to the size that every record has. */
int store_json_print(struct json_object *object, char ret[static STORE_JSON_SIZE]) {
        const char *json;
        size_t n;

        json = json_object_to_json_string_ext(
                object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!json)
                return -ENOMEM;
        n = strlen(json);
        if (n >= STORE_JSON_SIZE)
                return -E2BIG;
        memset(ret, ' ', STORE_JSON_SIZE);
        memcpy(ret, json, n);
        ret[STORE_JSON_SIZE - 1] = '\n';
        return 0;
}

int store_json_replace(int directory_fd, const char *name, struct json_object *object) {
        char text[STORE_JSON_SIZE], spare[64];
        int r;

        r = store_json_print(object, text);
        if (r < 0)
                return r;

        (void) snprintf(spare, sizeof(spare), ".%s.spare", name);
        r = write_spare(directory_fd, spare, text);
        if (r < 0)
                return r;

        /* The first version has nothing to change names with, and not every file system can do it. */
        if (renameat2(directory_fd, spare, directory_fd, name, RENAME_EXCHANGE) < 0) {
                if (errno != ENOENT && errno != EINVAL && errno != ENOSYS)
                        return -errno;
                if (renameat(directory_fd, spare, directory_fd, name) < 0)
                        return -errno;
        }
        store_file_stepped("names changed");
        if (fsync(directory_fd) < 0)
                return -errno;

        store_file_stepped("directory synced");
        return 0;
}

int store_json_load(int directory_fd, const char *shown, const char *name, const struct config_key *keys, void *record,
        char **ret_message) {
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        _cleanup_free_ char *path = NULL;
        char text[STORE_JSON_SIZE];
        size_t n = 0;
        int r;

        if (asprintf(&path, "%s/%s", shown, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }

        r = read_file(directory_fd, name, text, &n);
        if (r < 0) {
                if (r != -ENOENT && asprintf(ret_message, "Cannot read %s: %s", path, strerror(-r)) < 0)
                        *ret_message = NULL;
                return r;
        }

        r = config_file_parse(path, text, n, &file, ret_message);
        if (r >= 0)
                r = config_apply(file, keys, record, ret_message);
        return r == -EINVAL || r == -EBADMSG ? -EUCLEAN : r;
}
