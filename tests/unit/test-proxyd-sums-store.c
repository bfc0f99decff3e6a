/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images with checksums in the file store: through the ring, and through snapshots, clones, roll backs and sizes, with a crash at each of their steps. */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "container-of.h"
#include "on-ring.h"
#include "proxyd-store.h"

#define BLOCK 4096U
#define SIZE  (1024U * 1024U)

struct rig {
        char *path;
        struct ring *ring;
        struct jobs *jobs;
        struct store *store;
        struct store_image *image;
};

static void open_it(struct rig *rig, const char *name) {
        rig->ring = ring_with_watchman();
        ASSERT_OK(jobs_new(&rig->jobs, rig->ring, "store", 4));
        rig->store = open_store_on(rig->path, rig->ring, rig->jobs);
        rig->image = NULL;
        if (name)
                ASSERT_OK(rig->store->ops->open_image(rig->store, name, &rig->image));
}

static void close_it(struct rig *rig) {
        ring_free(rig->ring);
        jobs_free(rig->jobs);
        rig->store->ops->close_image(rig->image);
        rig->store->ops->close(rig->store);
}

static void make_image(struct rig *rig, uint64_t size) {
        struct store *store;
        sd_id128_t uuid;

        rig->path = make_directory();
        store = open_store(rig->path);
        ASSERT_OK(store->ops->create(store, "x", size, false, &uuid));
        ASSERT_OK(store->ops->add_checksums(store, "x"));
        ASSERT_ERROR(store->ops->add_checksums(store, "y"), ENOENT);
        store->ops->close(store);
}

struct waited {
        struct store_io io;
        bool done;
        int error;
};

static void done(struct store_io *io, int error) {
        struct waited *waited = CONTAINER_OF(io, struct waited, io);

        ASSERT_FALSE(waited->done);
        waited->done = true;
        waited->error = error;
}

static void start(struct rig *rig, struct waited *waited) {
        waited->io.image = rig->image;
        waited->io.done = done;
        rig->store->ops->submit(&waited->io);
        ASSERT_FALSE(waited->done);
}

static int do_io(struct rig *rig, struct store_io io) {
        struct waited waited = { .io = io };

        start(rig, &waited);
        RUN_UNTIL(rig->ring, waited.done);
        if (waited.error == -EBADMSG)
                ASSERT_EQ(waited.io.progress % BLOCK, 0U);
        return waited.error;
}

static int write_fill(struct rig *rig, uint64_t offset, uint64_t length, int byte, bool durable) {
        static uint8_t data[SIZE];

        memset(data, byte, length);
        return do_io(rig,
                (struct store_io){
                        .kind = STORE_WRITE, .buffer = data, .offset = offset, .length = length, .durable = durable });
}

/* The byte that the block is full of. */
static int read_fill(struct rig *rig, uint64_t offset) {
        uint8_t data[BLOCK];
        int r;

        r = do_io(rig, (struct store_io){ .kind = STORE_READ, .buffer = data, .offset = offset, .length = BLOCK });
        if (r < 0)
                return r;
        for (size_t i = 1; i < BLOCK; i++)
                ASSERT_EQ(data[i], data[0]);
        return data[0];
}

static void flip_in(struct rig *rig, const char *what, off_t offset) {
        char path[512];
        uint8_t byte;
        int fd;

        ASSERT_TRUE(snprintf(path, sizeof(path), "%s/images/%s", rig->path, what) < (int) sizeof(path));
        fd = open(path, O_RDWR | O_CLOEXEC);
        ASSERT_OK(fd);
        ASSERT_EQ(pread(fd, &byte, 1, offset), 1);
        byte ^= 1;
        ASSERT_EQ(pwrite(fd, &byte, 1, offset), 1);
        close(fd);
}

static void through_the_ring(void) {
        struct rig rig;

        make_image(&rig, SIZE);
        open_it(&rig, "x");
        ASSERT_EQ(read_fill(&rig, 0), 0);
        ASSERT_OK(write_fill(&rig, 0, SIZE, 'a', false));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }));
        ASSERT_EQ(read_fill(&rig, 5 * BLOCK), 'a');

        flip_in(&rig, "x/data", 5 * BLOCK + 9);
        ASSERT_ERROR(read_fill(&rig, 5 * BLOCK), EBADMSG);
        ASSERT_EQ(read_fill(&rig, 6 * BLOCK), 'a');
        ASSERT_ERROR(write_fill(&rig, 5 * BLOCK + 512, 512, 'b', false), EBADMSG);
        close_it(&rig);

        /* Another process, which nobody has told of it. */
        open_it(&rig, "x");
        ASSERT_ERROR(read_fill(&rig, 5 * BLOCK), EBADMSG);
        ASSERT_OK(write_fill(&rig, 5 * BLOCK, BLOCK, 'b', true));
        ASSERT_EQ(read_fill(&rig, 5 * BLOCK), 'b');
        ASSERT_OK(do_io(
                &rig, (struct store_io){
                              .kind = STORE_WRITE_ZEROES, .offset = BLOCK, .length = 3 * BLOCK, .durable = true }));
        ASSERT_EQ(read_fill(&rig, 2 * BLOCK), 0);
        close_it(&rig);

        /* A durable write is sealed as a flush is. */
        open_it(&rig, "x");
        flip_in(&rig, "x/data", 5 * BLOCK);
        ASSERT_ERROR(read_fill(&rig, 5 * BLOCK), EBADMSG);
        close_it(&rig);
        remove_directory(rig.path);
}

/* Many at once, overlapping: no read finds data and sums in between, and each write is there as a whole. */
static void many_at_once(void) {
        enum { N = 200 };
        static struct waited waited[N];
        static uint8_t data[N][4 * BLOCK];
        unsigned n_left = N;
        struct rig rig;

        make_image(&rig, SIZE);
        open_it(&rig, "x");
        memset(waited, 0, sizeof(waited));
        for (unsigned i = 0; i < N; i++) {
                memset(data[i], (int) (1 + i), sizeof(data[i]));
                waited[i].io = (struct store_io){
                        .kind = i % 3 == 1    ? STORE_READ
                                : i % 17 == 0 ? STORE_FLUSH
                                              : STORE_WRITE,
                        .buffer = data[i],
                        .offset = i % 5 * 2 * BLOCK + (i % 2 ? 512 : 0),
                        .length = 3 * BLOCK + 100,
                };
                start(&rig, waited + i);
        }
        RUN_UNTIL(rig.ring, ({
                n_left = 0;
                for (unsigned i = 0; i < N; i++)
                        n_left += !waited[i].done;
                n_left == 0;
        }));
        for (unsigned i = 0; i < N; i++)
                ASSERT_OK(waited[i].error);
        close_it(&rig);
        remove_directory(rig.path);
}

static void snapshots(void) {
        struct rig rig;

        make_image(&rig, SIZE);
        open_it(&rig, "x");
        ASSERT_OK(write_fill(&rig, 0, 100 * BLOCK, 'a', false));
        ASSERT_OK(do_io(&rig, (struct store_io){ .kind = STORE_FLUSH }));
        ASSERT_OK(write_fill(&rig, 50 * BLOCK, BLOCK, 'b', false)); /* dirty, and so it is copied */
        flip_in(&rig, "x/data", 3 * BLOCK);
        ASSERT_OK(run_copy(rig.store, 65536, STORE_COPY_SNAPSHOT, "s", NULL));
        ASSERT_OK(write_fill(&rig, 0, 100 * BLOCK, 'c', false));
        close_it(&rig);

        open_it(&rig, "x@s");
        ASSERT_EQ(read_fill(&rig, 0), 'a');
        ASSERT_EQ(read_fill(&rig, 50 * BLOCK), 'b');
        ASSERT_EQ(read_fill(&rig, 200 * BLOCK), 0);
        ASSERT_ERROR(read_fill(&rig, 3 * BLOCK), EBADMSG); /* what was damaged is not good for having been copied */
        flip_in(&rig, "x/snapshots/s/data", 50 * BLOCK);
        ASSERT_ERROR(read_fill(&rig, 50 * BLOCK), EBADMSG);
        flip_in(&rig, "x/snapshots/s/data", 50 * BLOCK);
        close_it(&rig);

        open_it(&rig, NULL);
        ASSERT_OK(run_copy(rig.store, 65536, STORE_COPY_CLONE, "s", "y"));
        ASSERT_OK(rig.store->ops->rename(rig.store, "y", SD_ID128_NULL, "z"));
        close_it(&rig);
        open_it(&rig, "z");
        ASSERT_EQ(read_fill(&rig, 0), 'a');
        ASSERT_ERROR(read_fill(&rig, 3 * BLOCK), EBADMSG);
        ASSERT_OK(write_fill(&rig, 3 * BLOCK, BLOCK, 'd', true));
        ASSERT_EQ(read_fill(&rig, 3 * BLOCK), 'd');
        flip_in(&rig, "z/data", 0);
        ASSERT_ERROR(read_fill(&rig, 0), EBADMSG);
        close_it(&rig);

        open_it(&rig, NULL);
        ASSERT_OK(run_copy(rig.store, 65536, STORE_COPY_ROLL_BACK, "s", NULL));
        close_it(&rig);
        open_it(&rig, "x");
        ASSERT_EQ(read_fill(&rig, 0), 'a');
        ASSERT_EQ(read_fill(&rig, 50 * BLOCK), 'b');
        ASSERT_ERROR(read_fill(&rig, 3 * BLOCK), EBADMSG);
        flip_in(&rig, "x/data", 99 * BLOCK);
        ASSERT_ERROR(read_fill(&rig, 99 * BLOCK), EBADMSG);
        close_it(&rig);
        remove_directory(rig.path);
}

static int yes(const struct lease *lease, uint64_t old_size, uint64_t new_size, void *userdata) {
        return 0;
}

static int resize(struct rig *rig, uint64_t size) {
        struct lease lease;

        return rig->store->ops->resize(rig->image, size, yes, NULL, &lease);
}

static void sizes(void) {
        struct rig rig;

        make_image(&rig, SIZE);
        open_it(&rig, "x");
        ASSERT_OK(write_fill(&rig, 0, SIZE, 'a', true));
        ASSERT_OK(resize(&rig, SIZE / 2 + 512));
        ASSERT_EQ(read_fill(&rig, SIZE / 2 - BLOCK), 'a');
        ASSERT_OK(resize(&rig, SIZE));
        ASSERT_EQ(read_fill(&rig, SIZE / 2 + BLOCK), 0);
        ASSERT_EQ(read_fill(&rig, SIZE - BLOCK), 0);
        ASSERT_OK(write_fill(&rig, SIZE / 2 + 512, BLOCK - 512, 'a', true));
        ASSERT_EQ(read_fill(&rig, SIZE / 2), 'a');
        ASSERT_OK(resize(&rig, 2 * SIZE));
        ASSERT_EQ(read_fill(&rig, 2 * SIZE - BLOCK), 0);
        flip_in(&rig, "x/data", 2 * SIZE - 1);
        ASSERT_ERROR(read_fill(&rig, 2 * SIZE - BLOCK), EBADMSG);
        close_it(&rig);
        remove_directory(rig.path);
}

/* Returns how many pieces it took. */
static unsigned scrub(struct rig *rig, struct store_scrub_report *ret, int error) {
        struct store_scrub *scrub;
        struct store_care care;
        unsigned n = 0;

        ASSERT_OK(rig->store->ops->scrub_begin(rig->store, "x", SD_ID128_NULL, &scrub));
        ASSERT_OK(rig->store->ops->look_at_care(rig->store, "x", &care));
        ASSERT_EQ(care.scrub.state, STORE_SCRUB_RUNNING);
        for (uint64_t at = 0; at < scrub->size; n++) {
                uint64_t next = 0;

                ASSERT_OK(rig->store->ops->scrub_piece(scrub, at, &next));
                ASSERT_TRUE(next > at);
                at = next;
        }
        rig->store->ops->scrub_end(scrub, error);
        ASSERT_OK(rig->store->ops->look_at_care(rig->store, "x", &care));
        ASSERT_TRUE(care.checksums);
        *ret = care.scrub;
        return n;
}

/* Its process is gone, and has said nothing. */
static void a_scrub_that_was_cut_short_has_failed(void) {
        struct store_scrub *scrub;
        struct store_care care;
        struct rig rig;
        char path[512], text[4096];
        ssize_t n;
        int fd;

        make_image(&rig, SIZE);
        open_it(&rig, NULL);
        ASSERT_OK(rig.store->ops->scrub_begin(rig.store, "x", SD_ID128_NULL, &scrub));
        ASSERT_TRUE(snprintf(path, sizeof(path), "%s/images/x/scrub.json", rig.path) < (int) sizeof(path));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = read(fd, text, sizeof(text));
        ASSERT_TRUE(n > 0);
        close(fd);
        (void) rig.store->ops->scrub_end(scrub, 0);
        ASSERT_OK(rig.store->ops->look_at_care(rig.store, "x", &care));
        ASSERT_EQ(care.scrub.state, STORE_SCRUB_DONE);
        fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        ASSERT_EQ(write(fd, text, (size_t) n), n);
        close(fd);
        ASSERT_OK(rig.store->ops->look_at_care(rig.store, "x", &care));
        ASSERT_EQ(care.scrub.state, STORE_SCRUB_FAILED);
        close_it(&rig);
        remove_directory(rig.path);
}

static void scrubs(void) {
        const uint64_t size = 64 * SIZE + 512;
        struct store_scrub_report report;
        struct store_scrub *none;
        struct store_care care;
        struct rig rig;
        sd_id128_t uuid;

        make_image(&rig, size);
        open_it(&rig, "x");
        ASSERT_OK(rig.store->ops->look_at_care(rig.store, "x", &care));
        ASSERT_EQ(care.scrub.state, STORE_SCRUB_NEVER);
        ASSERT_OK(write_fill(&rig, 20 * SIZE, SIZE, 'a', true));
        ASSERT_OK(write_fill(&rig, size - 512, 512, 'z', true));
        /* Holes are not looked at. */
        ASSERT_TRUE(scrub(&rig, &report, 0) <= 8);
        ASSERT_EQ(report.state, STORE_SCRUB_DONE);
        ASSERT_EQ(report.damaged + report.unknown, 0U);
        ASSERT_EQ(report.done, size);
        ASSERT_TRUE(report.updated_usec >= report.began_usec && report.began_usec > 0);

        flip_in(&rig, "x/data", 20 * SIZE + 7 * BLOCK);
        flip_in(&rig, "x/data", (off_t) size - 1);
        flip_in(&rig, "x/data", 40 * SIZE); /* in a hole */
        (void) scrub(&rig, &report, 0);
        ASSERT_EQ(report.damaged, 3U);
        ASSERT_EQ(report.n_offsets, 3U);
        ASSERT_EQ(report.offsets[0], 20 * SIZE + 7 * BLOCK);
        ASSERT_EQ(report.offsets[1], 40 * SIZE);
        ASSERT_EQ(report.offsets[2], size - 512);
        (void) scrub(&rig, &report, -ECANCELED);
        ASSERT_EQ(report.state, STORE_SCRUB_CANCELLED);

        ASSERT_ERROR(rig.store->ops->scrub_begin(rig.store, "y", SD_ID128_NULL, &none), ENOENT);
        ASSERT_OK(rig.store->ops->create(rig.store, "y", SIZE, false, &uuid));
        ASSERT_ERROR(rig.store->ops->scrub_begin(rig.store, "y", SD_ID128_NULL, &none), EOPNOTSUPP);
        close_it(&rig);
        remove_directory(rig.path);
}

static void limits(void) {
        const struct store_limits set = { .iops = 100, .bandwidth = 5U << 20, .burst_usec = 250000 };
        struct store_limits found;
        struct store_care care;
        struct lease lease;
        struct rig rig;

        make_image(&rig, SIZE);
        open_it(&rig, "x");
        rig.store->ops->get_limits(rig.image, &found);
        ASSERT_EQ(found.iops + found.bandwidth, 0U);
        ASSERT_OK(rig.store->ops->set_limits(rig.store, "x", SD_ID128_NULL, &set));
        ASSERT_ERROR(rig.store->ops->set_limits(rig.store, "nobody", SD_ID128_NULL, &set), ENOENT);
        /* It is known with the next look at the record, and outlives others' changes of it. */
        ASSERT_OK(rig.store->ops->change_lease(rig.image, NULL, NULL, &lease));
        rig.store->ops->get_limits(rig.image, &found);
        ASSERT_EQ(found.iops, set.iops);
        ASSERT_OK(resize(&rig, 2 * SIZE));
        ASSERT_OK(rig.store->ops->look_at_care(rig.store, "x", &care));
        ASSERT_EQ(care.limits.bandwidth, set.bandwidth);
        ASSERT_EQ(care.limits.burst_usec, set.burst_usec);
        ASSERT_TRUE(care.checksums);
        ASSERT_OK(rig.store->ops->set_limits(rig.store, "x", SD_ID128_NULL, &(const struct store_limits){}));
        ASSERT_OK(rig.store->ops->look_at_care(rig.store, "x", &care));
        ASSERT_EQ(care.limits.iops + care.limits.bandwidth, 0U);
        close_it(&rig);
        remove_directory(rig.path);
}

/* --- crashes --- */

static unsigned steps_left;

static void die(const char *step) {
        if (steps_left-- == 0)
                _exit(0);
}

/* Does it in a process that dies at that step. Returns whether it was over before. */
static bool dies_at(unsigned step, struct rig *rig, const char *name, void (*what)(struct rig *rig)) {
        int status;
        pid_t pid;

        pid = fork();
        ASSERT_OK(pid);
        if (pid == 0) {
                open_it(rig, name);
                steps_left = step;
                store_file_step = die;
                what(rig);
                _exit(1);
        }
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        return WEXITSTATUS(status) == 1;
}

static void shrink_oddly(struct rig *rig) {
        ASSERT_OK(resize(rig, SIZE / 2 + 512));
}

static void roll_back(struct rig *rig) {
        ASSERT_OK(run_copy(rig->store, 65536, STORE_COPY_ROLL_BACK, "s", NULL));
}

static uint64_t size_now(struct rig *rig) {
        struct store_size size;

        rig->store->ops->get_size(rig->image, &size);
        return size.bytes;
}

static void crashes_while_shrinking(void) {
        bool over = false;

        for (unsigned step = 0; !over; step++) {
                struct rig rig;

                ASSERT_TRUE(step < 100);
                make_image(&rig, SIZE);
                open_it(&rig, "x");
                ASSERT_OK(write_fill(&rig, 0, SIZE, 'a', true));
                close_it(&rig);
                over = dies_at(step, &rig, "x", shrink_oddly);

                open_it(&rig, "x");
                ASSERT_EQ(read_fill(&rig, SIZE / 2 - BLOCK), 'a');
                if (size_now(&rig) == SIZE)
                        ASSERT_EQ(read_fill(&rig, SIZE - BLOCK), 'a');
                else {
                        uint8_t data[512];

                        ASSERT_OK(do_io(&rig,
                                (struct store_io){
                                        .kind = STORE_READ, .buffer = data, .offset = SIZE / 2, .length = 512 }));
                        ASSERT_EQ(data[0], 'a');
                        ASSERT_OK(resize(&rig, SIZE));
                        ASSERT_EQ(read_fill(&rig, SIZE - BLOCK), 0);
                }
                close_it(&rig);
                remove_directory(rig.path);
        }
}

static void crashes_while_rolling_back(void) {
        bool over = false;

        for (unsigned step = 0; !over; step++) {
                struct rig rig;
                int found;

                ASSERT_TRUE(step < 200);
                make_image(&rig, SIZE);
                open_it(&rig, "x");
                ASSERT_OK(write_fill(&rig, 0, 40 * BLOCK, 'a', true));
                ASSERT_OK(run_copy(rig.store, 65536, STORE_COPY_SNAPSHOT, "s", NULL));
                ASSERT_OK(write_fill(&rig, 0, 80 * BLOCK, 'b', true));
                close_it(&rig);
                over = dies_at(step, &rig, NULL, roll_back);

                /* The data of one and the checksums of the other would be damage. */
                open_it(&rig, "x");
                found = read_fill(&rig, 0);
                ASSERT_TRUE(found == 'a' || (found == 'b' && !over));
                ASSERT_EQ(read_fill(&rig, 79 * BLOCK), found == 'a' ? 0 : 'b');
                flip_in(&rig, "x/data", 10 * BLOCK);
                ASSERT_ERROR(read_fill(&rig, 10 * BLOCK), EBADMSG);
                close_it(&rig);
                remove_directory(rig.path);
        }
}

/* The record says that there are checksums, and there are none: that is no image without checksums. */
static void lost_checksums(void) {
        struct store_image *image;
        char path[512];
        struct rig rig;

        make_image(&rig, SIZE);
        ASSERT_TRUE(snprintf(path, sizeof(path), "%s/images/x/sums", rig.path) < (int) sizeof(path));
        ASSERT_EQ(unlink(path), 0);
        open_it(&rig, NULL);
        ASSERT_ERROR(rig.store->ops->open_image(rig.store, "x", &image), EUCLEAN);
        close_it(&rig);
        remove_directory(rig.path);
}

TEST_MAIN(TEST(through_the_ring), TEST(many_at_once), TEST(snapshots), TEST(sizes), TEST(scrubs),
        TEST(a_scrub_that_was_cut_short_has_failed), TEST(limits), TEST(crashes_while_shrinking),
        TEST(crashes_while_rolling_back), TEST(lost_checksums));
