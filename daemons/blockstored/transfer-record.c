/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file for each unfinished import below /var/lib/blockstore (which tmpfiles makes): it has to outlive a crash of this host. Written beside its place, synced and renamed, after what it speaks of has been flushed. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "json-object.h"
#include "transfer-record.h"

#define STATE_DIRECTORY "/var/lib/blockstore"
#define RECORD_MAX      4096U

static int record_path(const char *name, const char *suffix, char **ret) {
        const char *directory = secure_getenv("BLOCKSTORE_STATE_DIRECTORY");

        return asprintf(ret, "%s/%s.json%s", directory && *directory ? directory : STATE_DIRECTORY, name, suffix) < 0
                       ? -ENOMEM
                       : 0;
}

static int write_synced(const char *path, const char *text) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        size_t n = strlen(text);
        ssize_t k;

        if (fd < 0)
                return -errno;
        k = write(fd, text, n);
        if (k < 0 || fsync(fd) < 0)
                return -errno;
        return (size_t) k == n ? 0 : -ENOSPC;
}

int transfer_record_write(const char *name, const struct transfer_record *record) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();
        _cleanup_free_ char *path = NULL, *temporary = NULL;
        int r;

        if (!object || json_object_object_add(object, "uuid", json_object_new_string(record->uuid)) < 0 ||
                json_object_object_add(object, "format", json_object_new_string(record->format)) < 0 ||
                json_object_object_add(object, "size", json_object_new_uint64(record->size)) < 0 ||
                json_object_object_add(object, "done", json_object_new_uint64(record->done)) < 0 ||
                json_object_object_add(object, "file-size", json_object_new_uint64(record->file_size)) < 0 ||
                json_object_object_add(object, "file-changed", json_object_new_int64(record->changed_usec)) < 0)
                return -ENOMEM;
        r = record_path(name, "", &path);
        if (r >= 0)
                r = record_path(name, ".new", &temporary);
        if (r >= 0)
                r = write_synced(temporary, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
        if (r >= 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0 && temporary)
                (void) unlink(temporary);
        return r;
}

static int read_string(struct json_object *object, const char *key, char *ret, size_t size) {
        struct json_object *value;

        if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_string) ||
                (size_t) json_object_get_string_len(value) >= size)
                return -EBADMSG;
        memcpy(ret, json_object_get_string(value), (size_t) json_object_get_string_len(value) + 1);
        return 0;
}

static int read_number(struct json_object *object, const char *key, uint64_t *ret) {
        struct json_object *value;

        if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_int))
                return -EBADMSG;
        *ret = json_object_get_uint64(value);
        return 0;
}

int transfer_record_read(const char *name, struct transfer_record *ret) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct transfer_record record = {};
        char text[RECORD_MAX];
        uint64_t changed;
        ssize_t n;
        int r;

        r = record_path(name, "", &path);
        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        n = read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return -errno;
        text[n] = 0;
        object = json_tokener_parse(text);
        if (!object || !json_object_is_type(object, json_type_object))
                return -EBADMSG;

        r = read_string(object, "uuid", record.uuid, sizeof(record.uuid));
        if (r >= 0)
                r = read_string(object, "format", record.format, sizeof(record.format));
        if (r >= 0)
                r = read_number(object, "size", &record.size);
        if (r >= 0)
                r = read_number(object, "done", &record.done);
        if (r >= 0)
                r = read_number(object, "file-size", &record.file_size);
        if (r >= 0)
                r = read_number(object, "file-changed", &changed);
        if (r < 0)
                return r;
        if (record.done > record.size || record.size == 0)
                return -EBADMSG;
        record.changed_usec = (int64_t) changed;
        *ret = record;
        return 0;
}

int transfer_record_remove(const char *name) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = record_path(name, "", &path);
        if (r >= 0 && unlink(path) < 0 && errno != ENOENT)
                r = -errno;
        return r;
}
