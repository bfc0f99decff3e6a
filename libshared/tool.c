/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Standard error goes to a memfd and not to a pipe, so that a program that says much never waits for us and is never waited for. Of it the last line is what matters: tools name the cause last.
 *
 * exec's own failure comes back through a pipe that closes when it succeeds: "not installed" must not look like a failure of the program. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tool.h"

#define STDERR_TAIL 4096U

/* Only what may be called after fork() in a process with threads. */
static _Noreturn void become(const char *const argv[], int in, int out, int errors, int report) {
        static const int standard[] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO };
        int given[] = { in, out, errors }, null, error;
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGPIPE, SIG_DFL);

        /* Above the standard ones first, so that none is overwritten before it is used. */
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        for (size_t i = 0; i < ELEMENTSOF(given); i++)
                given[i] = fcntl(given[i] >= 0 ? given[i] : null, F_DUPFD_CLOEXEC, 3);
        for (size_t i = 0; i < ELEMENTSOF(given); i++)
                if (given[i] < 0 || dup2(given[i], standard[i]) < 0)
                        _exit(127);
        execvp(argv[0], (char *const *) argv);
        error = errno;
        (void) !write(report, &error, sizeof(error));
        _exit(127);
}

int tool_start(struct tool *tool, const char *const argv[], int in, int out) {
        _cleanup_close_ int errors = -EBADF, readable = -EBADF;
        int ends[2], error = 0;
        ssize_t n;
        pid_t pid;

        errors = memfd_create("stderr", MFD_CLOEXEC);
        if (errors < 0 || pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        readable = ends[0];

        pid = fork();
        if (pid == 0) {
                (void) fcntl(ends[1], F_SETFD, FD_CLOEXEC);
                become(argv, in, out, errors, ends[1]);
        }
        safe_close(ends[1]);
        if (pid < 0)
                return -errno;

        do
                n = read(readable, &error, sizeof(error));
        while (n < 0 && errno == EINTR);
        if (n != 0) {
                (void) waitpid(pid, NULL, 0);
                return n == sizeof(error) && error > 0 ? -error : -EIO;
        }

        *tool = (struct tool){ .pid = pid, .errors = TAKE_FD(errors) };
        return 0;
}

/* One line, without what a terminal would act upon. */
static void last_line(int fd, char complaint[static TOOL_COMPLAINT_MAX]) {
        char text[STDERR_TAIL + 1], *line;
        off_t size = lseek(fd, 0, SEEK_END);
        ssize_t n;

        complaint[0] = 0;
        n = size <= 0 ? 0 : pread(fd, text, STDERR_TAIL, size > (off_t) STDERR_TAIL ? size - (off_t) STDERR_TAIL : 0);
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
                n--;
        if (n <= 0)
                return;
        text[n] = 0;
        line = strrchr(text, '\n');
        line = line ? line + 1 : text;
        for (char *c = line; *c; c++)
                if ((unsigned char) *c < ' ')
                        *c = '?';
        (void) snprintf(complaint, TOOL_COMPLAINT_MAX, "%.*s", (int) TOOL_COMPLAINT_MAX - 1, line);
}

int tool_wait(struct tool *tool, char complaint[static TOOL_COMPLAINT_MAX]) {
        int status;

        while (waitpid(tool->pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        tool->pid = 0;
        last_line(tool->errors, complaint);
        tool->errors = safe_close(tool->errors);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void tool_kill(struct tool *tool) {
        if (tool->pid > 0)
                (void) kill(tool->pid, SIGKILL);
}
