/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Of an image file only the head is read, to see what it is and how large an image it makes: its content is for qemu-img, which runs elsewhere and sees this one file. What cannot be imported from one file alone (one that
 * stands upon another) is refused here, where the user can be told what to do.
 *
 * Layout of the head: the QEMU project's docs/interop/qcow2.txt. */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "content-file.h"
#include "output.h"
#include "report.h"

#define QCOW2_HEAD_SIZE             104U
#define QCOW2_MAGIC                 "QFI\xfb"
#define QCOW2_OFFSET_VERSION        4U
#define QCOW2_OFFSET_BACKING        8U
#define QCOW2_OFFSET_SIZE           24U
#define QCOW2_OFFSET_CRYPT          32U
#define QCOW2_OFFSET_FEATURES       72U
#define QCOW2_FEATURE_EXTERNAL_DATA (UINT64_C(1) << 2)

const char *content_format_to_string(enum content_format format) {
        static const char *const names[_CONTENT_FORMAT_MAX] = { [CONTENT_RAW] = "raw", [CONTENT_QCOW2] = "qcow2" };

        return (unsigned) format < _CONTENT_FORMAT_MAX ? names[format] : NULL;
}

enum content_format content_format_from_string(const char *text) {
        for (unsigned i = 0; i < _CONTENT_FORMAT_MAX; i++)
                if (strcmp(text, content_format_to_string((enum content_format) i)) == 0)
                        return (enum content_format) i;
        return _CONTENT_FORMAT_INVALID;
}

static uint64_t read_be64(const uint8_t *data) {
        uint64_t value;

        memcpy(&value, data, sizeof(value));
        return be64toh(value);
}

static uint32_t read_be32(const uint8_t *data) {
        uint32_t value;

        memcpy(&value, data, sizeof(value));
        return be32toh(value);
}

static int read_qcow2(const char *path, const uint8_t *head, struct content_file *file) {
        uint32_t version = read_be32(head + QCOW2_OFFSET_VERSION);

        if (version != 2 && version != 3)
                return report(FAILURE_USAGE, "import", "%s is a qcow2 file of version %u, and only 2 and 3 are known",
                        path, version);
        if (read_be64(head + QCOW2_OFFSET_BACKING) != 0)
                return report_plain(FAILURE_USAGE,
                        "%s has only what differs from another file (its backing file). Make one file of both, and "
                        "import that: qemu-img convert -O qcow2 %s NEW-FILE",
                        path, path);
        if (version == 3 && (read_be64(head + QCOW2_OFFSET_FEATURES) & QCOW2_FEATURE_EXTERNAL_DATA))
                return report_plain(FAILURE_USAGE,
                        "the data of %s are in another file. Make one file of both, and import that: qemu-img convert "
                        "-O qcow2 %s NEW-FILE",
                        path, path);
        if (read_be32(head + QCOW2_OFFSET_CRYPT) != 0)
                return report_plain(FAILURE_USAGE, "%s is encrypted. Decrypt it first, with qemu-img convert", path);

        file->size = read_be64(head + QCOW2_OFFSET_SIZE);
        if (file->size == 0 || file->size > INT64_MAX)
                return report_plain(FAILURE_USAGE,
                        "%s is damaged: its head says that it holds %llu bytes. See: qemu-img check %s", path,
                        (unsigned long long) file->size, path);
        return 0;
}

/* What looks like an image file and is none that we take: as raw bytes nobody wants it. */
static const char *other_format(const uint8_t *head, size_t n) {
        static const struct {
                const char *name, *magic;
                size_t n;
        } others[] = {
                { "VMDK", "KDMV", 4 },
                { "VMDK", "# Disk DescriptorFile", 21 },
                { "VHDX", "vhdxfile", 8 },
                { "VHD", "conectix", 8 },
                { "VDI", "<<< ", 4 },
                { "gzip", "\x1f\x8b\x08", 3 },
                { "xz",
                        "\xfd"
                        "7zXZ",
                        5 },
                { "zstd", "\x28\xb5\x2f\xfd", 4 },
                { "bzip2", "BZh", 3 },
        };

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (n >= others[i].n && memcmp(head, others[i].magic, others[i].n) == 0)
                        return others[i].name;
        return NULL;
}

static int look_into(const char *path, enum content_format format, struct content_file *file) {
        uint8_t head[QCOW2_HEAD_SIZE] = {};
        const char *other;
        ssize_t n;

        n = pread(file->fd, head, sizeof(head), 0);
        if (n < 0)
                return report_plain(FAILURE_IO, "%s cannot be read: %s", path, strerror(errno));
        if (format == _CONTENT_FORMAT_INVALID) {
                other = other_format(head, (size_t) n);
                if (other)
                        return report_plain(FAILURE_USAGE,
                                "%s is a %s file, and can be imported as raw or qcow2 only. %s, or import it as it is "
                                "with --format=raw",
                                path, other,
                                other[0] == 'V' ? "Convert it first (qemu-img convert -O qcow2)" : "Unpack it first");
                format = n >= 4 && memcmp(head, QCOW2_MAGIC, 4) == 0 ? CONTENT_QCOW2 : CONTENT_RAW;
        }
        file->format = format;
        if (format != CONTENT_QCOW2)
                return 0;
        if (n < 72 || memcmp(head, QCOW2_MAGIC, 4) != 0)
                return report_plain(FAILURE_USAGE, "%s is no qcow2 file", path);
        return read_qcow2(path, head, file);
}

static int take_stream(const char *path, const struct stat *st, enum content_format format, uint64_t size,
        struct content_file *file) {
        off_t position;

        if (format == CONTENT_QCOW2)
                return report_plain(FAILURE_USAGE, "qcow2 cannot be read from a stream, only from a file. Import the "
                                                   "file, or convert on the way: qemu-img convert -O raw");
        file->stream = true;
        file->format = CONTENT_RAW;
        file->size = size;
        if (size == 0 && S_ISREG(st->st_mode)) {
                position = lseek(file->fd, 0, SEEK_CUR);
                if (position >= 0 && position < st->st_size)
                        file->size = (uint64_t) (st->st_size - position);
        } else if (size == 0 && S_ISBLK(st->st_mode) && ioctl(file->fd, BLKGETSIZE64, &file->size) < 0)
                file->size = 0;
        if (file->size == 0)
                return report(FAILURE_USAGE, "import",
                        "how much will come from %s is not known, and the image is created first: say it with "
                        "--size=SIZE (it may be less)",
                        path);
        return 0;
}

int content_file_open(const char *path, enum content_format format, uint64_t size, struct content_file *ret) {
        struct content_file file = { .fd = -EBADF };
        bool is_stdin = strcmp(path, "-") == 0;
        struct stat st;
        int r;

        file.fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
        if (file.fd < 0)
                return report_plain(errno == EACCES ? FAILURE_ACCESS_DENIED : FAILURE_USAGE, "%s cannot be opened: %s",
                        is_stdin ? "standard input" : path, strerror(errno));
        if (fstat(file.fd, &st) < 0)
                r = report_plain(FAILURE_IO, "%s cannot be looked at: %s", path, strerror(errno));
        else if (S_ISDIR(st.st_mode))
                r = report(FAILURE_USAGE, "import",
                        "%s is a directory: expected an image file, or - for standard input", path);
        else if (S_ISCHR(st.st_mode) && !isatty(file.fd))
                r = report(FAILURE_USAGE, "import",
                        "%s is a character device: expected an image file, or - for standard input", path);
        else if (isatty(file.fd))
                r = report(FAILURE_USAGE, "import",
                        "an image is not typed at a terminal: expected a file, or a pipe to standard input");
        else if (is_stdin || !S_ISREG(st.st_mode))
                r = take_stream(is_stdin ? "standard input" : path, &st, format, size, &file);
        else if (size != 0)
                r = report(FAILURE_USAGE, "import", "--size is for what comes from a stream: of %s it is known", path);
        else {
                file.size = (uint64_t) st.st_size;
                r = st.st_size == 0 ? report_plain(FAILURE_USAGE, "%s is empty", path)
                                    : look_into(path, format, &file);
        }
        if (r != 0)
                safe_close(file.fd);
        else
                *ret = file;
        return r;
}

static int create_beside(const char *path, struct content_file *file) {
        mode_t mask = umask(0);
        int r = 0;

        (void) umask(mask);
        file->path = strdup(path);
        if (!file->path || asprintf(&file->temporary, "%s.XXXXXX", path) < 0)
                return -ENOMEM;
        file->fd = mkostemp(file->temporary, O_CLOEXEC);
        if (file->fd < 0) {
                r = report_plain(errno == EACCES ? FAILURE_ACCESS_DENIED : FAILURE_USAGE, "%s cannot be made: %s",
                        path, strerror(errno));
                file->temporary[0] = 0;
        } else
                (void) fchmod(file->fd, 0666 & ~mask);
        return r;
}

int content_file_create(const char *path, enum content_format format, bool overwrite, struct content_file *ret) {
        struct content_file file = { .fd = -EBADF, .format = format };
        struct stat st;
        int r = 0;

        if (strcmp(path, "-") == 0) {
                file.stream = true;
                if (isatty(STDOUT_FILENO))
                        r = report(FAILURE_USAGE, "export",
                                "an image is nothing for a terminal: redirect standard output");
                else
                        file.fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        } else if (stat(path, &st) < 0 || S_ISREG(st.st_mode)) {
                if (!overwrite && access(path, F_OK) >= 0)
                        r = report_plain(FAILURE_ALREADY_EXISTS,
                                "%s exists already: choose another name, or --overwrite", path);
                else
                        r = create_beside(path, &file);
        } else if (S_ISDIR(st.st_mode))
                r = report(FAILURE_USAGE, "export",
                        "%s is a directory: expected the name of a file, or - for standard output", path);
        else {
                file.stream = true;
                file.fd = open(path, O_WRONLY | O_CLOEXEC);
                if (file.fd < 0)
                        r = report_plain(FAILURE_USAGE, "%s cannot be opened: %s", path, strerror(errno));
        }
        if (r == 0 && file.stream && format == CONTENT_QCOW2)
                r = report(FAILURE_USAGE, "export", "qcow2 cannot be written to a stream, only to a file");
        if (r == 0 && file.fd < 0)
                r = report_plain(FAILURE_USAGE, "standard output is not open");
        if (r != 0)
                content_file_done(&file);
        else
                *ret = file;
        return r;
}

int content_file_complete(struct content_file *file, bool overwrite) {
        int r;

        if (!file->temporary)
                return 0;
        r = renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, overwrite ? 0 : RENAME_NOREPLACE);
        if (r < 0 && errno == EINVAL && !overwrite) /* a file system that does not know the flag */
                r = access(file->path, F_OK) >= 0 ? (errno = EEXIST, -1) : rename(file->temporary, file->path);
        if (r < 0) {
                r = report_plain(FAILURE_ALREADY_EXISTS, "%s is complete, but cannot be called %s: %s",
                        file->temporary, file->path, strerror(errno));
                file->temporary[0] = 0; /* it stays */
                return r;
        }
        file->temporary[0] = 0;
        return 0;
}

void content_file_done(struct content_file *file) {
        if (file->temporary && file->temporary[0])
                (void) unlink(file->temporary);
        file->fd = safe_close(file->fd);
        free(file->path);
        free(file->temporary);
        *file = (struct content_file){ .fd = -EBADF };
}
