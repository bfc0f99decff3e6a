/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Processes as what they are and not as numbers. A pid may be another process' by the time that it is used. So the process is opened first (a pidfd stays with the process), then
 * its start time is compared with the one that is known, and then the signal goes to what was opened. */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "hand-over-message.h"

static FILE *open_proc(uint64_t pid, const char *what) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%ju/%s", (uintmax_t) pid, what);
        return fopen(path, "re");
}

struct process_stat {
        char state; /* of its first thread, as in proc(5) */
        uint64_t start_time;
};

static int read_stat(uint64_t pid, struct process_stat *ret) {
        _cleanup_fclose_ FILE *file = open_proc(pid, "stat");
        char line[1024], *name_end, *at, *end;
        uint64_t time;

        if (!file)
                return errno == ENOENT ? -ESRCH : -errno;
        if (!fgets(line, sizeof(line), file))
                return -ESRCH;

        /* "PID (NAME) STATE ...": a name may hold anything, so from its end on. The start is field 22. */
        at = name_end = strrchr(line, ')');
        for (unsigned field = 2; at && field < 22; field++)
                at = strchr(at + 1, ' ');
        if (!at)
                return -EBADMSG;
        time = strtoumax(at, &end, 10);
        if (end == at || *end != ' ')
                return -EBADMSG;

        *ret = (struct process_stat){ .state = name_end[2], .start_time = time };
        return 0;
}

/* Not the owner of the directory in /proc, which is root for a process that must not be dumped. */
static int get_uid(uint64_t pid, uid_t *ret) {
        _cleanup_fclose_ FILE *file = open_proc(pid, "status");
        char line[1024], *at, *end;

        if (!file)
                return errno == ENOENT ? -ESRCH : -errno;
        while (fgets(line, sizeof(line), file)) {
                if (strncmp(line, "Uid:", 4) != 0)
                        continue;
                /* The real one, the effective one, ... */
                (void) strtoul(line + 4, &at, 10);
                *ret = (uid_t) strtoul(at, &end, 10);
                return end == at ? -EBADMSG : 0;
        }
        return -ESRCH;
}

int hand_over_look_at_process(uint64_t pid, uint64_t *ret_start_time) {
        struct process_stat stat;
        int r;

        r = read_stat(pid, &stat);
        if (r < 0)
                return r;
        *ret_start_time = stat.start_time;
        return 0;
}

bool hand_over_process_is_busy(uint64_t pid) {
        struct process_stat stat;

        return read_stat(pid, &stat) == 0 && (stat.state == 'R' || stat.state == 'D');
}

int hand_over_kill_process(uint64_t pid, uint64_t start_time, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        struct process_stat found = {};
        uid_t uid = (uid_t) -1;
        int r;

        if (pid == 0 || pid > INT32_MAX)
                return 0;
        if (pid == (uint64_t) getpid())
                return -EDEADLK;

        fd = (int) syscall(SYS_pidfd_open, (pid_t) pid, 0);
        if (fd < 0)
                return errno == ESRCH || errno == EINVAL ? 0 : -errno;
        r = read_stat(pid, &found);
        if (r >= 0 && found.start_time != start_time)
                return 0;
        if (r >= 0)
                r = get_uid(pid, &uid);
        if (r < 0)
                return r == -ESRCH ? 0 : r;
        /* It is none of ours, whoever wrote its name where we found it. */
        if (uid != geteuid())
                return -EPERM;

        if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0)
                return errno == ESRCH ? 0 : -errno;
        *ret_fd = TAKE_FD(fd);
        return 1;
}
