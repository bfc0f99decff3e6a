/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "bus.h"
#include "content-file.h"
#include "job-watch.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

static bool arg_overwrite, arg_no_checksum, arg_verify;
static const char *arg_format;

const struct option_entry export_options[] = {
        { "format", 0, "FORMAT", "raw, or qcow2 (default for FILE.qcow2)", OPTION_STRING, &arg_format },
        { "overwrite", 0, NULL, "Replace the file, if there is one, when the export is complete", OPTION_FLAG,
                &arg_overwrite },
        { "no-checksum", 0, NULL, "Do not read the content once more to make its checksum", OPTION_FLAG,
                &arg_no_checksum },
        { "verify", 0, NULL, "In the end compare the image with the file", OPTION_FLAG, &arg_verify },
        { NULL },
};

static enum content_format format_of(const char *path) {
        const char *dot = strrchr(path, '.');

        if (arg_format)
                return content_format_from_string(arg_format);
        return dot && strcmp(dot, ".qcow2") == 0 ? CONTENT_QCOW2 : CONTENT_RAW;
}

static int export(const struct cli *cli, sd_bus *bus, const struct content_file *file, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        char action[600];
        int r;

        (void) snprintf(action, sizeof(action), "export \"%s\"", name);
        r = bus_new_change(cli, bus, "ExportImage", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "sh", name, file->fd);
        if (r == -EINVAL)
                return report(FAILURE_USAGE, "export", "the name of the image is not UTF-8");
        if (r >= 0)
                r = sd_bus_message_append(message, "a{sv}", 4, "format", "s", content_format_to_string(file->format),
                        "stream", "b", (int) file->stream, "checksum", "b", (int) !arg_no_checksum, "verify", "b",
                        (int) arg_verify);
        if (r < 0)
                return r;

        return job_watch_call(cli, bus, message, name,
                &(const struct job_watch_how){ .action = action, .lines_to_stderr = file->stream });
}

int verb_export(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        enum content_format format = format_of(arguments[1]);
        struct content_file file = { .fd = -EBADF };
        int r;

        if (format == _CONTENT_FORMAT_INVALID)
                return report(FAILURE_USAGE, "export", "\"%s\" is no format: expected raw or qcow2", arg_format);
        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        r = content_file_create(arguments[1], format, arg_overwrite, &file);
        if (r != 0)
                return r;
        r = export(cli, bus, &file, arguments[0]);
        if (r == 0)
                r = content_file_complete(&file, arg_overwrite);
        content_file_done(&file);
        return r;
}
