/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What holding an image rests on, asked of the kernel itself: an OFD lock on the file description that io_uring writes to, or a thread in a system call, is not given up before the last of
 * these writes is over, also when the process was killed in the midst of them. A child locks a file, hands many large writes to its ring, or does them, and is killed. From the
 * moment that the lock can be had, nothing in the file may change any more. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "proxyd-store.h"
#include "ring.h"

#define N_WRITES   32U
#define WRITE_SIZE (2U << 20)
#define FILE_SIZE  ((size_t) N_WRITES * WRITE_SIZE)
#define ROUNDS     4U
#define LOOKS      4U /* at the whole file, one after the other */

static int lock(int fd) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

static void ignore(struct ring_op *op, int32_t res, uint32_t flags) {
}

enum way {
        RING,        /* within the submission, if they do not wait */
        RING_THREAD, /* by a thread of the ring */
        AT_ONCE,     /* by plain system calls */
};

static void write_for_ever(int fd, const uint8_t *data, int ready_fd) {
        if (write(ready_fd, "", 1) != 1)
                _exit(1);
        for (unsigned i = 0;; i++) {
                const struct iovec iov = { .iov_base = (uint8_t *) data, .iov_len = WRITE_SIZE };

                if (pwritev2(fd, &iov, 1, (off_t) (i % N_WRITES) * WRITE_SIZE, 0) != (ssize_t) WRITE_SIZE)
                        _exit(1);
        }
}

/* Never returns. */
static void child(const char *path, int flags, enum way way, uint8_t fill, int ready_fd) {
        struct ring_op op = { .done = ignore };
        struct ring *ring;
        uint8_t *data;
        int fd;

        data = aligned_alloc(4096, WRITE_SIZE);
        if (!data)
                _exit(1);
        memset(data, fill, WRITE_SIZE);

        fd = open(path, O_RDWR | O_CLOEXEC | flags);
        if (fd < 0 || lock(fd) < 0)
                _exit(1);
        if (way == AT_ONCE)
                write_for_ever(fd, data, ready_fd);
        if (ring_new(&ring, 128) < 0)
                _exit(1);
        for (unsigned i = 0; i < N_WRITES; i++) {
                struct io_uring_sqe *sqe = ring_get_sqe(ring);

                io_uring_prep_write(sqe, fd, data, WRITE_SIZE, (uint64_t) i * WRITE_SIZE);
                /* Else a buffered write is over by the time that it has been submitted. */
                if (way == RING_THREAD)
                        sqe->flags |= IOSQE_ASYNC;
                ring_sqe_set_op(sqe, &op);
        }
        if (io_uring_submit(ring_uring(ring)) < 0 || write(ready_fd, "", 1) != 1)
                _exit(1);
        for (;;)
                (void) ring_step(ring, true);
}

static uint64_t digest(int fd) {
        static uint64_t words[1U << 17];
        uint64_t hash = 0;

        for (size_t at = 0; at < FILE_SIZE; at += sizeof(words)) {
                ASSERT_EQ(pread(fd, words, sizeof(words), (off_t) at), (ssize_t) sizeof(words));
                for (size_t i = 0; i < ELEMENTSOF(words); i++)
                        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15U;
        }
        return hash;
}

/* Returns how often the lock could not be had after the kill. */
static unsigned kill_in_the_midst(const char *path, int flags, enum way way, unsigned round) {
        unsigned n_busy = 0;
        uint64_t first;
        int pipe_fds[2], fd, status;
        pid_t pid;
        char byte;

        ASSERT_OK(pipe2(pipe_fds, O_CLOEXEC));
        pid = fork();
        ASSERT_TRUE(pid >= 0);
        if (pid == 0)
                child(path, flags, way, (uint8_t) (round + 1), pipe_fds[1]);
        close(pipe_fds[1]);
        ASSERT_EQ(read(pipe_fds[0], &byte, 1), (ssize_t) 1);
        close(pipe_fds[0]);

        fd = open(path, O_RDWR | O_CLOEXEC);
        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(lock(fd), -EAGAIN);
        ASSERT_OK(kill(pid, SIGKILL));
        while (lock(fd) < 0) {
                ASSERT_TRUE(n_busy++ < 60000);
                (void) poll(NULL, 0, 1);
        }

        first = digest(fd);
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        for (unsigned i = 0; i < LOOKS; i++)
                ASSERT_EQ(digest(fd), first);
        close(fd);
        return n_busy;
}

static void check_in(char *directory, int flags, enum way way, const char *what) {
        _cleanup_free_ char *file = NULL;
        unsigned n_waited = 0;
        int fd;

        ASSERT_TRUE(asprintf(&file, "%s/data", directory) >= 0);
        fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
        if (fd < 0 && errno == EINVAL) {
                fprintf(stderr, "%s: this file system cannot\n", what);
                remove_directory(directory);
                return;
        }
        ASSERT_TRUE(fd >= 0);
        ASSERT_OK(ftruncate(fd, (off_t) FILE_SIZE));
        close(fd);

        for (unsigned i = 0; i < ROUNDS; i++)
                n_waited += kill_in_the_midst(file, flags, way, i) > 0;
        fprintf(stderr, "%s: after %u of %u kills the lock had to be waited for\n", what, n_waited, ROUNDS);
        remove_directory(directory);
}

static void buffered_writes(void) {
        check_in(make_directory(), 0, RING_THREAD, "buffered");
}

static void direct_writes(void) {
        check_in(make_directory(), O_DIRECT, RING, "direct");
}

static void writes_at_once(void) {
        char *in_memory = make_directory_in_memory();

        check_in(make_directory(), 0, AT_ONCE, "at once");
        if (in_memory)
                check_in(in_memory, 0, AT_ONCE, "at once, in memory");
}

TEST_MAIN(TEST(buffered_writes), TEST(direct_writes), TEST(writes_at_once));
