/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The short locks, by which the proxies of a store take turns: on the directory of an image for its record, on the directory of images, on the store's own. They are held for as long as
 * it takes to replace a file. But a process can be stopped at any instruction, also between two of these, and then all others would wait for it for ever. So whoever waits for longer
 * than a disk should need looks who has the lock (the kernel tells it, /proc/locks), asks that process whether it is alive, and kills it when it does not answer: it is one of ours, and it would
 * be killed for the next image that somebody wants from it anyway. One that answers has a slow disk and is waited for.
 *
 * flock() and not another kind: it belongs to a descriptor, so that it ends with the one function that opened it, and its owner's pid is told. */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "hand-over.h"
#include "store-file.h"

#define PATIENCE_USEC 30000U    /* without asking anybody */
#define LIMIT_USEC    30000000U /* in all */
#define PAUSE_USEC    1000U

static uint64_t now_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

static void pause_a_little(void) {
        (void) nanosleep(&(const struct timespec){ .tv_nsec = PAUSE_USEC * 1000U }, NULL);
}

/* Who has a lock on the inode. The device is not compared, since some file systems show another one to stat() than the kernel shows here: a process that has the same
 * inode of another file system locked must be a proxy of this store, too, to be mistaken for the one that is looked for. Returns 0 or -ESRCH. */
static int find_owner(int fd, uint64_t *ret_pid) {
        _cleanup_fclose_ FILE *file = NULL;
        char line[256], owner[24], place[64];
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        file = fopen("/proc/locks", "re");
        if (!file)
                return -ESRCH;
        while (fgets(line, sizeof(line), file)) {
                const char *inode;
                uint64_t pid;

                /* "1: FLOCK  ADVISORY  WRITE 4711 fd:00:1234 0 EOF"; those who wait have "->" in the second place. */
                if (sscanf(line, "%*s FLOCK %*s %*s %23s %63s", owner, place) != 2 || !(inode = strrchr(place, ':')))
                        continue;
                pid = strtoumax(owner, NULL, 10);
                if (strtoumax(inode + 1, NULL, 10) == st.st_ino && pid > 0 && pid != (uint64_t) getpid()) {
                        *ret_pid = pid;
                        return 0;
                }
        }
        return -ESRCH;
}

static void tell(struct file_store *store, const char *image, uint64_t pid, const char *what) {
        _cleanup_free_ char *message = NULL;

        if (asprintf(&message, "Process %ju has a lock in the store %s and %s", (uintmax_t) pid, store->path, what) >=
                0)
                store->how.complain(image, message);
}

/* Asks the owner, and ends it when it does not answer. */
static void look_after_owner(struct file_store *store, int fd, const char *image) {
        uint64_t pid = 0, start_time, again = 0;
        _cleanup_close_ int pidfd = -EBADF;

        if (store->proxies_fd < 0 || find_owner(fd, &pid) < 0 || hand_over_look_at_process(pid, &start_time) < 0 ||
                hand_over_ping(store->proxies_fd, pid) != 0)
                return;
        if (find_owner(fd, &again) < 0 || again != pid)
                return;
        if (hand_over_kill_process(pid, start_time, &pidfd) > 0)
                tell(store, image, pid, "does not answer: it is killed, so that the others can go on");
}

int store_file_lock(struct file_store *store, int fd, int operation, const char *image) {
        uint64_t began = 0, pid = 0;

        while (flock(fd, operation | LOCK_NB) < 0) {
                uint64_t now = now_usec();

                if (errno == EINTR)
                        continue;
                if (errno != EWOULDBLOCK)
                        return -errno;
                if (began == 0)
                        began = now;
                if (now - began >= LIMIT_USEC) {
                        if (find_owner(fd, &pid) >= 0)
                                tell(store, image, pid, "does not let go of it: end it");
                        return -ETIMEDOUT;
                }
                if (now - began >= PATIENCE_USEC)
                        look_after_owner(store, fd, image);
                pause_a_little();
        }
        return 0;
}
