/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Netlink requests to NBD wait for locks that the driver holds while it sends to a worker; opening or flushing a device waits for its I/O. If that worker is stopped, so is
 * every such caller, uninterruptibly or not. So the supervisor makes these calls in a child, waits for its pipe in the loop, and kills it at the deadline.
 *
 * fork() without exec() is sound here: the supervisor has one thread, and the work uses nothing but libmnl, plain system calls and its own stack. The child closes
 * what it inherited, lest a stuck child keep a worker's socket open, whose hang-up is what tells the worker that the kernel let go of it.
 *
 * A child that does not die of SIGKILL (uninterruptible sleep) is reported as timed out all the same and stays in the count until it can be reaped; at
 * DEVICE_CHILDREN_MAX of those no more are started, and the error says so. What it was asked for may still be done then, when the kernel gets round to it: whoever has to know can watch for its end. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device-child.h"

struct device_child {
        device_child_done_t done; /* NULL: reported, or nobody cares any more */
        device_child_late_t late;
        void *userdata;
        pid_t pid;
        int pidfd, pipe_fd;
        sd_event_source *exited, *deadline;
        struct device_result result;
};

static unsigned n_children;

unsigned device_child_count(void) {
        return n_children;
}

static void child_destroy(struct device_child *child) {
        sd_event_source_disable_unref(child->exited);
        sd_event_source_disable_unref(child->deadline);
        safe_close(child->pidfd);
        safe_close(child->pipe_fd);
        free(child);
        n_children--;
}

struct device_child *device_child_free(struct device_child *child) {
        if (!child)
                return NULL;

        child->done = NULL;
        child->late = NULL;
        (void) pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
        return NULL;
}

void device_child_watch(struct device_child *child, device_child_late_t late, void *userdata) {
        child->late = late;
        child->userdata = userdata;
}

static void report(struct device_child *child, const struct device_result *result) {
        device_child_done_t done = child->done;

        child->done = NULL;
        if (done)
                done(result, child->userdata);
}

static int on_exit_of_child(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct device_child *child = userdata;
        struct device_result result;
        device_child_late_t late;
        void *owner;
        siginfo_t info = {};
        ssize_t n;

        if (waitid(P_PIDFD, (id_t) child->pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                return 0;

        n = read(child->pipe_fd, &result, sizeof(result));
        if (n != (ssize_t) sizeof(result))
                result = (struct device_result){ .error = -ECHILD };
        result.text[sizeof(result.text) - 1] = 0;

        report(child, &result);
        late = child->late;
        owner = child->userdata;
        child_destroy(child);
        if (late)
                late(owner);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct device_child *child = userdata;
        struct device_result result = { .error = -ETIMEDOUT };

        (void) pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
        report(child, &result);
        return 0;
}

/* Closes all but the standard descriptors and two more. */
static void close_inherited(int a, int b) {
        int low = a < b ? a : b, high = a < b ? b : a;
        unsigned next = STDERR_FILENO + 1;

        if (low >= (int) next) {
                if (low > (int) next)
                        (void) close_range(next, (unsigned) low - 1, 0);
                next = (unsigned) low + 1;
        }
        if (high >= (int) next) {
                if (high > (int) next)
                        (void) close_range(next, (unsigned) high - 1, 0);
                next = (unsigned) high + 1;
        }
        (void) close_range(next, ~0U, 0);
}

static void __attribute__((noreturn)) run_child(device_work_t work, const void *argument, int keep_fd, int pipe_fd) {
        struct device_result result = {};
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) prctl(PR_SET_NAME, "blockstore-dev");
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGTERM, SIG_DFL);
        close_inherited(keep_fd, pipe_fd);

        work(argument, &result);

        (void) !write(pipe_fd, &result, sizeof(result));
        _exit(0);
}

int device_child_start(sd_event *event, device_work_t work, const void *argument, int keep_fd, uint64_t timeout_usec,
        device_child_done_t done, void *userdata, struct device_child **ret) {
        _cleanup_close_ int read_end = -EBADF, write_end = -EBADF;
        struct device_child *child;
        int fds[2], r;

        _Static_assert(sizeof(struct device_result) <= 4096, "a result must be one atomic write to a pipe");

        if (n_children >= DEVICE_CHILDREN_MAX)
                return -EAGAIN;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        read_end = fds[0];
        write_end = fds[1];

        child = calloc(1, sizeof(*child));
        if (!child)
                return -ENOMEM;
        n_children++;
        *child = (struct device_child){ .done = done, .userdata = userdata, .pidfd = -EBADF, .pipe_fd = -EBADF };

        child->pid = fork();
        if (child->pid < 0) {
                r = -errno;
                child_destroy(child);
                return r;
        }
        if (child->pid == 0)
                run_child(work, argument, keep_fd, write_end);

        child->pipe_fd = TAKE_FD(read_end);
        child->pidfd = pidfd_open(child->pid, 0);
        if (child->pidfd < 0)
                r = -errno;
        else {
                /* Plain I/O on the pidfd instead of an sd-event child source: no SIGCHLD is needed for it. */
                r = sd_event_add_io(event, &child->exited, child->pidfd, EPOLLIN, on_exit_of_child, child);
                if (r >= 0)
                        r = sd_event_add_time_relative(
                                event, &child->deadline, CLOCK_MONOTONIC, timeout_usec, 0, on_deadline, child);
        }
        if (r < 0) {
                /* Nothing would ever watch it: the one place where the parent waits, for a child that has just begun. */
                (void) kill(child->pid, SIGKILL);
                (void) waitpid(child->pid, NULL, 0);
                child_destroy(child);
                return r;
        }

        *ret = child;
        return 0;
}
