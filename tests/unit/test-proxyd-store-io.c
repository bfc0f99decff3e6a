/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file store's images as bytes, on a ring, and what a failed sync leaves behind. */

#include <fcntl.h>
#include <sys/mman.h>

#include "container-of.h"
#include "proxyd-store.h"

#define IMAGE_SIZE (1U << 20)

struct rig {
        char *path;
        struct ring *ring;
        struct jobs *jobs;
        struct store *store;
        struct store_image *image;
};

static void rig_up(struct rig *rig) {
        sd_id128_t uuid;

        rig->path = make_directory();
        ASSERT_OK(ring_new(&rig->ring, 64));
        ASSERT_OK(jobs_new(&rig->jobs, rig->ring, "store", 4));
        rig->store = open_store_on(rig->path, rig->ring, rig->jobs);
        ASSERT_OK(rig->store->ops->create(rig->store, "io", IMAGE_SIZE, &uuid));
        ASSERT_OK(rig->store->ops->open_image(rig->store, "io", &rig->image));
}

static void rig_down(struct rig *rig) {
        ring_free(rig->ring);
        jobs_free(rig->jobs);
        rig->store->ops->close_image(rig->image);
        rig->store->ops->close(rig->store);
        remove_directory(rig->path);
}

struct waited {
        struct store_io io;
        bool done;
        int error;
        const char *store_path; /* of a store whose epoch is looked at when it is done */
        uint64_t stored_epoch;
};

static uint64_t stored_epoch(const char *path) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *message = NULL;
        struct store_record record;

        ASSERT_OK(store_record_load(fd, path, &record, &message));
        safe_close(fd);
        return record.error_epoch;
}

static void done(struct store_io *io, int error) {
        struct waited *waited = CONTAINER_OF(io, struct waited, io);

        ASSERT_FALSE(waited->done);
        waited->done = true;
        waited->error = error;
        if (waited->store_path)
                waited->stored_epoch = stored_epoch(waited->store_path);
}

static void start(struct rig *rig, struct waited *waited) {
        waited->io.image = rig->image;
        waited->io.done = done;
        rig->store->ops->submit(&waited->io);
        ASSERT_FALSE(waited->done);
}

static int wait_for(struct rig *rig, struct waited *waited) {
        while (!waited->done)
                ASSERT_OK(ring_step(rig->ring, true));
        return waited->error;
}

static int do_io(struct rig *rig, struct store_io io) {
        struct waited waited = { .io = io };

        start(rig, &waited);
        return wait_for(rig, &waited);
}

static void reads_what_was_written(void) {
        static uint8_t out[IMAGE_SIZE], in[IMAGE_SIZE];
        struct rig rig;

        rig_up(&rig);
        for (size_t i = 0; i < sizeof(out); i++)
                out[i] = (uint8_t) (i * 7 + i / 251);

        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_READ, .buffer = in, .length = IMAGE_SIZE }));
        for (size_t i = 0; i < sizeof(in); i++)
                ASSERT_EQ(in[i], 0);
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_WRITE, .buffer = out, .length = IMAGE_SIZE }));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_READ, .buffer = in, .length = IMAGE_SIZE }));
        ASSERT_MEMEQ(in, out, IMAGE_SIZE);
        ASSERT_OK(do_io(&rig,
                (struct store_io){ .kind = STORE_WRITE, .buffer = out, .offset = 777, .length = 3, .durable = true }));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_READ, .buffer = in, .offset = 776, .length = 5 }));
        ASSERT_EQ(in[0], out[776]);
        ASSERT_MEMEQ(in + 1, out, 3);
        ASSERT_EQ(in[4], out[780]);

        rig_down(&rig);
}

static void zeroes(void) {
        static uint8_t data[IMAGE_SIZE];
        struct rig rig;

        rig_up(&rig);
        for (unsigned i = 0; i < 8; i++) {
                memset(data, 0xee, sizeof(data));
                ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_WRITE, .buffer = data, .length = IMAGE_SIZE }));
                ASSERT_OK(do_io(&rig, (struct store_io){
                                              .kind = i & 4 ? STORE_TRIM : STORE_WRITE_ZEROES,
                                              .offset = 1000,
                                              .length = IMAGE_SIZE - 2000,
                                              .durable = i & 1,
                                              .no_hole = (i & 6) == 2,
                                      }));
                ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_READ, .buffer = data, .length = IMAGE_SIZE }));
                ASSERT_EQ(data[999], 0xee);
                ASSERT_EQ(data[IMAGE_SIZE - 1000], 0xee);
                for (size_t k = 1000; !(i & 4) && k < IMAGE_SIZE - 1000; k++)
                        ASSERT_EQ(data[k], 0);
        }
        rig_down(&rig);
}

/* Where the file system can do neither, zeroes are written in pieces: a file that cannot be punched shows it. */
static void zeroes_in_pieces(void) {
        static uint8_t data[IMAGE_SIZE];
        struct file_image *image;
        struct rig rig;
        int kept;

        rig_up(&rig);
        image = FILE_IMAGE(rig.image);
        memset(data, 0xee, sizeof(data));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_WRITE, .buffer = data, .length = IMAGE_SIZE }));

        /* A memory file cannot do ZERO_RANGE. */
        kept = image->data_fd;
        image->data_fd = memfd_create("pieces", MFD_CLOEXEC);
        ASSERT_TRUE(image->data_fd >= 0);
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_WRITE, .buffer = data, .length = IMAGE_SIZE }));
        ASSERT_OK(do_io(
                &rig, (struct store_io){
                              .kind = STORE_WRITE_ZEROES, .offset = 1, .length = IMAGE_SIZE - 2, .no_hole = true }));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_READ, .buffer = data, .length = IMAGE_SIZE }));
        ASSERT_EQ(data[0], 0xee);
        ASSERT_EQ(data[IMAGE_SIZE - 1], 0xee);
        for (size_t k = 1; k < IMAGE_SIZE - 1; k++)
                ASSERT_EQ(data[k], 0);

        safe_close(image->data_fd);
        image->data_fd = kept;
        rig_down(&rig);
}

static void flushes_are_gathered(void) {
        struct waited waited[32] = {};
        struct rig rig;

        rig_up(&rig);
        for (size_t i = 0; i < ELEMENTSOF(waited); i++) {
                waited[i].io.kind = STORE_FLUSH;
                start(&rig, waited + i);
        }
        for (size_t i = 0; i < ELEMENTSOF(waited); i++)
                ASSERT_EQ(wait_for(&rig, waited + i), 0);
        ASSERT_EQ(stored_epoch(rig.path), 0U);
        rig_down(&rig);
}

/* A pipe cannot be synced: as good as a broken disk. */
static void failed_sync_raises_the_epoch_first(void) {
        struct waited waited[3] = {};
        struct store_identity identity;
        struct file_image *image;
        struct rig rig;
        int kept, fds[2];

        rig_up(&rig);
        image = FILE_IMAGE(rig.image);
        kept = image->data_fd;
        ASSERT_OK(pipe2(fds, O_CLOEXEC));
        image->data_fd = fds[1];

        /* The first starts a sync; the others are gathered for the next. */
        for (size_t i = 0; i < ELEMENTSOF(waited); i++) {
                waited[i].io.kind = STORE_FLUSH;
                waited[i].store_path = rig.path;
                start(&rig, waited + i);
        }
        for (size_t i = 0; i < ELEMENTSOF(waited); i++) {
                ASSERT_EQ(wait_for(&rig, waited + i), -EIO);
                /* The record had it before the answer was given. */
                ASSERT_TRUE(waited[i].stored_epoch >= 1);
        }
        rig.store->ops->get_identity(rig.store, &identity);
        ASSERT_EQ(identity.error_epoch, stored_epoch(rig.path));
        ASSERT_TRUE(identity.error_epoch >= 1 && identity.error_epoch <= 3);

        image->data_fd = kept;
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), 0);
        safe_close(fds[0]);
        safe_close(fds[1]);
        rig_down(&rig);
}

/* While a failure cannot be noted, no flush may be believed. */
static void unrecorded_failure_fails_flushes(void) {
        struct file_image *image;
        struct file_store *store;
        struct rig rig;
        int kept, kept_store, fds[2];

        rig_up(&rig);
        image = FILE_IMAGE(rig.image);
        store = FILE_STORE(rig.store);
        kept = image->data_fd;
        kept_store = store->fd;
        ASSERT_OK(pipe2(fds, O_CLOEXEC));
        image->data_fd = fds[1];
        store->fd = fds[0];
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), -EIO);

        image->data_fd = kept;
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), -EIO);
        store->fd = kept_store;
        /* This one is noted ... */
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), -EIO);
        ASSERT_TRUE(stored_epoch(rig.path) >= 1);
        /* ... and then all is well again. */
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), 0);

        safe_close(fds[0]);
        safe_close(fds[1]);
        rig_down(&rig);
}

TEST_MAIN(TEST(reads_what_was_written), TEST(zeroes), TEST(zeroes_in_pieces), TEST(flushes_are_gathered),
        TEST(failed_sync_raises_the_epoch_first), TEST(unrecorded_failure_fails_flushes));
