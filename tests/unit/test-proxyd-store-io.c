/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file store's images as bytes, on a ring, and what a failed sync leaves behind. */

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

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
        ASSERT_OK(rig->store->ops->create(rig->store, "io", IMAGE_SIZE, false, &uuid));
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
struct broken {
        int *fd, kept, fds[2];
};

static void break_sync(struct broken *broken, struct file_sync *sync) {
        broken->fd = &sync->fd;
        broken->kept = sync->fd;
        ASSERT_OK(pipe2(broken->fds, O_CLOEXEC));
        sync->fd = broken->fds[1];
}

static void mend_sync(struct broken *broken) {
        *broken->fd = broken->kept;
        safe_close(broken->fds[0]);
        safe_close(broken->fds[1]);
}

static uint64_t known_epoch(struct rig *rig) {
        struct store_identity identity;

        rig->store->ops->get_identity(rig->store, &identity);
        return identity.error_epoch;
}

static void failed_sync_raises_the_epoch_first(void) {
        struct waited waited[3] = {};
        struct broken broken;
        struct rig rig;

        rig_up(&rig);
        break_sync(&broken, &FILE_IMAGE(rig.image)->flushes);

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
        ASSERT_EQ(known_epoch(&rig), stored_epoch(rig.path));
        ASSERT_TRUE(known_epoch(&rig) >= 1 && known_epoch(&rig) <= 3);

        mend_sync(&broken);
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), 0);
        rig_down(&rig);
}

static void failed_sync_of_a_durable_write(void) {
        static uint8_t data[4096];
        struct waited waited[2] = {};
        struct broken broken;
        struct rig rig;

        rig_up(&rig);
        break_sync(&broken, &FILE_IMAGE(rig.image)->durable_writes);
        for (size_t i = 0; i < ELEMENTSOF(waited); i++) {
                waited[i].io = (struct store_io){ .kind = i ? STORE_WRITE_ZEROES : STORE_WRITE,
                        .buffer = data,
                        .length = sizeof(data),
                        .durable = true };
                waited[i].store_path = rig.path;
                start(&rig, waited + i);
                ASSERT_EQ(wait_for(&rig, waited + i), -EIO);
                ASSERT_EQ(waited[i].stored_epoch, i + 1);
        }

        /* Flushes have a description of their own, and find for themselves what is the matter. */
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), 0);
        mend_sync(&broken);
        ASSERT_EQ(do_io(&rig, waited[0].io), 0);
        ASSERT_EQ(stored_epoch(rig.path), 2U);
        rig_down(&rig);
}

/* Under the old epoch its answer would cover what the other has lost. */
static void success_beside_a_failure_is_answered_behind_it(void) {
        struct waited fails = { .io.kind = STORE_FLUSH }, works = { .io.kind = STORE_FLUSH };
        struct broken broken;
        struct rig rig;
        int lock_fd;

        rig_up(&rig);
        break_sync(&broken, &FILE_IMAGE(rig.image)->flushes);
        fails.store_path = works.store_path = rig.path;
        /* The failure is being noted for as long as somebody else has the record. */
        lock_fd = open(rig.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(flock(lock_fd, LOCK_EX));
        start(&rig, &fails);
        while (!FILE_STORE(rig.store)->raising)
                ASSERT_OK(ring_step(rig.ring, true));
        mend_sync(&broken);
        works.io.image = rig.image;
        works.io.done = done;
        store_file_sync_ended(&works.io, 0);
        ASSERT_FALSE(fails.done);
        ASSERT_FALSE(works.done);
        safe_close(lock_fd);
        ASSERT_EQ(wait_for(&rig, &works), 0);
        ASSERT_EQ(works.stored_epoch, 1U);
        ASSERT_TRUE(fails.done);
        ASSERT_EQ(fails.error, -EIO);
        rig_down(&rig);
}

/* While a failure cannot be noted, no flush may be believed. */
static void unrecorded_failure_fails_flushes(void) {
        struct file_store *store;
        struct broken broken;
        struct rig rig;
        int kept_store;

        rig_up(&rig);
        store = FILE_STORE(rig.store);
        kept_store = store->fd;
        break_sync(&broken, &FILE_IMAGE(rig.image)->flushes);
        store->fd = broken.fds[0];
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), -EIO);
        ASSERT_EQ(known_epoch(&rig), 1U);

        mend_sync(&broken);
        store->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), -EIO);
        safe_close(store->fd);
        store->fd = kept_store;
        /* This one is noted, beyond all that was told ... */
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), -EIO);
        ASSERT_EQ(stored_epoch(rig.path), 3U);
        /* ... and then all is well again. */
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }), 0);
        ASSERT_EQ(known_epoch(&rig), 3U);
        rig_down(&rig);
}

/* Two proxies on one store. */
static void epoch_of_another_proxy(void) {
        struct broken broken;
        struct rig rig, other;

        rig_up(&rig);
        other = rig;
        other.store = open_store_on(rig.path, rig.ring, rig.jobs);
        ASSERT_OK(other.store->ops->open_image(other.store, "io", &other.image));

        break_sync(&broken, &FILE_IMAGE(other.image)->flushes);
        ASSERT_EQ(do_io(&other, (struct store_io){ .kind = STORE_FLUSH }), -EIO);
        ASSERT_EQ(known_epoch(&other), 1U);
        ASSERT_EQ(known_epoch(&rig), 0U);
        ASSERT_OK(store_file_check(FILE_STORE(rig.store)));
        ASSERT_EQ(known_epoch(&rig), 1U);
        /* Never back, whatever is read. */
        atomic_store(&FILE_STORE(rig.store)->error_epoch, 7);
        ASSERT_OK(store_file_check(FILE_STORE(rig.store)));
        ASSERT_EQ(known_epoch(&rig), 7U);

        mend_sync(&broken);
        other.store->ops->close_image(other.image);
        other.store->ops->close(other.store);
        rig_down(&rig);
}

/* Two syncs on one description would take each other's errors. */
static void descriptions_are_apart(void) {
        struct file_image *image;
        struct stat st[3];
        struct rig rig;

        rig_up(&rig);
        image = FILE_IMAGE(rig.image);
        ASSERT_OK(fstat(image->data_fd, st));
        ASSERT_OK(fstat(image->flushes.fd, st + 1));
        ASSERT_OK(fstat(image->durable_writes.fd, st + 2));
        ASSERT_TRUE(st[0].st_ino == st[1].st_ino && st[0].st_ino == st[2].st_ino);
        /* The offset is the description's. */
        ASSERT_EQ(lseek(image->data_fd, 7, SEEK_SET), 7);
        ASSERT_EQ(lseek(image->flushes.fd, 8, SEEK_SET), 8);
        ASSERT_EQ(lseek(image->durable_writes.fd, 0, SEEK_CUR), 0);
        ASSERT_EQ(lseek(image->data_fd, 0, SEEK_CUR), 7);
        rig_down(&rig);
}

static void identity_outlives_the_proxy(void) {
        struct store_identity first, second;
        struct rig rig;

        rig_up(&rig);
        rig.store->ops->get_identity(rig.store, &first);
        rig.store->ops->close_image(rig.image);
        rig.store->ops->close(rig.store);
        rig.store = open_store_on(rig.path, rig.ring, rig.jobs);
        ASSERT_OK(rig.store->ops->open_image(rig.store, "io", &rig.image));
        rig.store->ops->get_identity(rig.store, &second);
        ASSERT_EQ(first.mount_instance, second.mount_instance);
        ASSERT_EQ(first.error_epoch, second.error_epoch);
        ASSERT_TRUE(sd_id128_equal(first.uuid, second.uuid));
        ASSERT_TRUE(sd_id128_equal(first.boot_id, second.boot_id) && !sd_id128_is_null(first.boot_id));
        rig_down(&rig);
}

TEST_MAIN(TEST(reads_what_was_written), TEST(zeroes), TEST(zeroes_in_pieces), TEST(flushes_are_gathered),
        TEST(failed_sync_raises_the_epoch_first), TEST(failed_sync_of_a_durable_write),
        TEST(success_beside_a_failure_is_answered_behind_it), TEST(unrecorded_failure_fails_flushes),
        TEST(epoch_of_another_proxy), TEST(descriptions_are_apart), TEST(identity_outlives_the_proxy));
