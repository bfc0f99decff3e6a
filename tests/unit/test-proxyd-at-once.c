/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads and writes that are done on the ring's thread: that they are right on a disk's file system and in memory, whatever the file system can promise, and that
 * nobody's queue keeps another image waiting. */

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "container-of.h"
#include "on-ring.h"
#include "proxyd-store.h"

#define IMAGE_SIZE (4U << 20)
#define N_LARGE    16U

struct rig {
        char *path;
        struct ring *ring;
        struct jobs *jobs;
        struct store *store;
        struct store_image *first, *second;
};

static void rig_up(struct rig *rig, char *path) {
        sd_id128_t uuid;

        rig->path = path;
        rig->ring = ring_with_watchman();
        ASSERT_OK(jobs_new(&rig->jobs, rig->ring, "store", 4));
        rig->store = open_store_on(rig->path, rig->ring, rig->jobs);
        ASSERT_OK(rig->store->ops->create(rig->store, "first", IMAGE_SIZE, false, &uuid));
        ASSERT_OK(rig->store->ops->create(rig->store, "second", IMAGE_SIZE, false, &uuid));
        ASSERT_OK(rig->store->ops->open_image(rig->store, "first", &rig->first));
        ASSERT_OK(rig->store->ops->open_image(rig->store, "second", &rig->second));
}

static void rig_down(struct rig *rig) {
        ring_free(rig->ring);
        jobs_free(rig->jobs);
        rig->store->ops->close_image(rig->first);
        rig->store->ops->close_image(rig->second);
        rig->store->ops->close(rig->store);
        remove_directory(rig->path);
}

struct waited {
        struct store_io io;
        unsigned *order; /* counts who is done */
        unsigned place;  /* in that order, from 1 */
        int error;
};

static void done(struct store_io *io, int error) {
        struct waited *waited = CONTAINER_OF(io, struct waited, io);

        ASSERT_EQ(waited->place, 0U);
        waited->place = ++*waited->order;
        waited->error = error;
}

static void start(struct rig *rig, struct waited *waited, unsigned *order, struct store_io io) {
        *waited = (struct waited){ .io = io, .order = order };
        waited->io.done = done;
        if (!io.image)
                waited->io.image = rig->first;
        rig->store->ops->submit(&waited->io);
        ASSERT_EQ(waited->place, 0U);
}

static int do_io(struct rig *rig, struct store_io io) {
        struct waited waited;
        unsigned order = 0;

        start(rig, &waited, &order, io);
        RUN_UNTIL(rig->ring, waited.place > 0);
        return waited.error;
}

static void fill(uint8_t *data, size_t n, unsigned seed) {
        for (size_t i = 0; i < n; i++)
                data[i] = (uint8_t) (i * seed + i / 251);
}

/* All sizes that a piece's end can cut, and what begins nowhere in particular. */
static void write_and_read(struct rig *rig) {
        static const size_t sizes[] = { 1, 511, 4096, 4097, (128U << 10) - 1, 128U << 10, (128U << 10) + 1, 512U << 10,
                (1U << 20) + 4095, 3U << 20 };
        static uint8_t out[IMAGE_SIZE], in[IMAGE_SIZE];

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                fill(out, sizes[i], (unsigned) i * 2 + 7);
                ASSERT_OK(do_io(rig, (struct store_io){ .kind = STORE_WRITE,
                                             .buffer = out,
                                             .offset = 777,
                                             .length = sizes[i],
                                             .durable = i % 3 == 0 }));
                ASSERT_OK(do_io(rig,
                        (struct store_io){ .kind = STORE_READ, .buffer = in, .offset = 777, .length = sizes[i] }));
                ASSERT_MEMEQ(in, out, sizes[i]);
        }
}

static void on_disk_and_in_memory(void) {
        char *in_memory = make_directory_in_memory();
        struct rig rig;

        rig_up(&rig, make_directory());
        write_and_read(&rig);
        rig_down(&rig);

        if (!in_memory)
                return;
        rig_up(&rig, in_memory);
        ASSERT_TRUE(FILE_IMAGE(rig.first)->in_memory);
        write_and_read(&rig);
        rig_down(&rig);
}

/* What is not in the page cache is read all the same, by the ring. */
static void what_has_to_be_fetched(void) {
        static uint8_t out[IMAGE_SIZE], in[IMAGE_SIZE];
        struct file_image *image;
        struct rig rig;

        rig_up(&rig, make_directory());
        image = FILE_IMAGE(rig.first);
        fill(out, sizeof(out), 11);
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_WRITE, .buffer = out, .length = IMAGE_SIZE }));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }));
        /* All of it, and then all but the beginning. */
        for (off_t from = 0; from <= 64 << 10; from += 64 << 10) {
                ASSERT_EQ(posix_fadvise(image->data_fd, from, 0, POSIX_FADV_DONTNEED), 0);
                memset(in, 0, sizeof(in));
                ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_READ, .buffer = in, .length = IMAGE_SIZE }));
                ASSERT_MEMEQ(in, out, IMAGE_SIZE);
        }
        rig_down(&rig);
}

/* A file system that promises nothing; some kernels' memory files are such. */
static void no_promises(void) {
        struct file_image *image;
        struct rig rig;
        int kept;

        rig_up(&rig, make_directory());
        image = FILE_IMAGE(rig.first);
        kept = image->data_fd;
        image->in_memory = false;
        image->data_fd = memfd_create("no-promises", MFD_CLOEXEC);
        ASSERT_TRUE(image->data_fd >= 0);
        write_and_read(&rig);
        safe_close(image->data_fd);
        image->data_fd = kept;
        rig_down(&rig);
}

/* A limit in the midst of a write is a full disk; and a file that is too short is an error, not silence. */
static void full_and_short(void) {
        static uint8_t data[IMAGE_SIZE];
        const struct rlimit small = { .rlim_cur = IMAGE_SIZE / 2 + 100, .rlim_max = RLIM_INFINITY };
        struct rlimit before;
        struct rig rig;

        (void) signal(SIGXFSZ, SIG_IGN);
        rig_up(&rig, make_directory());
        ASSERT_OK(getrlimit(RLIMIT_FSIZE, &before));
        ASSERT_OK(setrlimit(RLIMIT_FSIZE, &small));
        ASSERT_EQ(
                do_io(&rig, (struct store_io){ .kind = STORE_WRITE, .buffer = data, .length = IMAGE_SIZE }), -ENOSPC);
        ASSERT_OK(setrlimit(RLIMIT_FSIZE, &before));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_WRITE, .buffer = data, .length = IMAGE_SIZE }));

        ASSERT_OK(ftruncate(FILE_IMAGE(rig.first)->data_fd, IMAGE_SIZE / 2 + 100));
        ASSERT_EQ(do_io(&rig, (struct store_io){ .kind = STORE_READ, .buffer = data, .length = IMAGE_SIZE }), -EIO);
        rig_down(&rig);
}

/* A queue of large reads of one image, and then a small one of another: that is served between the pieces of the first of them. */
static void nobody_is_kept_waiting(void) {
        static uint8_t data[IMAGE_SIZE], small[4096];
        struct waited large[N_LARGE], other, late;
        char *path = make_directory_in_memory();
        unsigned order = 0;
        struct rig rig;

        if (!path) {
                fprintf(stderr, "no memory file system here\n");
                return;
        }
        rig_up(&rig, path);
        for (unsigned i = 0; i < N_LARGE; i++)
                start(&rig, large + i, &order,
                        (struct store_io){
                                .kind = i % 2 ? STORE_WRITE : STORE_READ, .buffer = data, .length = IMAGE_SIZE });
        start(&rig, &other, &order,
                (struct store_io){
                        .image = rig.second, .kind = STORE_READ, .buffer = small, .length = sizeof(small) });

        /* One turn is not enough for a single large one; but the small one is done in it. */
        ASSERT_OK(ring_step(rig.ring, false));
        ASSERT_EQ(other.place, 1U);
        ASSERT_EQ(order, 1U);

        /* The same for one that comes when the others have begun. */
        start(&rig, &late, &order,
                (struct store_io){
                        .image = rig.second, .kind = STORE_WRITE, .buffer = small, .length = sizeof(small) });
        RUN_UNTIL(rig.ring, late.place > 0);
        ASSERT_TRUE(late.place <= 3);

        RUN_UNTIL(rig.ring, order == N_LARGE + 2);
        for (unsigned i = 0; i < N_LARGE; i++)
                ASSERT_OK(large[i].error);
        rig_down(&rig);
}

TEST_MAIN(TEST(on_disk_and_in_memory), TEST(what_has_to_be_fetched), TEST(no_promises), TEST(full_and_short),
        TEST(nobody_is_kept_waiting));
