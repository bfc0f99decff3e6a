/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file is opened here, by the one who asks, and its descriptor goes to the supervisor: the daemons read nothing that the caller could not. All else happens there, as a job that is watched. */

#include <inttypes.h>
#include <string.h>

#include "bus.h"
#include "config.h"
#include "content-file.h"
#include "job-watch.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define SECTOR_SIZE 512U

static bool arg_overwrite, arg_resume, arg_keep, arg_no_checksum, arg_verify, arg_checksums;
static const char *arg_format, *arg_size, *arg_sha256;

const struct option_entry import_options[] = {
        { "format", 0, "FORMAT", "What the file is: raw or qcow2 (default: look)", OPTION_STRING, &arg_format },
        { "size", 0, "SIZE", "How much comes from a stream, at most", OPTION_STRING, &arg_size },
        { "overwrite", 0, NULL, "Replace an image of that name when the import is complete", OPTION_FLAG,
                &arg_overwrite },
        { "keep", 0, NULL, "If it fails or is cancelled, keep what is there for --resume", OPTION_FLAG, &arg_keep },
        { "resume", 0, NULL, "Go on with an import that was kept, or cut short by a crash", OPTION_FLAG, &arg_resume },
        { "checksums", 0, NULL, "Let the image have a checksum of each block, as create does", OPTION_FLAG,
                &arg_checksums },
        { "sha256", 0, "SUM", "Fail unless the content has this SHA-256", OPTION_STRING, &arg_sha256 },
        { "no-checksum", 0, NULL, "Do not read back what has arrived to make its checksum", OPTION_FLAG,
                &arg_no_checksum },
        { "verify", 0, NULL, "In the end compare the file with the image", OPTION_FLAG, &arg_verify },
        { NULL },
};

static int read_arguments(enum content_format *ret_format, uint64_t *ret_size) {
        enum content_format format = arg_format ? content_format_from_string(arg_format) : _CONTENT_FORMAT_INVALID;
        uint64_t size = 0;

        if (arg_format && format == _CONTENT_FORMAT_INVALID)
                return report(FAILURE_USAGE, "import", "\"%s\" is no format: expected raw or qcow2", arg_format);
        if (arg_size && (size_parse(arg_size, &size) < 0 || size == 0))
                return report(FAILURE_USAGE, "import",
                        "\"%s\" is no size: expected bytes, or a number with K, M, G, T, P or E (powers of 1024), "
                        "such as 10G",
                        arg_size);
        if (arg_sha256 && (strlen(arg_sha256) != 64 || strspn(arg_sha256, "0123456789abcdef") != 64))
                return report(FAILURE_USAGE, "import",
                        "\"%s\" is no SHA-256: expected 64 hexadecimal digits, as sha256sum prints them", arg_sha256);
        if (arg_sha256 && arg_no_checksum)
                return report(FAILURE_USAGE, "import", "--sha256 needs the checksum that --no-checksum leaves out");
        *ret_format = format;
        *ret_size = size;
        return 0;
}

static int append_options(sd_bus_message *message, const struct content_file *file) {
        const struct {
                const char *key;
                bool value;
        } flags[] = {
                { "stream", file->stream },
                { "overwrite", arg_overwrite },
                { "keep", arg_keep || arg_resume },
                { "resume", arg_resume },
                { "checksum", !arg_no_checksum },
                { "checksums", arg_checksums },
                { "verify", arg_verify },
        };
        int r;

        r = sd_bus_message_open_container(message, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(message, "{sv}", "format", "s", content_format_to_string(file->format));
        if (r >= 0)
                r = sd_bus_message_append(message, "{sv}", "size", "t", file->size);
        for (size_t i = 0; i < ELEMENTSOF(flags) && r >= 0; i++)
                r = sd_bus_message_append(message, "{sv}", flags[i].key, "b", (int) flags[i].value);
        if (r >= 0 && arg_sha256)
                r = sd_bus_message_append(message, "{sv}", "sha256", "s", arg_sha256);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

/* An image consists of whole sectors, and nothing in it tells where the file ended. Of a stream the size is what may come, not what came. */
static void tell_padding(const struct content_file *file, const char *name) {
        uint64_t padding = (SECTOR_SIZE - file->size % SECTOR_SIZE) % SECTOR_SIZE;

        if (!file->stream && padding > 0)
                remark("The file ends within a sector of %u bytes: %s has %" PRIu64
                       " bytes of zeroes more at its end, and so will have what is exported of it. The file has "
                       "%" PRIu64 " bytes.",
                        SECTOR_SIZE, name, padding, file->size);
}

static int import(const struct cli *cli, sd_bus *bus, const struct content_file *file, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        char action[300];
        int r;

        (void) snprintf(action, sizeof(action), "import \"%s\"", name);
        r = bus_new_change(cli, bus, "ImportImage", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "sh", name, file->fd);
        if (r == -EINVAL)
                return report(FAILURE_USAGE, "import", "the name of the image is not UTF-8");
        if (r >= 0)
                r = append_options(message, file);
        if (r < 0)
                return r;

        r = job_watch_call(cli, bus, message, name,
                &(const struct job_watch_how){ .action = action,
                        .hint = arg_keep || arg_resume ? "What has arrived is kept: go on with --resume" : NULL });
        if (r == 0)
                tell_padding(file, name);
        return r;
}

int verb_import(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        struct content_file file = { .fd = -EBADF };
        enum content_format format = _CONTENT_FORMAT_INVALID;
        uint64_t size = 0;
        int r;

        r = read_arguments(&format, &size);
        if (r != 0)
                return r;
        if (strcmp(arguments[0], "-") == 0 && (arg_resume || arg_keep))
                return report(FAILURE_USAGE, "import",
                        "standard input is read once, from its beginning: --keep and --resume are for files");
        r = content_file_open(arguments[0], format, size, &file);
        if (r != 0)
                return r;
        if (file.stream && (arg_resume || arg_keep))
                r = report(FAILURE_USAGE, "import",
                        "a stream is read once, from its beginning: --keep and --resume are for files");
        if (r == 0)
                r = bus_open(cli, &bus);
        if (r == 0)
                r = import(cli, bus, &file, arguments[1]);
        content_file_done(&file);
        return r;
}
