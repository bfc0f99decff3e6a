/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Removing cannot be undone, so on a terminal the image is shown and the user asked, and what is then removed is the
 * very image that was shown (by its UUID), not one that got the name in the meantime. Where nobody can be asked, --yes
 * has to say it. */

#include <string.h>

#include "bus.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

static bool arg_yes, arg_snapshots;

const struct option_entry remove_options[] = {
        { "yes", 'y', NULL, "Do not ask; required where there is no terminal", OPTION_FLAG, &arg_yes },
        { "snapshots", 0, NULL, "Remove its snapshots, too", OPTION_FLAG, &arg_snapshots },
        { NULL },
};

static int find_in_store(sd_bus *bus, const char *name, const char *action, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = image_load_store(bus, &error, &images);
        if (r < 0)
                return report_bus(action, name, &error, r);

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (strcmp(json_string(image, "name"), name) == 0) {
                        *ret = json_object_get(image);
                        return 0;
                }
        }

        return report(FAILURE_NO_SUCH_IMAGE, name, "cannot %s: there is no image of that name in the store", action);
}

/* Returns 0 to go on, or an exit code. */
static int ask(struct json_object *image) {
        char size[FORMAT_MAX], used[FORMAT_MAX], answer[16];

        fputs("Remove ", stderr);
        output_text(stderr, json_string(image, "name"));
        fprintf(stderr, " (%s, %s used, UUID %s) and all its data%s? [y/N] ",
                format_size(size, json_number(image, "size")), format_size(used, json_number(image, "used")),
                json_string(image, "uuid"), arg_snapshots ? ", with all its snapshots" : "");
        fflush(stderr);

        if (fgets(answer, sizeof answer, stdin) && (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0))
                return 0;

        remark("Nothing was removed.");
        return CLI_EXIT_INTERRUPTED;
}

int verb_remove(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_(json_object_putp) struct json_object *image = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *name = arguments[0];
        char action[300];
        int r;

        snprintf(action, sizeof action, "remove \"%s\"", name);

        if (!arg_yes && !(isatty(STDIN_FILENO) && isatty(STDERR_FILENO)))
                return report(FAILURE_USAGE, "remove",
                        "removing \"%s\" destroys its data, and there is no terminal to ask on: nothing was removed; "
                        "say --yes if you mean it",
                        name);

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        if (!arg_yes) {
                r = find_in_store(bus, name, action, &image);
                if (r != 0)
                        return r;
                r = ask(image);
                if (r != 0)
                        return r;
        }

        r = bus_new_change(cli, bus, "RemoveImage", &message);
        if (r < 0)
                return r;
        r = sd_bus_message_append(message, "s", name);
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', "{sv}");
        if (r >= 0 && image)
                r = sd_bus_message_append(message, "{sv}", "uuid", "s", json_string(image, "uuid"));
        if (r >= 0 && arg_snapshots)
                r = sd_bus_message_append(message, "{sv}", "snapshots", "b", true);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        if (r == -EINVAL)
                return report(FAILURE_USAGE, "remove", "the name of the image is not UTF-8");
        if (r < 0)
                return r;

        r = bus_call_change(cli, bus, message, &error, NULL);
        if (r < 0)
                return report_bus(action, name, &error, r);

        if (cli->json == JSON_OFF) {
                output_text(stdout, name);
                puts(" is removed.");
        }
        return 0;
}
