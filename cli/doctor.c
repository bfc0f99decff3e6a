/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the checks have in common: reporting, asking other programs, asking systemd. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "doctor.h"
#include "output.h"

#define RUN_TIMEOUT_MSEC 10000
#define MESSAGE_MAX      1024U

const char *finding_status_to_string(enum finding_status status) {
        static const char *const names[] = {
                [FINDING_OK] = "ok",
                [FINDING_WARNING] = "warning",
                [FINDING_ERROR] = "error",
                [FINDING_SKIPPED] = "skipped",
        };

        return names[status];
}

static bool is_known(struct json_object *findings, const char *id, const char *subject, const char *message) {
        for (size_t i = 0; i < json_object_array_length(findings); i++) {
                struct json_object *other = json_object_array_get_idx(findings, i);

                if (strcmp(json_string(other, "id"), id) == 0 && strcmp(json_string(other, "subject"), subject) == 0 &&
                        strcmp(json_string(other, "message"), message) == 0)
                        return true;
        }

        return false;
}

static int add_string(struct json_object *object, const char *key, const char *value) {
        struct json_object *string = value ? json_object_new_string(value) : NULL;

        if ((value && !string) || json_object_object_add(object, key, string) < 0) {
                json_object_put(string);
                return -ENOMEM;
        }
        return 0;
}

void found(struct doctor *d, enum finding_status status, const char *subject, const char *command, const char *format,
        ...) {
        _cleanup_(json_object_putp) struct json_object *finding = json_object_new_object();
        char message[MESSAGE_MAX];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof message, format, ap);
        va_end(ap);

        if (is_known(d->findings, d->id, subject ? subject : "", message))
                return;

        if (!finding || add_string(finding, "id", d->id) < 0 || add_string(finding, "what", d->what) < 0 ||
                add_string(finding, "status", finding_status_to_string(status)) < 0 ||
                add_string(finding, "subject", subject) < 0 || add_string(finding, "message", message) < 0 ||
                add_string(finding, "command", command) < 0 || json_object_array_add(d->findings, finding) < 0) {
                d->error = -ENOMEM;
                return;
        }

        finding = NULL; /* the array's now */
        d->counts[status]++;
}

static uint64_t now_msec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* Reads to the end of the output. What does not fit is read and dropped, so that nobody waits for us. Returns 0 or -ETIMEDOUT. */
static int read_output(int fd, char *output) {
        uint64_t deadline = now_msec() + RUN_TIMEOUT_MSEC;
        size_t n = 0;

        for (;;) {
                struct pollfd pollfd = { .fd = fd, .events = POLLIN };
                uint64_t now = now_msec();
                char dropped[1024];
                ssize_t k;

                if (now >= deadline || poll(&pollfd, 1, (int) (deadline - now)) == 0)
                        return -ETIMEDOUT;

                if (output && n + 1 < DOCTOR_OUTPUT_MAX)
                        k = read(fd, output + n, DOCTOR_OUTPUT_MAX - 1 - n);
                else
                        k = read(fd, dropped, sizeof dropped);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return 0;
                if (output && n + 1 < DOCTOR_OUTPUT_MAX) {
                        n += (size_t) k;
                        output[n] = '\0';
                }
        }
}

int doctor_run(const char *const argv[], char output[DOCTOR_OUTPUT_MAX]) {
        _cleanup_close_ int reader = -EBADF, writer = -EBADF;
        posix_spawn_file_actions_t actions;
        int pipe_fds[2], status, r;
        pid_t pid;

        if (output)
                output[0] = '\0';
        if (access(argv[0], X_OK) < 0)
                return -errno;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        reader = pipe_fds[0];
        writer = pipe_fds[1];

        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, writer, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, writer, STDERR_FILENO);
        if (r == 0)
                r = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *) argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (r != 0)
                return -r;

        close(TAKE_FD(writer));
        r = read_output(reader, output);
        if (r < 0)
                (void) kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (r < 0)
                return r;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

int doctor_read_line(const char *path, char *buffer, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read(fd, buffer, size - 1);
        if (n < 0)
                return -errno;

        buffer[n] = '\0';
        buffer[strcspn(buffer, "\n")] = '\0';
        return 0;
}

bool doctor_in_container(void) {
        /* systemd's container interface: set by the manager of the container, for everybody to read. */
        return access("/run/systemd/container", F_OK) == 0;
}

const char *doctor_reinstall(void) {
        return access("/var/lib/dpkg/info/blockstore.list", F_OK) == 0 ? "apt-get install --reinstall blockstore"
                                                                       : "meson install -C build";
}

bool doctor_needs_bus(struct doctor *d) {
        if (d->bus)
                return true;

        found(d, FINDING_SKIPPED, NULL, NULL, "The system bus cannot be reached.");
        return false;
}

bool doctor_needs_systemd(struct doctor *d) {
        if (access("/run/systemd/system", F_OK) < 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "systemd does not run this system.");
                return false;
        }

        return doctor_needs_bus(d);
}

int systemd_unit_path(struct doctor *d, const char *unit, char **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        char *copy;
        int r;

        r = sd_bus_call_method(d->bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager", "LoadUnit", NULL, &reply, "s", unit);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;

        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}
