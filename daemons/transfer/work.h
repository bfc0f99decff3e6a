/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One import or export, done step by step on a thread of its own. Knows nothing of the bus; who started it looks at progress when it likes and is woken at the end. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"
#include "error-table.h"
#include "pump.h"
#include "qemu-img.h"

#define WORK_SLICE       (256U * 1024U * 1024U) /* bytes of content between two flushes of an import */
#define WORK_MESSAGE_MAX (TOOL_COMPLAINT_MAX + 256U)
#define WORK_SECTOR      512U

enum work_step {
        WORK_COPYING,
        WORK_CHECKSUM,
        WORK_VERIFYING,
        _WORK_STEP_MAX,
};

struct work_wish {
        bool export;    /* else import */
        bool is_stream; /* the file is a pipe or the like: read or written once, from its beginning, raw */
        bool checksum, verify;
        char format[8]; /* "raw", "qcow2": of the file */
        uint64_t size;  /* bytes of content; of a stream that is imported, at most */
        uint64_t start; /* an import goes on here, a multiple of WORK_SLICE: what is before has been flushed */
        char expected[CHECKSUM_SIZE]; /* what the checksum has to be; "" for anything */
        char image[128];              /* the NBD socket of the image */
        char directory[64];           /* for sockets of our own */
};

struct work {
        struct work_wish wish;
        int file; /* borrowed */
        pthread_t thread;
        bool running;
        int event_fd; /* readable when it is over */

        _Atomic enum work_step step;
        _Atomic uint64_t done; /* bytes, of work_total() */
        _Atomic uint64_t
                flushed; /* of an import from a file: bytes from the beginning that are in the store for good */

        /* Once it is over. */
        enum failure failure;
        char message[WORK_MESSAGE_MAX]; /* a sentence without an end, when it has failed */
        char checksum[CHECKSUM_SIZE];   /* SHA-256 of the content, "" when none was wanted */
        uint64_t bytes;                 /* of content */

        uint64_t base; /* done, before the step that is under way */
};

const char *work_step_to_string(enum work_step step);
/* Bytes to be gone through altogether: the content once for each step. */
uint64_t work_total(const struct work_wish *wish);

/* file is borrowed until work_wait(). Returns 0 or a negative errno. */
int work_start(struct work *work, const struct work_wish *wish, int file);
/* Joins the thread: after event_fd has become readable. */
void work_wait(struct work *work);
