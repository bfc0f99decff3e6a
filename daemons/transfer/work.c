/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The copying is done by other projects' programs, each where it is at home: qemu-img between files and the image, nbdcopy where content is to be a stream. We choose, watch, and flush.
 *
 * An import from a file goes in slices, each a run of qemu-img over a window of file and image, and a flush. What is flushed is in the store whatever dies, so that is where it can be gone on with. (qemu-img itself ignores an
 * error of the flush it does at its end. qemu-io does not, and any connection's flush is for the whole image.) The image is new and reads as zeroes, and so do the file's zeroes where an earlier run was cut short: they are never
 * sent, and holes stay holes.
 *
 * The checksum is of what has arrived: of an import it is read back from the store, of a raw export from the file. For a stream, where that cannot be, it is made of what passes. */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>

#include "work.h"
#include "work-steps.h"

const char *work_step_to_string(enum work_step step) {
        static const char *const names[_WORK_STEP_MAX] = {
                [WORK_COPYING] = "copying",
                [WORK_CHECKSUM] = "checksum",
                [WORK_VERIFYING] = "verifying",
        };

        return (unsigned) step < _WORK_STEP_MAX ? names[step] : NULL;
}

uint64_t work_total(const struct work_wish *wish) {
        unsigned passes = 1;

        if (wish->checksum && !wish->is_stream)
                passes++;
        if (wish->verify)
                passes++;
        return wish->size * passes;
}

int work_fail(struct work *work, enum failure failure, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(work->message, sizeof(work->message), format, ap);
        va_end(ap);
        work->failure = failure;
        return -1;
}

int work_judge(struct work *work, const char *program, int status, const char *complaint) {
        if (status == 0)
                return 0;
        if (status == -ENOENT)
                return work_fail(
                        work, FAILURE_SYSTEM, "%s is not installed: install %s", program, tool_package(program));
        if (status < 0)
                return work_fail(work, FAILURE_SYSTEM, "%s could not be run: %s", program, strerror(-status));
        if (status > 128)
                return work_fail(work, FAILURE_INTERNAL, "%s was ended by signal %d", program, status - 128);
        if (strstr(complaint, "No space left"))
                return work_fail(work, FAILURE_IO, "There is no room left in %s (%s)",
                        work->wish.export ? "the file system of the file" : "the store", complaint);
        return work_fail(work, FAILURE_IO, "%s", *complaint ? complaint : "The converter has failed without a word");
}

void work_advance(double share, void *userdata) {
        const struct work_window *window = userdata;

        atomic_store(&window->work->done, window->from + (uint64_t) (share * (double) window->n));
}

static int import_file(struct work *work) {
        uint64_t size = work_round(work->wish.size);
        int r;

        for (uint64_t offset = work->wish.start; offset < size; offset += WORK_SLICE) {
                uint64_t n = size - offset < WORK_SLICE ? size - offset : WORK_SLICE;

                r = work_copy_slice(work, work->file, offset, offset, n);
                if (r < 0)
                        return r;
                atomic_store(&work->flushed, offset + n);
        }
        return 0;
}

static int copy(struct work *work) {
        const struct work_wish *wish = &work->wish;

        if (wish->is_stream)
                return wish->export ? work_export_stream(work) : work_import_stream(work);
        return wish->export ? work_export_file(work) : import_file(work);
}

static void enter(struct work *work, enum work_step step, uint64_t base) {
        work->base = base;
        atomic_store(&work->done, base);
        atomic_store(&work->step, step);
}

static int check_expected(struct work *work) {
        if (!work->wish.expected[0] || strcmp(work->wish.expected, work->checksum) == 0)
                return 0;
        return work_fail(
                work, FAILURE_IO, "The content has SHA-256 %s, and not %s", work->checksum, work->wish.expected);
}

static int run_steps(struct work *work) {
        const struct work_wish *wish = &work->wish;
        char again[CHECKSUM_SIZE];
        int r;

        enter(work, WORK_COPYING, 0);
        atomic_store(&work->done, wish->start);
        work->bytes = wish->size;
        r = copy(work);

        if (r >= 0 && wish->checksum && !wish->is_stream) {
                enter(work, WORK_CHECKSUM, wish->size);
                r = wish->export && strcmp(wish->format, "raw") == 0 ? work_hash_file(work, work->checksum)
                                                                     : work_hash_image(work, work->checksum);
        }
        if (r >= 0 && (wish->checksum || wish->is_stream))
                r = check_expected(work);

        if (r >= 0 && wish->verify) {
                enter(work, WORK_VERIFYING, work_total(wish) - wish->size);
                if (!wish->is_stream)
                        return work_compare(work);
                r = work_hash_image(work, again);
                if (r >= 0 && strcmp(again, work->checksum) != 0)
                        r = work_fail(work, FAILURE_IO,
                                "The image and the stream differ: SHA-256 %s in the store, %s in the stream", again,
                                work->checksum);
        }
        return r;
}

static void *run(void *userdata) {
        struct work *work = userdata;

        if (run_steps(work) < 0 && work->failure == FAILURE_NONE)
                (void) work_fail(work, FAILURE_INTERNAL, "Out of memory");
        if (work->failure == FAILURE_NONE)
                atomic_store(&work->done, work_total(&work->wish));
        (void) eventfd_write(work->event_fd, 1);
        return NULL;
}

int work_start(struct work *work, const struct work_wish *wish, int file) {
        int r;

        *work = (struct work){ .wish = *wish, .file = file, .flushed = wish->start };
        work->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (work->event_fd < 0)
                return -errno;
        r = -pthread_create(&work->thread, NULL, run, work);
        if (r < 0)
                work->event_fd = safe_close(work->event_fd);
        else
                work->running = true;
        return r;
}

void work_wait(struct work *work) {
        if (!work->running)
                return;
        (void) pthread_join(work->thread, NULL);
        work->running = false;
        work->event_fd = safe_close(work->event_fd);
}
