/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Notices that another proxy on this machine has changed an image's record, above all that a lease was taken over through it: the sessions here have to
 * hear of that without asking. It comes soon, not at once; that nothing slips through in between is what fencing will have to prove.
 *
 * A replaced record is a name that moved, and the kernel tells it for each directory that is watched. Our own changes are told, too, and cost one more
 * look. Images are opened on the store's thread and closed on the ring's, so the list of them has a lock. */

#include <string.h>
#include <sys/inotify.h>

#include "store-file.h"

static void arm(struct file_store *store) {
        struct io_uring_sqe *sqe = ring_get_sqe(store->how.ring);

        io_uring_prep_read(sqe, store->watch_fd, store->watch_buffer, sizeof(store->watch_buffer), 0);
        ring_sqe_set_op(sqe, &store->watch_op);
}

static void tell(struct file_store *store, int watch, bool all) {
        struct file_image *image;

        /* The callback does not open or close images: it is for the same thread to do that later. */
        pthread_mutex_lock(&store->mutex);
        TAILQ_FOREACH(image, &store->images, entry)
                if (all || image->watch == watch)
                        store->how.record_changed(&image->image, store->how.userdata);
        pthread_mutex_unlock(&store->mutex);
}

static void noticed(struct ring_op *op, int32_t res, uint32_t flags) {
        struct file_store *store = (struct file_store *) ((char *) op - offsetof(struct file_store, watch_op));
        int32_t at = 0;

        if (res < 0 && res != -EINTR && res != -EAGAIN) {
                if (res != -ECANCELED)
                        store->how.complain(NULL,
                                "The records of images cannot be watched any more: a lease that is taken over through "
                                "another proxy is noticed late");
                return;
        }

        while (res - at >= (int32_t) sizeof(struct inotify_event)) {
                struct inotify_event event;

                memcpy(&event, store->watch_buffer + at, sizeof(event));
                at += (int32_t) (sizeof(event) + event.len);
                if (event.mask & (IN_MOVED_TO | IN_Q_OVERFLOW))
                        tell(store, event.wd, event.mask & IN_Q_OVERFLOW);
        }
        arm(store);
}

int store_file_watch_start(struct file_store *store) {
        store->watch_fd = inotify_init1(IN_CLOEXEC);
        if (store->watch_fd < 0)
                return -errno;

        store->watch_op.done = noticed;
        arm(store);
        return 0;
}

void store_file_watch(struct file_image *image) {
        struct file_store *store = FILE_STORE(image->image.store);
        char path[64];

        image->watch = -1;
        if (store->watch_fd >= 0) {
                /* What is open, wherever the store's path leads by now. */
                (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", image->directory_fd);
                image->watch = inotify_add_watch(store->watch_fd, path, IN_MOVED_TO | IN_ONLYDIR);
        }

        pthread_mutex_lock(&store->mutex);
        TAILQ_INSERT_TAIL(&store->images, image, entry);
        pthread_mutex_unlock(&store->mutex);
        image->listed = true;
}

void store_file_unwatch(struct file_image *image) {
        struct file_store *store = FILE_STORE(image->image.store);

        if (!image->listed)
                return;

        pthread_mutex_lock(&store->mutex);
        TAILQ_REMOVE(&store->images, image, entry);
        pthread_mutex_unlock(&store->mutex);
        if (image->watch >= 0)
                (void) inotify_rm_watch(store->watch_fd, image->watch);
}
