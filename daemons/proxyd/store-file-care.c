/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an administrator looks at and sets of an image beside its size: its limits, which are a part of its record, so that all proxies of the store see them change; whether it has checksums; its last scrub. */

#include <string.h>
#include <sys/file.h>

#include "store-file.h"

int store_file_look_at_care(struct store *s, const char *name, struct store_care *ret) {
        struct file_store *store = FILE_STORE(s);
        struct store_care care = {};
        _cleanup_close_ int fd = -EBADF;
        struct image_record record = {};
        _cleanup_free_ char *message = NULL;
        int r;

        r = store_file_open_and_lock_image(store, name, LOCK_SH, &fd);
        if (r >= 0)
                r = image_record_load(fd, name, &record, &message);
        if (message)
                store->how.complain(name, message);
        if (r < 0)
                return r;

        care.checksums = record.checksums;
        care.limits = record.limits;
        store_file_scrub_report(fd, &care.scrub);
        *ret = care;
        return 0;
}

int store_file_set_limits(struct store *s, const char *name, sd_id128_t uuid, const struct store_limits *limits) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct image_record record;
        int r;

        r = store_file_open_and_lock_image(store, name, LOCK_EX, &fd);
        if (r >= 0)
                r = image_record_load(fd, name, &record, &message);
        if (message)
                store->how.complain(name, message);
        if (r < 0)
                return r;
        if (!sd_id128_is_null(uuid) && !sd_id128_equal(uuid, record.uuid))
                return -ENOENT;

        record.limits = *limits;
        return image_record_save(fd, &record);
}

void store_file_get_limits(struct store_image *i, struct store_limits *ret) {
        struct file_store *store = FILE_STORE(i->store);

        pthread_mutex_lock(&store->mutex);
        *ret = FILE_IMAGE(i)->limits;
        pthread_mutex_unlock(&store->mutex);
}
