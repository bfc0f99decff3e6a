/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* FOR TESTS ONLY, in blockstore-proxyd-test, which is never installed: a store that loses power. It wraps a file store. What is written, trimmed or zeroed is kept in
 * this process's memory over the file, where reads see it; a flush, or a durable write, puts it into the file. Killing the process is what pulling the plug is to a
 * machine with a volatile cache: acknowledged and not flushed is gone. Each start is a machine that has booted, with another boot id and mount instance.
 *
 * The memory is a private mapping of the image's file, so that what was never written shows the file; a bit for each sector says what was. Letting an image go, or closing
 * it, in good order puts everything into the file first, as a page cache that two proxies share would show it to the other one.
 *
 * Files in the store's directory inject faults:
 *     fail-flush    "N": the Nth flush from now on fails, and what it covered is never written, while the next one succeeds: a sync error as the kernel reports it, once.
 *                   As in the page cache of ext4 and XFS reads see it until the image is closed or power is lost
 *     fail-fua      "N": the same for durable writes
 *     hold-writes   "OFFSET LENGTH": changes of that range stay in hand, neither done nor refused, until the file is removed */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "bytes.h"
#include "container-of.h"
#include "store-file.h"
#include "store-volatile.h"

#define SECTOR    512U
#define POLL_USEC 2000U

TAILQ_HEAD(volatile_image_list, volatile_image);

struct volatile_store {
        struct store store;
        struct store_how how;
        struct store *inner;
        sd_id128_t boot_id;
        uint64_t mount_instance;
        pthread_mutex_t mutex;
        struct volatile_image_list images;
        struct store_io_list held;
        struct ring_timer held_timer;
};

struct volatile_image {
        struct store_image image;
        struct store_image *inner;
        int data_fd;
        uint8_t *memory;
        uint64_t size; /* bytes, when it was opened */
        size_t n_sectors;
        uint8_t *dirty; /* a bit a sector */
        TAILQ_ENTRY(volatile_image) entry;
};

/* A sync by the store beneath, on behalf of io. */
struct sync {
        struct store_io inner, *io;
        int error; /* that the test wants */
};

static struct volatile_store *STORE(const struct store *store) {
        return (struct volatile_store *) store;
}

static struct volatile_image *IMAGE(struct store_image *image) {
        return (struct volatile_image *) image;
}

/* --- faults --- */

/* The content of a file in the store's directory: at most two numbers, 0 for what is not there. */
static bool read_injection(const struct volatile_store *store, const char *name, uint64_t ret[static 2]) {
        _cleanup_close_ int fd = -EBADF;
        char text[64] = "", *end = text;

        fd = openat(FILE_STORE(store->inner)->fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
                return false;
        for (unsigned i = 0; i < 2; i++)
                ret[i] = strtoumax(end, &end, 10);
        return true;
}

/* Counts down; true when it is this one's turn. */
static bool fails(const struct volatile_store *store, const char *name) {
        int directory = FILE_STORE(store->inner)->fd;
        _cleanup_close_ int fd = -EBADF;
        uint64_t n[2];

        if (!read_injection(store, name, n))
                return false;
        if (n[0] <= 1) {
                (void) unlinkat(directory, name, 0);
                return true;
        }
        fd = openat(directory, name, O_WRONLY | O_TRUNC | O_CLOEXEC);
        if (fd < 0 || dprintf(fd, "%ju\n", (uintmax_t) n[0] - 1) < 0)
                abort();
        return false;
}

static bool stays_in_hand(const struct store_io *io) {
        uint64_t range[2];

        if (io->kind == STORE_READ || io->kind == STORE_FLUSH ||
                !read_injection(STORE(io->image->store), "hold-writes", range))
                return false;
        return io->offset < range[0] + range[1] && range[0] < io->offset + io->length;
}

/* --- memory and file --- */

static bool is_dirty(const struct volatile_image *image, size_t sector) {
        return image->dirty[sector / 8] & (1U << (sector % 8));
}

static void set_dirty(struct volatile_image *image, size_t from, size_t to, bool dirty) {
        for (size_t s = from; s < to; s++)
                if (dirty)
                        image->dirty[s / 8] |= (uint8_t) (1U << (s % 8));
                else
                        image->dirty[s / 8] &= (uint8_t) ~(1U << (s % 8));
}

static int put_down(struct volatile_image *image, uint64_t offset, uint64_t length) {
        for (uint64_t done = 0; done < length;) {
                ssize_t n =
                        pwrite(image->data_fd, image->memory + offset + done, length - done, (off_t) (offset + done));

                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                done += (uint64_t) n;
        }
        return 0;
}

static uint64_t sector_end(const struct volatile_image *image, size_t sector) {
        uint64_t end = (uint64_t) sector * SECTOR;

        return end < image->size ? end : image->size;
}

static int put_down_dirty(struct volatile_image *image) {
        for (size_t s = 0, to; s < image->n_sectors; s = to) {
                int r;

                to = s + 1;
                if (!is_dirty(image, s))
                        continue;
                while (to < image->n_sectors && is_dirty(image, to))
                        to++;
                r = put_down(image, (uint64_t) s * SECTOR, sector_end(image, to) - (uint64_t) s * SECTOR);
                if (r < 0)
                        return r;
        }
        memset(image->dirty, 0, (image->n_sectors + 7) / 8);
        return 0;
}

/* What is in memory and not in the file is gone. */
static void forget(struct volatile_image *image) {
        if (madvise(image->memory, image->size, MADV_DONTNEED) < 0)
                abort();
        memset(image->dirty, 0, (image->n_sectors + 7) / 8);
}

static void in_good_order(struct volatile_image *image) {
        if (put_down_dirty(image) < 0)
                abort();
        forget(image);
}

/* --- I/O --- */

static void answered(struct ring_op *op, int32_t res, uint32_t flags) {
        struct store_io *io = CONTAINER_OF(op, struct store_io, op);

        io->done(io, io->result);
}

static void answer_later(struct store_io *io, int result) {
        struct io_uring_sqe *sqe = ring_get_sqe(STORE(io->image->store)->how.ring);

        io->result = result;
        io->op.done = answered;
        io_uring_prep_nop(sqe);
        ring_sqe_set_op(sqe, &io->op);
}

static void synced(struct store_io *inner, int error) {
        struct sync *sync = CONTAINER_OF(inner, struct sync, inner);
        struct store_io *io = sync->io;

        if (sync->error < 0) {
                /* The store beneath thinks that the sync has worked; this is how it hears that it has not. */
                sync->inner.done = synced;
                error = sync->error;
                sync->error = 0;
                store_file_sync_ended(&sync->inner, error);
                return;
        }
        free(sync);
        io->done(io, error);
}

static void sync_later(struct store_io *io, int error) {
        struct volatile_image *image = IMAGE(io->image);
        struct sync *sync = calloc(1, sizeof(*sync));

        if (!sync)
                abort();
        *sync = (struct sync){
                .inner = { .image = image->inner, .kind = STORE_FLUSH, .done = synced }, .io = io, .error = error
        };
        STORE(io->image->store)->inner->ops->submit(&sync->inner);
}

static void flush(struct store_io *io) {
        struct volatile_image *image = IMAGE(io->image);

        if (fails(STORE(io->image->store), "fail-flush")) {
                set_dirty(image, 0, image->n_sectors, false);
                sync_later(io, -EIO);
        } else
                sync_later(io, put_down_dirty(image));
}

static void change(struct store_io *io) {
        struct volatile_image *image = IMAGE(io->image);
        size_t from = io->offset / SECTOR, to = (size_t) ((io->offset + io->length + SECTOR - 1) / SECTOR);
        bool lost = io->durable && fails(STORE(io->image->store), "fail-fua");

        if (lost) {
                sync_later(io, -EIO);
                return;
        }
        if (io->kind == STORE_WRITE)
                memcpy(image->memory + io->offset, io->buffer, io->length);
        else
                memset(image->memory + io->offset, 0, io->length);
        if (!io->durable) {
                set_dirty(image, from, to, true);
                answer_later(io, 0);
                return;
        }

        /* A sector that it covers in part keeps what it was. */
        if (io->offset % SECTOR > 0)
                from++;
        if ((io->offset + io->length) % SECTOR > 0 && io->offset + io->length < image->size)
                to--;
        set_dirty(image, from, to, false);
        sync_later(io, put_down(image, io->offset, io->length));
}

static void volatile_submit(struct store_io *io) {
        struct volatile_store *store = STORE(io->image->store);

        if (stays_in_hand(io)) {
                STAILQ_INSERT_TAIL(&store->held, io, entry);
                if (!store->held_timer.armed)
                        ring_timer_set(&store->held_timer, POLL_USEC);
        } else if (io->kind == STORE_FLUSH)
                flush(io);
        else if (io->kind == STORE_READ) {
                memcpy(io->buffer, IMAGE(io->image)->memory + io->offset, io->length);
                answer_later(io, 0);
        } else
                change(io);
}

static void look_at_held(struct ring_timer *timer) {
        struct volatile_store *store = CONTAINER_OF(timer, struct volatile_store, held_timer);
        struct store_io *io;
        uint64_t range[2];

        if (read_injection(store, "hold-writes", range)) {
                ring_timer_set(timer, POLL_USEC);
                return;
        }
        while ((io = STAILQ_FIRST(&store->held))) {
                STAILQ_REMOVE_HEAD(&store->held, entry);
                change(io);
        }
}

/* --- images --- */

static struct store_image *volatile_close_image(struct store_image *i) {
        struct volatile_image *image = IMAGE(i);
        struct volatile_store *store;

        if (!image)
                return NULL;

        store = STORE(i->store);
        in_good_order(image);
        pthread_mutex_lock(&store->mutex);
        TAILQ_REMOVE(&store->images, image, entry);
        pthread_mutex_unlock(&store->mutex);
        store->inner->ops->close_image(image->inner);
        (void) munmap(image->memory, image->size);
        safe_close(image->data_fd);
        free(image->dirty);
        free(image);
        return NULL;
}

static int volatile_open_image(struct store *s, const char *name, struct store_image **ret) {
        struct volatile_store *store = STORE(s);
        struct volatile_image *image;
        struct store_image *inner;
        struct store_size size;
        int r;

        r = store->inner->ops->open_image(store->inner, name, &inner);
        if (r < 0)
                return r;

        image = calloc(1, sizeof(*image));
        if (!image)
                abort();
        image->image = *inner;
        image->image.store = s;
        image->inner = inner;
        store_file_get_size(inner, &size);
        image->size = size.bytes;
        image->n_sectors = (size_t) ((image->size + SECTOR - 1) / SECTOR);
        image->dirty = calloc(1, (image->n_sectors + 7) / 8);
        image->data_fd = openat(FILE_IMAGE(inner)->directory_fd, "data", O_RDWR | O_CLOEXEC);
        image->memory =
                mmap(NULL, image->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, image->data_fd, 0);
        if (!image->dirty || image->data_fd < 0 || image->memory == MAP_FAILED)
                abort();

        pthread_mutex_lock(&store->mutex);
        TAILQ_INSERT_TAIL(&store->images, image, entry);
        pthread_mutex_unlock(&store->mutex);
        *ret = &image->image;
        return 0;
}

/* Its memory has the size that the image had when it was opened. */
static int volatile_resize(
        struct store_image *image, uint64_t size, store_size_check_t check, void *userdata, struct lease *ret_lease) {
        return -EOPNOTSUPP;
}

static void volatile_get_size(struct store_image *image, struct store_size *ret) {
        store_file_get_size(IMAGE(image)->inner, ret);
}

static int volatile_change_lease(
        struct store_image *image, store_lease_change_t change_lease, void *userdata, struct lease *ret_lease) {
        return STORE(image->store)->inner->ops->change_lease(IMAGE(image)->inner, change_lease, userdata, ret_lease);
}

static int volatile_hold(struct store_image *image, const struct store_holder *self, struct store_holder *ret_other) {
        return STORE(image->store)->inner->ops->hold(IMAGE(image)->inner, self, ret_other);
}

static void volatile_let_go(struct store_image *image) {
        in_good_order(IMAGE(image));
        STORE(image->store)->inner->ops->let_go(IMAGE(image)->inner);
}

/* --- the store --- */

static void record_changed(struct store_image *inner, void *userdata) {
        struct volatile_store *store = userdata;
        struct volatile_image *image;

        pthread_mutex_lock(&store->mutex);
        TAILQ_FOREACH(image, &store->images, entry)
                if (image->inner == inner)
                        break;
        pthread_mutex_unlock(&store->mutex);
        if (image)
                store->how.record_changed(&image->image, store->how.userdata);
}

static struct store *volatile_close(struct store *s) {
        struct volatile_store *store = STORE(s);

        if (!store)
                return NULL;

        store->inner->ops->close(store->inner);
        pthread_mutex_destroy(&store->mutex);
        free(store);
        return NULL;
}

static int volatile_open(const struct store_how *how, struct store **ret, char **ret_message) {
        struct store_how inner_how = *how;
        struct volatile_store *store = calloc(1, sizeof(*store));
        sd_id128_t random;
        int r;

        if (!store || sd_id128_randomize(&store->boot_id) < 0 || sd_id128_randomize(&random) < 0)
                abort();
        store->store.ops = &store_volatile_ops;
        store->how = *how;
        store->mount_instance = get_be64(random.bytes);
        pthread_mutex_init(&store->mutex, NULL);
        TAILQ_INIT(&store->images);
        STAILQ_INIT(&store->held);
        ring_timer_init(&store->held_timer, how->ring, look_at_held);

        inner_how.userdata = store;
        if (how->record_changed)
                inner_how.record_changed = record_changed;
        r = store_file_ops.open(&inner_how, &store->inner, ret_message);
        if (r < 0) {
                pthread_mutex_destroy(&store->mutex);
                free(store);
                return r;
        }
        *ret = &store->store;
        return 0;
}

static int volatile_list(struct store *store, const char *after, store_filter_t filter, void *userdata, size_t max,
        struct store_listed **ret, size_t *ret_n, bool *ret_more) {
        struct store *inner = STORE(store)->inner;

        return inner->ops->list(inner, after, filter, userdata, max, ret, ret_n, ret_more);
}

static int volatile_create(
        struct store *store, const char *name, uint64_t size, bool preallocate, sd_id128_t *ret_uuid) {
        struct store *inner = STORE(store)->inner;

        return inner->ops->create(inner, name, size, preallocate, ret_uuid);
}

static int volatile_remove(struct store *store, const char *name, sd_id128_t uuid, bool snapshots_too) {
        struct store *inner = STORE(store)->inner;

        return inner->ops->remove(inner, name, uuid, snapshots_too);
}

static int volatile_meeting_place(const struct store *store) {
        const struct store *inner = STORE(store)->inner;

        return inner->ops->meeting_place(inner);
}

static int volatile_get_key(struct store *store, uint8_t ret[static STORE_KEY_SIZE]) {
        struct store *inner = STORE(store)->inner;

        return inner->ops->get_key(inner, ret);
}

static void volatile_get_identity(const struct store *store, struct store_identity *ret) {
        const struct store *inner = STORE(store)->inner;

        inner->ops->get_identity(inner, ret);
        ret->boot_id = STORE(store)->boot_id;
        ret->mount_instance = STORE(store)->mount_instance;
}

static int volatile_get_capacity(const struct store *store, uint64_t *ret_total, uint64_t *ret_free) {
        const struct store *inner = STORE(store)->inner;

        return inner->ops->get_capacity(inner, ret_total, ret_free);
}

const struct store_ops store_volatile_ops = {
        .type = "volatile",
        .open = volatile_open,
        .close = volatile_close,
        .list = volatile_list,
        .create = volatile_create,
        .remove = volatile_remove,
        .open_image = volatile_open_image,
        .change_lease = volatile_change_lease,
        .resize = volatile_resize,
        .get_size = volatile_get_size,
        .get_key = volatile_get_key,
        .hold = volatile_hold,
        .let_go = volatile_let_go,
        .meeting_place = volatile_meeting_place,
        .close_image = volatile_close_image,
        .submit = volatile_submit,
        .get_identity = volatile_get_identity,
        .get_capacity = volatile_get_capacity,
};

const struct store_ops *const store_types[] = { &store_file_ops, &store_volatile_ops, NULL };
