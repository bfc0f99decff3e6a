/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One image of the pool that is open: librbd's handle of it, and its lease, which lies in its header and is read anew for each decision.
 *
 * librbd opens an image when the placement groups that it lies in are active, and that may be never. So an opening goes on by itself, and is waited for a moment only: who comes again finds it where it
 * is by then. */

#include <string.h>
#include <time.h>

#include "ivbs-lifecycle.h"
#include "store-rbd.h"

#define OPEN_SECONDS 2
#define OPENINGS_MAX 64U
#define TRIES_MAX    64U /* of a change of a record: each that fails is one that somebody else has made */

struct rbd_opening {
        struct rbd_store *store;
        char name[IVBS_IMAGE_NAME_SIZE];
        rbd_image_t handle;
        rbd_completion_t completion;
        bool done;
        int result;
        TAILQ_ENTRY(rbd_opening) entry;
};

/* On a thread of librbd's. */
static void opened(rbd_completion_t completion, void *userdata) {
        struct rbd_opening *opening = userdata;
        struct rbd_store *store = opening->store;

        pthread_mutex_lock(&store->mutex);
        opening->result = (int) rbd_aio_get_return_value(completion);
        opening->done = true;
        pthread_cond_broadcast(&store->opened);
        pthread_mutex_unlock(&store->mutex);
}

static int start_opening(struct rbd_store *store, const struct rbd_image *image, struct rbd_opening **ret) {
        struct rbd_opening *opening;
        int r;

        if (store->n_openings >= OPENINGS_MAX)
                return -ETIMEDOUT;
        opening = calloc(1, sizeof(*opening));
        if (!opening)
                return -ENOMEM;
        opening->store = store;
        strcpy(opening->name, image->name);
        r = rbd_aio_create_completion(opening, opened, &opening->completion);
        if (r < 0) {
                free(opening);
                return r;
        }

        pthread_mutex_lock(&store->mutex);
        TAILQ_INSERT_TAIL(&store->openings, opening, entry);
        store->n_openings++;
        pthread_mutex_unlock(&store->mutex);
        /* A snapshot, too, is opened so that it is seen: the image is not removed or renamed then. */
        r = rbd_aio_open(store->data_io, image->base, &opening->handle,
                image->image.read_only ? image->snapshot : NULL, opening->completion);
        if (r < 0) {
                pthread_mutex_lock(&store->mutex);
                TAILQ_REMOVE(&store->openings, opening, entry);
                store->n_openings--;
                pthread_mutex_unlock(&store->mutex);
                rbd_aio_release(opening->completion);
                free(opening);
                return r;
        }
        *ret = opening;
        return 0;
}

static struct rbd_opening *find_opening(struct rbd_store *store, const char *name) {
        struct rbd_opening *opening;

        pthread_mutex_lock(&store->mutex);
        TAILQ_FOREACH(opening, &store->openings, entry)
                if (strcmp(opening->name, name) == 0)
                        break;
        pthread_mutex_unlock(&store->mutex);
        return opening;
}

/* Only the thread that opens images takes openings away. */
static int open_handle(struct rbd_store *store, const struct rbd_image *image, rbd_image_t *ret) {
        struct rbd_opening *opening = find_opening(store, image->name);
        struct timespec deadline;
        int r = 0;

        if (!opening)
                r = start_opening(store, image, &opening);
        if (r < 0)
                return r;

        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += OPEN_SECONDS;
        pthread_mutex_lock(&store->mutex);
        while (!opening->done && r == 0)
                r = pthread_cond_timedwait(&store->opened, &store->mutex, &deadline);
        if (opening->done) {
                TAILQ_REMOVE(&store->openings, opening, entry);
                store->n_openings--;
        }
        pthread_mutex_unlock(&store->mutex);
        if (!opening->done) {
                char message[512];

                (void) snprintf(message, sizeof(message),
                        "The Ceph cluster has not opened %s within %d s: are its placement groups active (ceph health "
                        "detail)? "
                        "The client is told to come again",
                        image->name, OPEN_SECONDS);
                store->how.complain(image->name, message);
                return -ETIMEDOUT;
        }

        r = opening->result;
        if (r >= 0)
                *ret = opening->handle;
        rbd_aio_release(opening->completion);
        free(opening);
        return r < 0 ? r : 0;
}

void store_rbd_close_openings(struct rbd_store *store) {
        struct rbd_opening *opening, *next;

        for (opening = TAILQ_FIRST(&store->openings); opening; opening = next) {
                next = TAILQ_NEXT(opening, entry);
                /* One that is not done cannot be called back: it stays. */
                if (!opening->done)
                        continue;
                TAILQ_REMOVE(&store->openings, opening, entry);
                store->n_openings--;
                if (opening->result >= 0)
                        (void) rbd_close(opening->handle);
                rbd_aio_release(opening->completion);
                free(opening);
        }
}

/* --- close --- */

static void run_close(struct rbd_task *task) {
        struct rbd_image *image = CONTAINER_OF(task, struct rbd_image, close_task);

        (void) rbd_close(image->handle);
        free(image);
}

struct store_image *store_rbd_close_image(struct store_image *i) {
        struct rbd_image *image = RBD_IMAGE(i);
        struct rbd_store *store;

        if (!image)
                return NULL;

        store = RBD_STORE(i->store);
        pthread_mutex_lock(&store->mutex);
        TAILQ_REMOVE(&store->images, image, entry);
        pthread_mutex_unlock(&store->mutex);
        image->close_task.run = run_close;
        store_rbd_thread_do(store, &image->close_task);
        return NULL;
}

/* --- open --- */

void store_rbd_header_is(struct rbd_image *image, const struct rbd_header *header) {
        struct rbd_store *store = RBD_STORE(image->image.store);

        pthread_mutex_lock(&store->mutex);
        image->size = (struct store_size){ store_rbd_size_of(header), header->record.size_epoch };
        image->limits = header->record.limits;
        pthread_mutex_unlock(&store->mutex);
}

void store_rbd_get_size(struct store_image *i, struct store_size *ret) {
        struct rbd_store *store = RBD_STORE(i->store);

        pthread_mutex_lock(&store->mutex);
        *ret = RBD_IMAGE(i)->size;
        pthread_mutex_unlock(&store->mutex);
}

static int load(struct rbd_image *image, struct rbd_header *ret) {
        struct rbd_store *store = RBD_STORE(image->image.store);
        int r;

        r = store_rbd_load(store, image->header, ret);
        if (r == -EUCLEAN)
                store->how.complain(
                        image->name, "The record in the image's RBD header is damaged, or of a newer version");
        return r;
}

/* What the handle is of: the name may have gone to another image meanwhile. */
static int check_handle(struct rbd_image *image) {
        struct rbd_store *store = RBD_STORE(image->image.store);
        char id[RBD_ID_SIZE];
        uint64_t size;
        int r;

        r = rbd_get_id(image->handle, id, sizeof(id));
        if (r >= 0 && strcmp(id, image->id) != 0)
                return -ESTALE;
        if (r >= 0)
                r = rbd_get_size(image->handle, &size);
        if (r >= 0 && image->image.read_only)
                image->size = (struct store_size){ .bytes = size };
        else if (r >= 0 && size < image->size.bytes) {
                store->how.complain(
                        image->name, "The RBD image is smaller than its record says: it was made so by somebody else");
                return -EUCLEAN;
        }
        if (r >= 0 && store->event_fd >= 0)
                r = rbd_set_image_notification(image->handle, store->event_fd, EVENT_TYPE_EVENTFD);
        return r;
}

int store_rbd_open_image(struct store *s, const char *name, struct store_image **ret) {
        struct rbd_store *store = RBD_STORE(s);
        struct rbd_header header;
        struct rbd_image *image;
        uint64_t snapshot = 0;
        int r;

        image = calloc(1, sizeof(*image));
        if (!image)
                return -ENOMEM;
        image->image.store = s;
        image->image.block_size = 4096;
        strcpy(image->name, name);
        r = ivbs_snapshot_name_split(name, image->base, image->snapshot) < 0 ? -ENOENT : 0;
        image->image.read_only = *image->snapshot;
        if (r >= 0)
                r = store_rbd_find(store, image->base, image->id);
        if (r >= 0) {
                store_rbd_header_name(image->id, image->header);
                r = load(image, &header);
        }
        if (r >= 0 && header.record.rolling_back > 0) {
                r = store_rbd_finish_roll_back(store, image->id);
                if (r >= 0)
                        r = load(image, &header);
        }
        if (r >= 0)
                r = open_handle(store, image, &image->handle);
        if (r < 0) {
                free(image);
                return r;
        }

        store_rbd_header_is(image, &header);
        r = check_handle(image);
        if (r >= 0 && image->image.read_only)
                r = rbd_snap_get_id(image->handle, image->snapshot, &snapshot);
        if (r < 0) {
                (void) rbd_close(image->handle);
                free(image);
                return r;
        }
        image->image.uuid = store_rbd_uuid(store, image->id, snapshot);
        pthread_mutex_lock(&store->mutex);
        TAILQ_INSERT_TAIL(&store->images, image, entry);
        pthread_mutex_unlock(&store->mutex);
        *ret = &image->image;
        return 0;
}

/* --- lease --- */

/* Whether the name still leads to what is open. */
static int check_current(struct rbd_image *image) {
        char id[RBD_ID_SIZE];
        int r;

        r = store_rbd_find(RBD_STORE(image->image.store), image->base, id);
        if (r == -ENOENT || (r >= 0 && strcmp(id, image->id) != 0))
                return -ESTALE;
        return r;
}

int store_rbd_change_lease(
        struct store_image *i, store_lease_change_t change, void *userdata, struct lease *ret_lease) {
        struct rbd_image *image = RBD_IMAGE(i);
        struct rbd_store *store = RBD_STORE(i->store);
        struct rbd_header header;
        struct rbd_record record;
        int r, saved;

        if (change && i->read_only)
                return -EROFS;
        r = check_current(image);
        if (r < 0)
                return r;

        for (unsigned n = 0;; n++) {
                r = load(image, &header);
                if (r < 0)
                        return r == -ENOENT ? -ESTALE : r;
                record = header.record;
                r = change ? change(&record.lease, userdata) : 0;
                if (r < 0)
                        return r;
                if (!change || r != 0)
                        break;
                saved = store_rbd_save(store, image->header, &header, &record);
                if (saved >= 0) {
                        store_rbd_tell(store, RBD_MESSAGE_CHANGED, 0, i->uuid, 0);
                        break;
                }
                if (saved != -EAGAIN || n >= TRIES_MAX)
                        return saved == -ENOENT ? -ESTALE : saved;
        }

        if (!i->read_only)
                store_rbd_header_is(image, &header);
        *ret_lease = header.record.lease;
        if (i->read_only)
                *ret_lease = (struct lease){};
        return r;
}
