/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A device's identity is the string "NAME/UUID" that was given with CONNECT and that the kernel shows as nbdN/backend while the device is configured. It is the only
 * record of which device belongs to which image: nothing is written down elsewhere that could come to disagree with it. */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "device-nbd.h"
#include "device-sysfs.h"
#include "host-config.h"

#define DEVICES_MAX 65536U

DEFINE_CLEANUP(DIR *, closedir);

bool device_uuid_is_valid(const char *uuid) {
        if (strlen(uuid) != 36)
                return false;

        for (size_t i = 0; i < 36; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? uuid[i] != '-' : !isxdigit((unsigned char) uuid[i]))
                        return false;
        }

        return true;
}

int device_identity_parse(const char *text, char **ret_name, char **ret_uuid) {
        _cleanup_free_ char *name = NULL, *uuid = NULL;
        const char *slash = strchr(text, '/');

        if (!slash || !device_uuid_is_valid(slash + 1))
                return -EINVAL;

        name = strndup(text, (size_t) (slash - text));
        uuid = strdup(slash + 1);
        if (!name || !uuid)
                return -ENOMEM;

        if (!image_local_name_is_valid(name))
                return -EINVAL;

        *ret_name = TAKE_PTR(name);
        *ret_uuid = TAKE_PTR(uuid);
        return 0;
}

/* One attribute's first line, without its end. */
static int read_attribute(const char *root, uint32_t index, const char *attribute, char *buffer, size_t size) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        if (asprintf(&path, "%s/block/nbd%u/%s", root, index, attribute) < 0)
                return -ENOMEM;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        n = read(fd, buffer, size - 1);
        if (n < 0)
                return -errno;

        buffer[n] = 0;
        buffer[strcspn(buffer, "\n")] = 0;
        return 0;
}

static int write_attribute(const char *root, uint32_t index, const char *attribute, const char *value) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (asprintf(&path, "%s/block/nbd%u/%s", root, index, attribute) < 0)
                return -ENOMEM;

        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

struct device_found *device_found_free_many(struct device_found *found, size_t n) {
        for (size_t i = 0; found && i < n; i++) {
                free(found[i].name);
                free(found[i].uuid);
        }
        free(found);
        return NULL;
}

/* nbdN to N; partitions, which stand elsewhere, and other names are none. */
static int parse_index(const char *name, uint32_t *ret) {
        unsigned long value;
        char *end;

        if (strncmp(name, "nbd", 3) != 0 || !isdigit((unsigned char) name[3]))
                return -EINVAL;

        value = strtoul(name + 3, &end, 10);
        if (*end || value >= DEVICES_MAX)
                return -EINVAL;

        *ret = (uint32_t) value;
        return 0;
}

static int compare_found(const void *a, const void *b) {
        const struct device_found *x = a, *y = b;

        return x->index < y->index ? -1 : x->index > y->index;
}

int device_sysfs_list(const char *root, struct device_found **ret, size_t *ret_n) {
        _cleanup_(closedirp) DIR *directory = NULL;
        _cleanup_free_ char *path = NULL;
        struct device_found *found = NULL;
        struct dirent *entry;
        size_t n = 0;

        if (asprintf(&path, "%s/block", root) < 0)
                return -ENOMEM;

        directory = opendir(path);
        if (!directory && errno != ENOENT)
                return -errno;

        while (directory && (entry = readdir(directory))) {
                char identity[DEVICE_NBD_IDENTITY_MAX];
                struct device_found one = {}, *bigger;
                int r;

                if (parse_index(entry->d_name, &one.index) < 0 ||
                        read_attribute(root, one.index, "backend", identity, sizeof(identity)) < 0)
                        continue;

                r = device_identity_parse(identity, &one.name, &one.uuid);
                if (r == -EINVAL)
                        continue;
                bigger = r < 0 ? NULL : reallocarray(found, n + 1, sizeof(*found));
                if (!bigger) {
                        free(one.name);
                        free(one.uuid);
                        device_found_free_many(found, n);
                        return -ENOMEM;
                }
                found = bigger;
                found[n++] = one;
        }

        if (n > 1)
                qsort(found, n, sizeof(*found), compare_found);

        *ret = found;
        *ret_n = n;
        return 0;
}

static int read_number(const char *root, uint32_t index, const char *attribute, uint64_t *ret) {
        char text[32], *end;
        int r;

        r = read_attribute(root, index, attribute, text, sizeof(text));
        if (r < 0)
                return r;

        errno = 0;
        *ret = strtoull(text, &end, 10);
        return errno > 0 ? -errno : *end || end == text ? -EBADMSG : 0;
}

int device_sysfs_size(const char *root, uint32_t index, uint64_t *ret) {
        uint64_t sectors;
        int r;

        r = read_number(root, index, "size", &sectors);
        if (r < 0)
                return r;

        *ret = sectors * 512; /* sysfs counts in 512 bytes, whatever the block size */
        return 0;
}

int device_sysfs_read_only(const char *root, uint32_t index, bool *ret) {
        uint64_t value;
        int r;

        r = read_number(root, index, "ro", &value);
        if (r < 0)
                return r;

        *ret = value != 0;
        return 0;
}

int device_sysfs_io_timeout(const char *root, uint32_t index, uint64_t *ret_msec) {
        return read_number(root, index, "queue/io_timeout", ret_msec);
}

int device_sysfs_set_io_timeout(const char *root, uint32_t index, unsigned msec) {
        char text[16];

        (void) snprintf(text, sizeof(text), "%u", msec);
        return write_attribute(root, index, "queue/io_timeout", text);
}

int device_sysfs_trigger(const char *root, uint32_t index, sd_id128_t id) {
        char text[64];

        (void) snprintf(text, sizeof(text), "change " SD_ID128_UUID_FORMAT_STR, SD_ID128_FORMAT_VAL(id));
        return write_attribute(root, index, "uevent", text);
}
