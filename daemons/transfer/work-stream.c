/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Steps with a stream of content. Out of the image it is nbdcopy's. Into the image nbdcopy would write every zero of it; so it is gathered in memory, a slice at a time, and each slice goes the way of a file. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "work-steps.h"

#define URI_MAX      192U
#define STREAM_SLICE (64U * 1024U * 1024U)

/* What nbdcopy reads from the image, to out or nowhere. */
static int read_image(struct work *work, struct pump *pump, int out, uint64_t size) {
        char uri[URI_MAX], complaint[TOOL_COMPLAINT_MAX] = "";
        const char *argv[] = { "nbdcopy", "--", uri, "-", NULL };
        struct tool tool;
        int ends[2], r, end;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return work_fail(work, FAILURE_SYSTEM, "There are no more descriptors: %s", strerror(errno));
        (void) snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", work->wish.image);
        r = tool_start(&tool, argv, -EBADF, ends[1]);
        safe_close(ends[1]);
        if (r < 0) {
                safe_close(ends[0]);
                return work_judge(work, "nbdcopy", r, complaint);
        }

        end = pump_run(pump, ends[0], out, size);
        safe_close(ends[0]);
        if (end <= 0)
                tool_kill(&tool); /* the rest, or all, is of no use */
        r = tool_wait(&tool, complaint);
        if (end == -EPIPE)
                return work_fail(work, FAILURE_IO, "Whoever was to read the stream has gone");
        if (end < 0)
                return work_fail(work, FAILURE_IO, "The stream cannot be written: %s", strerror(-end));
        if (end == 0)
                return 0;
        r = work_judge(work, "nbdcopy", r, complaint);
        return r < 0 ? r : work_fail(work, FAILURE_IO, "The image has become smaller while it was read");
}

int work_hash_image(struct work *work, char ret[static CHECKSUM_SIZE]) {
        _cleanup_(pump_freep) struct pump *pump = NULL;
        int r;

        r = pump_new(&work->done, &pump);
        if (r >= 0)
                r = read_image(work, pump, -EBADF, work->bytes);
        return r < 0 ? r : pump_finish(pump, ret);
}

int work_export_stream(struct work *work) {
        _cleanup_(pump_freep) struct pump *pump = NULL;
        int r;

        r = pump_new(&work->done, &pump);
        if (r >= 0)
                r = read_image(work, pump, work->file, work->wish.size);
        return r < 0 ? r : pump_finish(pump, work->checksum);
}

/* Returns whether there is anything after what was announced. */
static int look_for_more(struct work *work) {
        _Atomic uint64_t nothing = 0;
        _cleanup_(pump_freep) struct pump *pump = NULL;
        int r;

        r = pump_new(&nothing, &pump);
        if (r >= 0)
                r = pump_run(pump, work->file, -EBADF, 1);
        if (r == 0)
                return work_fail(work, FAILURE_USAGE, "The stream has more than the %llu bytes that were announced",
                        (unsigned long long) work->wish.size);
        return r;
}

int work_import_stream(struct work *work) {
        _cleanup_(pump_freep) struct pump *pump = NULL;
        _cleanup_close_ int slice = -EBADF;
        int r, end = 0;

        slice = memfd_create("slice", MFD_CLOEXEC);
        if (slice < 0)
                return -errno;
        r = pump_new(&work->done, &pump);
        while (r >= 0 && end == 0 && pump_bytes(pump) < work->wish.size) {
                uint64_t from = pump_bytes(pump), left = work->wish.size - from;

                if (ftruncate(slice, 0) < 0 || lseek(slice, 0, SEEK_SET) < 0)
                        return -errno;
                end = pump_run(pump, work->file, slice, left < STREAM_SLICE ? left : STREAM_SLICE);
                if (end < 0)
                        return work_fail(work, FAILURE_IO, "The stream cannot be read: %s", strerror(-end));
                if (pump_bytes(pump) > from)
                        r = work_copy_slice(work, slice, 0, from, work_round(pump_bytes(pump) - from));
        }
        if (r >= 0 && end == 0)
                r = look_for_more(work);
        if (r < 0)
                return r;
        work->bytes = pump_bytes(pump);
        return pump_finish(pump, work->checksum);
}
