/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Steps between a regular file and the image: qemu-img reads and writes both over NBD. It finds runs of zeroes by itself, and what was not there before it leaves alone, so that they become holes on either side. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "file-server.h"
#include "json-object.h"
#include "work-steps.h"

#define QCOW2_CLUSTER 65536U
#define OPTIONS_MAX   512U
#define URI_MAX       192U
#define JSON_TEXT_MAX 65536U

static bool is_raw(const struct work *work) {
        return strcmp(work->wish.format, "raw") == 0;
}

static void file_socket(const struct work *work, char ret[static OPTIONS_MAX]) {
        (void) snprintf(ret, OPTIONS_MAX, "%s/file", work->wish.directory);
}

/* What qemu calls the file. Paths are ours, without a comma. */
static void file_options(const struct work *work, char ret[static OPTIONS_MAX]) {
        if (strcmp(work->wish.format, "qcow2") == 0)
                (void) snprintf(ret, OPTIONS_MAX,
                        "driver=qcow2,file.driver=nbd,file.server.type=unix,file.server.path=%s/file",
                        work->wish.directory);
        else
                (void) snprintf(
                        ret, OPTIONS_MAX, "driver=nbd,server.type=unix,server.path=%s/file", work->wish.directory);
}

/* driver and what else belongs to it, one level down. */
static void below(const char *options, char ret[static OPTIONS_MAX]) {
        size_t used = 0;

        ret[0] = 0;
        for (const char *p = options; *p;) {
                size_t n = strcspn(p, ",");

                used += (size_t) snprintf(
                        ret + used, OPTIONS_MAX - used, "%sfile.%.*s", used > 0 ? "," : "", (int) n, p);
                if (used >= OPTIONS_MAX)
                        return;
                p += n + (p[n] == ',');
        }
}

static int serve_file(struct work *work, int fd, uint64_t size, bool writable, struct file_server **ret) {
        char path[OPTIONS_MAX];
        int r;

        file_socket(work, path);
        r = file_server_new(fd, size, writable, path, ret);
        return r < 0 ? work_fail(work, FAILURE_SYSTEM, "The file cannot be passed on: %s", strerror(-r)) : 0;
}

/* Bytes that the converter is to see of a file that is read. */
static int readable_size(struct work *work, uint64_t *ret) {
        struct stat st;

        if (fstat(work->file, &st) < 0)
                return work_fail(work, FAILURE_IO, "The file cannot be read: %s", strerror(errno));
        *ret = is_raw(work) ? work_round(work->wish.size) : (uint64_t) st.st_size;
        return 0;
}

static int flush_image(struct work *work) {
        char uri[URI_MAX], complaint[TOOL_COMPLAINT_MAX];
        const char *argv[] = { "qemu-io", "-f", "raw", "-c", "flush", uri, NULL };
        struct tool tool;
        int r;

        (void) snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", work->wish.image);
        r = tool_start(&tool, argv, -EBADF, -EBADF);
        if (r >= 0)
                r = tool_wait(&tool, complaint);
        return work_judge(work, "qemu-io", r, complaint);
}

/* A file whose size is not what its header has told the caller would be imported in part. */
static int check_content_size(struct work *work) {
        _cleanup_(json_object_putp) struct json_object *info = NULL;
        _cleanup_close_ int out = -EBADF;
        _cleanup_free_ char *text = calloc(1, JSON_TEXT_MAX);
        char file[OPTIONS_MAX], complaint[TOOL_COMPLAINT_MAX];
        const char *argv[] = { "qemu-img", "info", "--output=json", "--image-opts", file, NULL };
        struct json_object *value;
        struct tool tool;
        int r;

        file_options(work, file);
        out = open(work->wish.directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (!text || out < 0)
                return work_fail(work, FAILURE_SYSTEM, "A temporary file cannot be made: %s", strerror(errno));
        r = tool_start(&tool, argv, -EBADF, out);
        if (r >= 0)
                r = tool_wait(&tool, complaint);
        r = work_judge(work, "qemu-img", r, complaint);
        if (r < 0)
                return r;

        if (pread(out, text, JSON_TEXT_MAX - 1, 0) > 0)
                info = json_tokener_parse(text);
        if (!info || !json_object_object_get_ex(info, "virtual-size", &value))
                return work_fail(work, FAILURE_PROTOCOL, "What qemu-img says of the file was not understood");
        if (json_object_object_get_ex(info, "backing-filename", &value))
                return work_fail(work, FAILURE_USAGE, "The file needs another one below it (a backing file)");
        (void) json_object_object_get_ex(info, "virtual-size", &value);
        if (work_round(json_object_get_uint64(value)) != work_round(work->wish.size))
                return work_fail(work, FAILURE_USAGE, "The file holds %llu bytes of content, and not %llu",
                        (unsigned long long) json_object_get_uint64(value), (unsigned long long) work->wish.size);
        return 0;
}

int work_copy_slice(struct work *work, int fd, uint64_t from, uint64_t to, uint64_t n) {
        _cleanup_(file_server_freep) struct file_server *server = NULL;
        char file[OPTIONS_MAX], nested[OPTIONS_MAX], source[OPTIONS_MAX * 2], target[OPTIONS_MAX],
                complaint[TOOL_COMPLAINT_MAX];
        struct work_window window = { work, to, work->wish.is_stream ? 0 : n };
        const char *argv[] = { "qemu-img", "convert", "-n", "--target-is-zero", "-p", "-t", "writeback",
                "--image-opts", "--target-image-opts", source, target, NULL };
        uint64_t size = from + n;
        int r = 0;

        if (fd == work->file)
                r = readable_size(work, &size);
        if (r >= 0)
                r = serve_file(work, fd, size, false, &server);
        if (r >= 0 && to == work->wish.start && !is_raw(work))
                r = check_content_size(work);
        if (r < 0)
                return r;

        file_options(work, file);
        below(file, nested);
        (void) snprintf(source, sizeof(source), "driver=raw,offset=%llu,size=%llu,%s", (unsigned long long) from,
                (unsigned long long) n, nested);
        (void) snprintf(target, sizeof(target),
                "driver=raw,offset=%llu,size=%llu,file.driver=nbd,file.server.type=unix,file.server.path=%s",
                (unsigned long long) to, (unsigned long long) n, work->wish.image);
        r = qemu_img_run(argv, work->wish.is_stream ? NULL : work_advance, &window, complaint);
        r = work_judge(work, "qemu-img", r, complaint);
        return r < 0 ? r : flush_image(work);
}

/* What the file can be large at most: its data, and of a qcow2 file tables of 8 bytes for each cluster, counts of 2, and something for the rest. */
static uint64_t writable_size(const struct work *work) {
        return is_raw(work) ? work->wish.size
                            : work->wish.size + work->wish.size / 1024 + (uint64_t) 64 * QCOW2_CLUSTER;
}

static int create_qcow2(struct work *work) {
        char uri[OPTIONS_MAX + 32], size[32], complaint[TOOL_COMPLAINT_MAX];
        const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", uri, size, NULL };

        (void) snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s/file", work->wish.directory);
        (void) snprintf(size, sizeof(size), "%llu", (unsigned long long) work->wish.size);
        return work_judge(work, "qemu-img", qemu_img_run(argv, NULL, NULL, complaint), complaint);
}

/* A raw file has its size from the beginning. That of a qcow2 file is known in the end only: it is cut behind the last cluster that was written. */
int work_export_file(struct work *work) {
        _cleanup_(file_server_freep) struct file_server *server = NULL;
        char file[OPTIONS_MAX], source[OPTIONS_MAX], complaint[TOOL_COMPLAINT_MAX];
        const char *argv[] = { "qemu-img", "convert", "-n", "--target-is-zero", "-p", "-t", "writeback",
                "--image-opts", "--target-image-opts", source, file, NULL };
        struct work_window window = { work, 0, work->wish.size };
        uint64_t end = is_raw(work) ? work->wish.size : 0;
        int r;

        if (ftruncate(work->file, 0) < 0 || ftruncate(work->file, (off_t) end) < 0)
                return work_fail(work, FAILURE_IO, "The file cannot be written: %s", strerror(errno));
        r = serve_file(work, work->file, writable_size(work), true, &server);
        if (r >= 0 && !is_raw(work))
                r = create_qcow2(work);
        if (r < 0)
                return r;

        file_options(work, file);
        (void) snprintf(source, sizeof(source), "driver=nbd,server.type=unix,server.path=%s", work->wish.image);
        r = qemu_img_run(argv, work_advance, &window, complaint);
        r = work_judge(work, "qemu-img", r, complaint);
        if (r < 0)
                return r;

        if (!is_raw(work))
                end = (file_server_written(server) + QCOW2_CLUSTER - 1) / QCOW2_CLUSTER * QCOW2_CLUSTER;
        if (ftruncate(work->file, (off_t) end) < 0 || fsync(work->file) < 0)
                return work_fail(work, FAILURE_IO, "The file cannot be completed: %s", strerror(errno));
        return 0;
}

int work_hash_file(struct work *work, char ret[static CHECKSUM_SIZE]) {
        _cleanup_(pump_freep) struct pump *pump = NULL;
        int r;

        r = pump_new(&work->done, &pump);
        if (r < 0)
                return r;
        r = lseek(work->file, 0, SEEK_SET) < 0 ? -errno : pump_run(pump, work->file, -EBADF, work->wish.size);
        if (r < 0)
                return work_fail(work, FAILURE_IO, "The file cannot be read: %s", strerror(-r));
        if (pump_bytes(pump) != work->wish.size)
                return work_fail(work, FAILURE_IO, "The file has become shorter while it was read");
        return pump_finish(pump, ret);
}

int work_compare(struct work *work) {
        _cleanup_(file_server_freep) struct file_server *server = NULL;
        char file[OPTIONS_MAX], image[OPTIONS_MAX], complaint[TOOL_COMPLAINT_MAX];
        const char *argv[] = { "qemu-img", "compare", "-p", "--image-opts", file, image, NULL };
        struct work_window window = { work, work->base, work->wish.size };
        uint64_t size = 0;
        int r;

        r = readable_size(work, &size);
        if (r >= 0)
                r = serve_file(work, work->file, size, false, &server);
        if (r < 0)
                return r;

        file_options(work, file);
        (void) snprintf(image, sizeof(image), "driver=nbd,server.type=unix,server.path=%s", work->wish.image);
        r = qemu_img_run(argv, work_advance, &window, complaint);
        if (r == 1)
                return work_fail(work, FAILURE_IO, "The file and the image differ");
        return work_judge(work, "qemu-img", r, complaint);
}
