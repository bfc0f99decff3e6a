/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What ImportImage and ExportImage are asked for. The file is looked at only as far as that cannot wait: it may be on a server that does not answer, and this is the supervisor's one thread. What is in it, its converter finds out. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "ivbs.h"
#include "manager.h"
#include "peer-bus.h"
#include "transfer.h"

#define SIZE_MAX_BYTES (INT64_MAX / 4)

/* Which program an option needs is known before anything is begun. */
static int check_program(const char *program, const char *package, sd_bus_error *error) {
        static const char *const directories[] = { "/usr/local/bin", "/usr/bin", "/bin" };
        char path[64];

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                (void) snprintf(path, sizeof(path), "%s/%s", directories[i], program);
                if (access(path, X_OK) >= 0)
                        return 0;
        }
        return peer_bus_error_set(
                error, FAILURE_SYSTEM, "%s is not installed: install %s, and try again", program, package);
}

static int check_programs(const struct transfer_wish *wish, sd_bus_error *error) {
        bool reads_image = wish->stream ? wish->export || wish->verify
                                        : wish->checksum && !(wish->export && strcmp(wish->format, "raw") == 0);
        int r = 0;

        if (!wish->export || !wish->stream)
                r = check_program("qemu-img", "qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, Arch)", error);
        if (r >= 0 && reads_image)
                r = check_program("nbdcopy", "libnbd-bin (Debian, Ubuntu) or libnbd (Fedora, Arch)", error);
        return r;
}

static int look_at_file(struct transfer_wish *wish, sd_bus_error *error) {
        int flags = fcntl(wish->file, F_GETFL);
        struct statx st;

        if (flags < 0 || statx(wish->file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                                 STATX_TYPE | STATX_SIZE | STATX_MTIME, &st) < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "What was given is no open file: %s", strerror(errno));
        if (flags & O_PATH)
                return peer_bus_error_set(error, FAILURE_USAGE, "The file is opened with O_PATH");
        if (S_ISDIR(st.stx_mode) || S_ISCHR(st.stx_mode))
                return peer_bus_error_set(error, FAILURE_USAGE,
                        "Only a regular file or a stream can be imported or exported to, and this is a %s",
                        S_ISDIR(st.stx_mode) ? "directory" : "device");
        if (!S_ISREG(st.stx_mode))
                wish->stream = true;
        if ((flags & O_ACCMODE) == (wish->export ? O_RDONLY : O_WRONLY) ||
                (wish->export && !wish->stream && (flags & O_ACCMODE) != O_RDWR))
                return peer_bus_error_set(error, FAILURE_USAGE, "The file is not open for %s",
                        wish->export ? "reading and writing" : "reading");

        wish->file_size = st.stx_size;
        wish->changed_usec = st.stx_mtime.tv_sec * 1000000 + st.stx_mtime.tv_nsec / 1000;
        if (!wish->export && !wish->stream && wish->size == 0 && strcmp(wish->format, "raw") == 0)
                wish->size = st.stx_size;
        return 0;
}

static int check(const struct transfer_wish *wish, sd_bus_error *error) {
        if (wish->stream && strcmp(wish->format, "raw") != 0)
                return peer_bus_error_set(
                        error, FAILURE_USAGE, "A stream is raw: %s needs a file that can be sought in", wish->format);
        if (wish->stream && wish->resume)
                return peer_bus_error_set(
                        error, FAILURE_USAGE, "A stream cannot be gone on with: it is read once, from its beginning");
        if (wish->export)
                return 0;
        if (wish->size == 0)
                return peer_bus_error_set(error, FAILURE_USAGE,
                        wish->stream ? "Of a stream the size has to be said, for the image is created first"
                                     : "The file is empty, or its size has to be said");
        if (wish->size > SIZE_MAX_BYTES)
                return peer_bus_error_set(error, FAILURE_USAGE, "The file is too large");
        if (!wish->stream && strcmp(wish->format, "raw") == 0 && wish->size > wish->file_size)
                return peer_bus_error_set(error, FAILURE_USAGE, "The file is smaller than the size that was said");
        return 0;
}

static int read_flag(sd_bus_message *message, bool *ret) {
        int value, r;

        r = sd_bus_message_read(message, "v", "b", &value);
        if (r >= 0)
                *ret = value;
        return r;
}

static int read_text(sd_bus_message *message, char *ret, size_t size) {
        const char *text;
        int r;

        r = sd_bus_message_read(message, "v", "s", &text);
        if (r < 0)
                return r;
        return (size_t) snprintf(ret, size, "%s", text) < size ? 0 : -EINVAL;
}

static int read_option(sd_bus_message *message, struct transfer_wish *wish, sd_bus_error *error) {
        const struct {
                const char *key;
                bool *flag, import_only;
        } flags[] = {
                { "checksum", &wish->checksum, false },
                { "checksums", &wish->checksums, true },
                { "keep", &wish->keep, true },
                { "overwrite", &wish->overwrite, true },
                { "resume", &wish->resume, true },
                { "stream", &wish->stream, false },
                { "verify", &wish->verify, false },
        };
        const char *key;
        int r;

        r = sd_bus_message_read(message, "s", &key);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                if (strcmp(key, flags[i].key) == 0 && !(wish->export && flags[i].import_only))
                        return read_flag(message, flags[i].flag);
        if (strcmp(key, "format") == 0) {
                r = read_text(message, wish->format, sizeof(wish->format));
                if (r == -EINVAL || (r >= 0 && strcmp(wish->format, "raw") != 0 && strcmp(wish->format, "qcow2") != 0))
                        r = peer_bus_error_set(error, FAILURE_USAGE, "The format must be \"raw\" or \"qcow2\"");
                return r;
        }
        if (strcmp(key, "sha256") == 0 && !wish->export) {
                r = read_text(message, wish->expected, sizeof(wish->expected));
                if (r == -EINVAL ||
                        (r >= 0 && (strlen(wish->expected) != 64 || strspn(wish->expected, "0123456789abcdef") != 64)))
                        r = peer_bus_error_set(
                                error, FAILURE_USAGE, "A SHA-256 has 64 hexadecimal digits, in small letters");
                return r;
        }
        if (strcmp(key, "size") == 0 && !wish->export)
                return sd_bus_message_read(message, "v", "t", &wish->size);
        return peer_bus_error_set(error, FAILURE_USAGE, "There is no option \"%s\" here", key);
}

int transfer_wish_read(sd_bus_message *message, bool export, struct transfer_wish *ret, sd_bus_error *error) {
        struct transfer_wish wish = { .export = export, .format = "raw", .checksum = true, .file = -EBADF };
        const char *name;
        int file, r;

        r = sd_bus_message_read(message, "sh", &name, &file);
        if (r < 0)
                return r;
        if (!image_store_name_is_valid(name) ||
                (!export && (strlen(name) + strlen(TRANSFER_STAGE_SUFFIX) >= sizeof(wish.name) || strchr(name, '@'))))
                return peer_bus_error_set(error, FAILURE_USAGE,
                        "That is not a valid image name in a store: 1-%zu bytes without '/', '@' and control "
                        "characters",
                        sizeof(wish.name) - 1 - strlen(TRANSFER_STAGE_SUFFIX));
        (void) snprintf(wish.name, sizeof(wish.name), "%s", name);

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                r = read_option(message, &wish, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;

        wish.file = fcntl(file, F_DUPFD_CLOEXEC, 3);
        if (wish.file < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "What was given is no open file");
        if (wish.expected[0] || wish.stream)
                wish.checksum = true;
        r = look_at_file(&wish, error);
        if (r >= 0)
                r = check(&wish, error);
        if (r >= 0)
                r = check_programs(&wish, error);
        if (r < 0) {
                transfer_wish_done(&wish);
                return r;
        }
        *ret = wish;
        return 0;
}

void transfer_wish_done(struct transfer_wish *wish) {
        wish->file = safe_close(wish->file);
}
