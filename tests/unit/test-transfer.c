/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Imports and exports without bus and units: an image is a file that a file server of ours serves, for to the programs that is the same. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "file-server.h"
#include "pump.h"
#include "scratch.h"
#include "test.h"
#include "qemu-img.h"
#include "work.h"

#define IMAGE_SIZE (3U * 1024U * 1024U)

static int make_file(const char *name, const void *data, size_t n, uint64_t size) {
        int fd = open(scratch_path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        ASSERT_OK(fd);
        ASSERT_EQ(pwrite(fd, data, n, 0), (ssize_t) n);
        ASSERT_EQ(ftruncate(fd, (off_t) size), 0);
        return fd;
}

static void progress(void) {
        ASSERT_TRUE(qemu_img_parse_progress("    (0.00/100%)\r    (12.50/100%)\r") == 0.125);
        ASSERT_TRUE(qemu_img_parse_progress("(100.00/100%)\r\n") == 1);
        ASSERT_TRUE(qemu_img_parse_progress("(12.5") < 0);
        ASSERT_TRUE(qemu_img_parse_progress("(x/100%)") < 0);
        ASSERT_TRUE(qemu_img_parse_progress("(170/100%)") < 0);
        ASSERT_TRUE(qemu_img_parse_progress("") < 0);
}

static void tools(void) {
        static const char *const missing[] = { "there-is-no-such-program", NULL };
        static const char *const fails[] = { "sh", "-c", "echo first >&2; echo 'the \033cause' >&2; exit 3", NULL };
        char complaint[TOOL_COMPLAINT_MAX];
        struct tool tool;

        ASSERT_ERROR(tool_start(&tool, missing, -EBADF, -EBADF), ENOENT);
        ASSERT_OK(tool_start(&tool, fails, -EBADF, -EBADF));
        ASSERT_EQ(tool_wait(&tool, complaint), 3);
        ASSERT_STREQ(complaint, "the ?cause");
}

static void pumps(void) {
        /* From FIPS 180-2. */
        static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        char checksum[CHECKSUM_SIZE] = "", text[8] = "";
        _Atomic uint64_t done = 0;
        struct pump *pump;
        int in, out;

        scratch_make();
        in = make_file("in", "abcdef", 6, 6);
        out = make_file("out", "", 0, 0);
        ASSERT_OK(pump_new(&done, &pump));
        ASSERT_EQ(pump_run(pump, in, out, 2), 0);
        ASSERT_EQ(pump_run(pump, in, out, 1), 0);
        ASSERT_EQ(pump_bytes(pump), 3U);
        ASSERT_OK(pump_finish(pump, checksum));
        ASSERT_STREQ(checksum, abc);
        ASSERT_EQ(done, 3U);
        ASSERT_EQ(pread(out, text, sizeof(text), 0), 3);
        ASSERT_STREQ(text, "abc");
        pump_free(pump);

        ASSERT_OK(pump_new(&done, &pump));
        ASSERT_EQ(pump_run(pump, in, -EBADF, 100), 1);
        ASSERT_EQ(pump_bytes(pump), 3U);
        ASSERT_ERROR(pump_run(pump, -EBADF, out, 1), EBADF);
        pump_free(pump);
        close(in);
        close(out);
        scratch_remove();
}

struct rig {
        struct file_server *image;
        int store;
};

static struct work_wish begin(struct rig *rig, bool writable) {
        struct work_wish wish = { .checksum = true, .verify = true, .format = "raw", .size = IMAGE_SIZE };

        (void) snprintf(wish.image, sizeof(wish.image), "%.64s/nbd", scratch);
        (void) snprintf(wish.directory, sizeof(wish.directory), "%s", scratch);
        ASSERT_OK(file_server_new(rig->store, IMAGE_SIZE, writable, wish.image, &rig->image));
        return wish;
}

static void run(struct rig *rig, struct work *work, const struct work_wish *wish, int file) {
        struct pollfd wait = { .events = POLLIN };

        ASSERT_OK(work_start(work, wish, file));
        wait.fd = work->event_fd;
        ASSERT_EQ(poll(&wait, 1, 50000), 1);
        work_wait(work);
        rig->image = file_server_free(rig->image);
}

static void ok(struct rig *rig, const struct work_wish *wish, int file, const char *checksum) {
        struct work work;

        run(rig, &work, wish, file);
        ASSERT_STREQ(work.message, "");
        ASSERT_EQ(work.failure, FAILURE_NONE);
        ASSERT_EQ(work.done, work_total(wish));
        ASSERT_STREQ(work.checksum, checksum);
}

static bool have(const char *program) {
        _cleanup_free_ char *list = strdup(getenv("PATH") ?: "/usr/bin:/bin");
        char path[512], *rest = list, *directory;
        bool found = false;

        ASSERT_TRUE(list != NULL);
        while (!found && (directory = strsep(&rest, ":"))) {
                (void) snprintf(path, sizeof(path), "%s/%s", directory, program);
                found = access(path, X_OK) == 0;
        }
        return found;
}

static void same(int a, int b, size_t n) {
        uint8_t *x = malloc(n), *y = malloc(n);

        ASSERT_TRUE(x != NULL && y != NULL);
        ASSERT_EQ(pread(a, x, n, 0), (ssize_t) n);
        ASSERT_EQ(pread(b, y, n, 0), (ssize_t) n);
        ASSERT_MEMEQ(x, y, n);
        free(x);
        free(y);
}

/* raw in, qcow2 out, qcow2 in, raw out: what comes out is what went in. */
static void round_trip(void) {
        static const char data[] = "some bytes at the beginning, and nothing behind them but zeroes";
        char sum[CHECKSUM_SIZE];
        _Atomic uint64_t done = 0;
        struct work_wish wish;
        struct pump *pump;
        struct rig rig;
        struct stat st;
        int raw, qcow2, back;

        scratch_make();
        raw = make_file("raw", data, sizeof(data), IMAGE_SIZE);
        ASSERT_OK(pump_new(&done, &pump));
        ASSERT_OK(pump_run(pump, raw, -EBADF, IMAGE_SIZE));
        ASSERT_OK(pump_finish(pump, sum));
        pump_free(pump);

        rig.store = make_file("store", "", 0, IMAGE_SIZE);
        wish = begin(&rig, true);
        (void) snprintf(wish.expected, sizeof(wish.expected), "%s", sum);
        ok(&rig, &wish, raw, sum);
        same(raw, rig.store, IMAGE_SIZE);
        ASSERT_EQ(fstat(rig.store, &st), 0);
        ASSERT_TRUE(st.st_blocks * 512 < IMAGE_SIZE / 2);

        qcow2 = make_file("qcow2", "", 0, 0);
        wish = begin(&rig, false);
        wish.export = true;
        (void) strcpy(wish.format, "qcow2");
        ok(&rig, &wish, qcow2, sum);
        ASSERT_EQ(fstat(qcow2, &st), 0);
        ASSERT_TRUE(st.st_size < IMAGE_SIZE / 2);
        close(rig.store);

        rig.store = make_file("store2", "", 0, IMAGE_SIZE);
        wish = begin(&rig, true);
        (void) strcpy(wish.format, "qcow2");
        ok(&rig, &wish, qcow2, sum);

        back = make_file("back", "what was there before", 21, 21);
        wish = begin(&rig, false);
        wish.export = true;
        ok(&rig, &wish, back, sum);
        same(raw, back, IMAGE_SIZE);
        ASSERT_EQ(fstat(back, &st), 0);
        ASSERT_TRUE(st.st_blocks * 512 < IMAGE_SIZE / 2);

        close(rig.store);
        close(raw);
        close(qcow2);
        close(back);
        scratch_remove();
}

static void failures(void) {
        struct work_wish wish;
        struct work work;
        struct rig rig;
        int file;

        scratch_make();
        file = make_file("content", "x", 1, IMAGE_SIZE);
        rig.store = make_file("store", "", 0, IMAGE_SIZE);

        wish = begin(&rig, true);
        memset(wish.expected, 'a', 64);
        run(&rig, &work, &wish, file);
        ASSERT_EQ(work.failure, FAILURE_IO);
        ASSERT_TRUE(strstr(work.message, "and not aaaa") != NULL);

        /* An image that is not written. */
        wish = begin(&rig, false);
        run(&rig, &work, &wish, file);
        ASSERT_TRUE(work.message[0] != 0);
        ASSERT_EQ(work.failure, FAILURE_IO);

        /* No qcow2. */
        wish = begin(&rig, true);
        (void) strcpy(wish.format, "qcow2");
        run(&rig, &work, &wish, file);
        ASSERT_EQ(work.failure, FAILURE_IO);
        ASSERT_TRUE(strstr(work.message, "qcow2") != NULL);

        /* Nobody serves the image. */
        wish.image[0] = '/';
        (void) strcpy(wish.format, "raw");
        ASSERT_OK(work_start(&work, &wish, file));
        work_wait(&work);
        ASSERT_EQ(work.failure, FAILURE_IO);
        close(rig.store);
        close(file);
        scratch_remove();
}

static void streams(void) {
        struct work_wish wish;
        struct work work;
        struct rig rig;
        struct stat st;
        int ends[2], again[2];
        char data[5000], back[5000];

        scratch_make();
        memset(data, 'd', sizeof(data));
        rig.store = make_file("store", "", 0, IMAGE_SIZE);

        /* Less than announced. */
        wish = begin(&rig, true);
        wish.is_stream = true;
        ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
        ASSERT_EQ(write(ends[1], data, sizeof(data)), (ssize_t) sizeof(data));
        close(ends[1]);
        run(&rig, &work, &wish, ends[0]);
        close(ends[0]);
        ASSERT_STREQ(work.message, "");
        ASSERT_EQ(work.bytes, sizeof(data));
        ASSERT_EQ(fstat(rig.store, &st), 0);
        ASSERT_TRUE(st.st_blocks * 512 < IMAGE_SIZE / 2);

        /* More. */
        wish = begin(&rig, true);
        wish.is_stream = true;
        wish.size = 1000;
        ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
        ASSERT_EQ(write(ends[1], data, sizeof(data)), (ssize_t) sizeof(data));
        close(ends[1]);
        run(&rig, &work, &wish, ends[0]);
        close(ends[0]);
        ASSERT_EQ(work.failure, FAILURE_USAGE);

        /* Out, to one who reads and to one who does not. */
        wish = begin(&rig, false);
        wish.export = wish.is_stream = true;
        wish.size = sizeof(back);
        wish.verify = false;
        ASSERT_EQ(pipe2(again, O_CLOEXEC), 0);
        run(&rig, &work, &wish, again[1]);
        ASSERT_STREQ(work.message, "");
        ASSERT_EQ(read(again[0], back, sizeof(back)), (ssize_t) sizeof(back));
        ASSERT_MEMEQ(data, back, 1000);
        close(again[0]);
        wish = begin(&rig, false);
        wish.export = wish.is_stream = true;
        run(&rig, &work, &wish, again[1]);
        ASSERT_EQ(work.failure, FAILURE_IO);
        ASSERT_TRUE(strstr(work.message, "has gone") != NULL);
        close(again[1]);
        close(rig.store);
        scratch_remove();
}

int main(void) {
        static const struct test alone[] = { TEST(progress), TEST(tools), TEST(pumps) };
        static const struct test with_programs[] = { TEST(round_trip), TEST(failures), TEST(streams) };
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        r = test_run_all(alone, ELEMENTSOF(alone));
        if (!have("qemu-img") || !have("qemu-io") || !have("nbdcopy")) {
                printf("skipped: there is no qemu-img or nbdcopy\n");
                return 77;
        }
        return r == EXIT_SUCCESS ? test_run_all(with_programs, ELEMENTSOF(with_programs)) : r;
}
