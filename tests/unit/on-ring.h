/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A ring with a watchman: whatever a test waits for has a deadline, far above what it takes, so that a defect is a failure and not a hang. */

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>

#include "ring.h"
#include "test.h"

#define PATIENCE_USEC (20U * 1000U * 1000U)

static inline void patience_is_over(struct ring_timer *timer) {
        TEST_FAIL("what was waited for did not come within %u s", PATIENCE_USEC / 1000000U);
}

static inline struct ring *ring_with_watchman(void) {
        static struct ring_timer watchman;
        struct ring *ring;

        ASSERT_OK(ring_new(&ring, 64));
        ring_timer_init(&watchman, ring, patience_is_over);
        ring_timer_set(&watchman, PATIENCE_USEC);
        return ring;
}

/* Never waits in a step: deferred work at its beginning may be what brings the condition about. */
static inline void step_and_wait_a_little(struct ring *ring) {
        struct pollfd pfd = { .fd = ring_uring(ring)->ring_fd, .events = POLLIN };

        ASSERT_OK(ring_step(ring, false));
        (void) poll(&pfd, 1, 1);
}

#define RUN_UNTIL(ring, condition)                    \
        do {                                          \
                ASSERT_OK(ring_step(ring, false));    \
                while (!(condition))                  \
                        step_and_wait_a_little(ring); \
        } while (0)

/* Lets everything happen that needs no time: on socket pairs and pipes, what was written is there at once. */
static inline void run_what_is_due(struct ring *ring) {
        for (unsigned i = 0; i < 16; i++)
                ASSERT_OK(ring_step(ring, false));
}

/* A peer made of plain calls, in the same thread as the ring: between them, whatever it waits for is given its turns. */
static inline void send_on_ring(struct ring *ring, int fd, const void *data, size_t n) {
        const uint8_t *p = data;

        while (n > 0) {
                ssize_t r = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (r < 0) {
                        ASSERT_EQ(errno, EAGAIN);
                        step_and_wait_a_little(ring);
                        continue;
                }
                p += r;
                n -= (size_t) r;
        }
}

static inline void receive_on_ring(struct ring *ring, int fd, void *ret, size_t n) {
        uint8_t *p = ret;

        while (n > 0) {
                ssize_t r = recv(fd, p, n, MSG_DONTWAIT);

                ASSERT_TRUE(r != 0);
                if (r < 0) {
                        ASSERT_EQ(errno, EAGAIN);
                        step_and_wait_a_little(ring);
                        continue;
                }
                p += r;
                n -= (size_t) r;
        }
}

static inline unsigned count_descriptors(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        ASSERT_TRUE(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}
