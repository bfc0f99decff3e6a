/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A store that does not answer keeps a request, and with it a client and an image, and to close such an image waits as well: in librbd for ever, where OSDs have been away. The ring's thread may be what waits, so this
 * one has nothing to do with it. To leave the store behind is safe: it is what a SIGKILL does. Nothing that was in hand has been acknowledged, clients repeat it elsewhere behind a fence, and what was
 * acknowledged is the page cache's or the cluster's. */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "error-table.h"
#include "log.h"
#include "stop-limit.h"

static void *wait_and_end(void *userdata) {
        const uint64_t *usec = userdata;
        struct timespec rest = { .tv_sec = (time_t) (*usec / 1000000U), .tv_nsec = (long) (*usec % 1000000U) * 1000 };

        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest) == EINTR)
                continue;
        log_event(LOG_ERR, NULL,
                "The store has not answered for %" PRIu64 " s: ending without it. Nothing that is acknowledged is "
                "lost; clients repeat the rest at another proxy",
                *usec / 1000000U);
        _exit(FAILURE_IO);
}

int stop_limit_begin(uint64_t usec) {
        static uint64_t limit_usec; /* the thread's; there is one stop of a process */
        pthread_t thread;
        int r;

        limit_usec = usec;
        r = pthread_create(&thread, NULL, wait_and_end, &limit_usec);
        if (r == 0)
                (void) pthread_detach(thread);
        return -r;
}
