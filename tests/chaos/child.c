/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See child.h. The environment is built before the fork, so that the child does nothing but move descriptors and exec; LISTEN_PID, which only the child
 * knows, is why its entry is written there. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "child.h"

#define ENVIRONMENT_MAX 128U

static int on_notified(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct child *c = userdata;
        char text[4096];
        bool ready = false;
        ssize_t n;

        n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
        if (n <= 0)
                return 0;
        text[n] = 0;

        for (char *saved = NULL, *line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved)) {
                if (strncmp(line, "STATUS=", 7) == 0)
                        (void) snprintf(c->status, sizeof(c->status), "%s", line + 7);
                ready = ready || strcmp(line, "READY=1") == 0;
        }
        if (ready && !c->is_ready) {
                c->is_ready = true;
                if (c->ready)
                        c->ready(c, c->status);
        }
        return 0;
}

static void forget(struct child *c) {
        c->exit_source = sd_event_source_disable_unref(c->exit_source);
        c->notify_source = sd_event_source_disable_unref(c->notify_source);
        c->pidfd = safe_close(c->pidfd);
        c->notify_fd = safe_close(c->notify_fd);
        c->pid = 0;
        c->is_ready = c->is_stopped = false;
}

static int on_ended(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct child *c = userdata;
        siginfo_t info = {};

        if (waitid(P_PIDFD, (id_t) fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                return 0;
        forget(c);
        if (c->ended)
                c->ended(c, info.si_code, info.si_status);
        return 0;
}

static int open_notify_socket(const struct child *c, char path[static sizeof(((struct sockaddr_un *) 0)->sun_path)]) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        int n;

        n = snprintf(path, sizeof(address.sun_path), "%s/%s.notify", c->directory, c->name);
        if (n < 0 || (size_t) n >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, (size_t) n + 1);
        (void) unlink(path);

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

/* Only what may be called between fork and exec. */
static void become(const struct child *c, int log_fd, char *environment[], char *listen_pid) {
        pid_t pid = getpid();
        char digits[12], *d = digits + sizeof(digits);

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == 1)
                _exit(126);
        if (dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
                _exit(126);
        if (c->listen_fd >= 0) {
                if (c->listen_fd != 3 && dup2(c->listen_fd, 3) < 0)
                        _exit(126);
                (void) fcntl(3, F_SETFD, 0);
                *--d = 0;
                for (; pid > 0; pid /= 10)
                        *--d = (char) ('0' + pid % 10);
                memcpy(listen_pid, d, (size_t) (digits + sizeof(digits) - d));
        }
        (void) execve(c->argv[0], (char *const *) c->argv, environment);
        _exit(127);
}

int child_start(struct child *c) {
        char notify[sizeof("NOTIFY_SOCKET=") + sizeof(((struct sockaddr_un *) 0)->sun_path)] = "NOTIFY_SOCKET=",
                                                                              path[4096];
        char listen_pid[] = "LISTEN_PID=          ", listen_fds[] = "LISTEN_FDS=1";
        char *environment[ENVIRONMENT_MAX];
        _cleanup_close_ int log_fd = -EBADF;
        size_t n = 0;
        int r;

        if (c->pid != 0)
                return -EBUSY;
        c->pidfd = c->notify_fd = -EBADF;

        r = snprintf(path, sizeof(path), "%s/%s.log", c->directory, c->name);
        if (r < 0 || (size_t) r >= sizeof(path))
                return -ENAMETOOLONG;
        log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0)
                return -errno;

        r = open_notify_socket(c, notify + strlen("NOTIFY_SOCKET="));
        if (r < 0)
                return r;
        c->notify_fd = r;

        for (char **e = environ; *e && n < ENVIRONMENT_MAX - 16; e++)
                if (strncmp(*e, "BLOCKSTORE_", 11) != 0 && strncmp(*e, "LISTEN_", 7) != 0 &&
                        strncmp(*e, "JOURNAL_STREAM", 14) != 0 && strncmp(*e, "NOTIFY_SOCKET", 13) != 0)
                        environment[n++] = *e;
        for (size_t i = 0; i < ELEMENTSOF(c->environment) && c->environment[i]; i++)
                environment[n++] = (char *) c->environment[i];
        environment[n++] = notify;
        if (c->listen_fd >= 0) {
                environment[n++] = listen_fds;
                environment[n++] = listen_pid;
        }
        environment[n] = NULL;

        c->status[0] = 0;
        c->pid = fork();
        if (c->pid < 0) {
                r = -errno;
                forget(c);
                return r;
        }
        if (c->pid == 0)
                become(c, log_fd, environment, listen_pid + strlen("LISTEN_PID="));

        c->pidfd = (int) syscall(SYS_pidfd_open, c->pid, 0);
        if (c->pidfd < 0)
                r = -errno;
        if (r >= 0)
                r = sd_event_add_io(c->event, &c->exit_source, c->pidfd, EPOLLIN, on_ended, c);
        if (r >= 0)
                r = sd_event_add_io(c->event, &c->notify_source, c->notify_fd, EPOLLIN, on_notified, c);
        if (r < 0) {
                child_done(c);
                return r;
        }
        return 0;
}

int child_signal(struct child *c, int signal) {
        if (c->pid == 0)
                return -ESRCH;
        if (syscall(SYS_pidfd_send_signal, c->pidfd, signal, NULL, 0) < 0)
                return -errno;
        if (signal == SIGSTOP)
                c->is_stopped = true;
        if (signal == SIGCONT)
                c->is_stopped = false;
        return 0;
}

bool child_has_stopped(const struct child *c) {
        char path[64], text[512];
        _cleanup_fclose_ FILE *f = NULL;
        const char *end;

        if (c->pid == 0)
                return false;
        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) c->pid);
        f = fopen(path, "re");
        if (!f || !fgets(text, sizeof(text), f))
                return false;
        end = strrchr(text, ')');
        return end && end[1] == ' ' && end[2] == 'T';
}

void child_done(struct child *c) {
        siginfo_t info;

        if (c->pid == 0)
                return;
        (void) kill(c->pid, SIGKILL);
        while (waitid(P_PID, (id_t) c->pid, &info, WEXITED) < 0 && errno == EINTR)
                ;
        forget(c);
}
