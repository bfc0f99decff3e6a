/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Begins the job and watches it: the match stands before the call, and each change makes us read the properties anew, so that no end can be missed. Ctrl-C ends the watching and not the job; --cancel ends that. */

#include <string.h>
#include <systemd/sd-event.h>

#include "block-signals.h"
#include "bus-json.h"
#include "bus-objects.h"
#include "bus.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define BUS_JOB_PREFIX "/org/blockstore/job"
#define BUS_JOB        "org.blockstore.Job"

static bool arg_cancel;

const struct option_entry upgrade_options[] = {
        { "cancel", 0, NULL, "End the upgrade that is under way, after the image that it is at", OPTION_FLAG,
                &arg_cancel },
        { NULL },
};

struct upgrade {
        const struct cli *cli;
        sd_bus *bus;
        sd_event *event;
        const char *path; /* the job's, once known */
        char shown[320];
};

static void show(struct upgrade *upgrade, struct json_object *job) {
        const char *subject = json_string(job, "subject");
        char text[sizeof(upgrade->shown)];

        if (upgrade->cli->json != JSON_OFF || !*subject)
                return;

        snprintf(text, sizeof(text), "[%" PRIu64 "/%" PRIu64 "] %s", json_number(job, "progress") + 1,
                json_number(job, "total"), subject);
        if (strcmp(text, upgrade->shown) == 0)
                return;
        strcpy(upgrade->shown, text);
        /* One line that changes on a terminal, a line for each elsewhere. */
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r\033[K%s", text);
        else
                fprintf(stderr, "%s\n", text);
}

static int finish(struct upgrade *upgrade, struct json_object *job) {
        const char *state = json_string(job, "state"), *message = json_string(job, "message");

        if (upgrade->shown[0] && isatty(STDERR_FILENO))
                fprintf(stderr, "\r\033[K");
        if (strcmp(state, "failed") == 0)
                return report_plain(failure_from_bus_name(json_string(job, "error")), "%s", message);
        if (upgrade->cli->json == JSON_OFF)
                printf("%s: the workers of %" PRIu64 " of %" PRIu64 " images.%s%s\n",
                        strcmp(state, "cancelled") == 0 ? "Cancelled" : "Replaced", json_number(job, "progress"),
                        json_number(job, "total"), *message ? " " : "", message);
        return 0;
}

static int on_properties(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(json_object_putp) struct json_object *job = NULL;
        struct upgrade *upgrade = userdata;
        const char *state;
        int r;

        if (sd_bus_message_is_method_error(reply, NULL) > 0)
                return sd_event_exit(
                        upgrade->event, report_bus("watch the upgrade", NULL, sd_bus_message_get_error(reply), -EIO));
        r = bus_json_read_properties(reply, &job);
        if (r < 0)
                return sd_event_exit(upgrade->event, report(FAILURE_PROTOCOL, NULL, "the answer was not understood"));

        /* As JSON: one object a line, each time something has changed. */
        if (upgrade->cli->json != JSON_OFF) {
                printf("%s\n", json_object_to_json_string_ext(job, JSON_C_TO_STRING_PLAIN));
                fflush(stdout);
        }
        state = json_string(job, "state");
        show(upgrade, job);
        if (strcmp(state, "running") != 0 && strcmp(state, "cancelling") != 0)
                return sd_event_exit(upgrade->event, finish(upgrade, job));
        return 0;
}

static int read_job(struct upgrade *upgrade) {
        return sd_bus_call_method_async(upgrade->bus, NULL, BUS_NAME, upgrade->path, BUS_PROPERTIES, "GetAll",
                on_properties, upgrade, "s", BUS_JOB);
}

static int on_change(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct upgrade *upgrade = userdata;

        if (upgrade->path && strcmp(sd_bus_message_get_path(m), upgrade->path) == 0)
                return read_job(upgrade);
        return 0;
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        struct upgrade *upgrade = userdata;

        remark("Stopped watching; the upgrade goes on. End it: blockstorectl upgrade --cancel");
        return sd_event_exit(upgrade->event, CLI_EXIT_INTERRUPTED);
}

static int on_disconnect(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct upgrade *upgrade = userdata;

        return sd_event_exit(upgrade->event,
                report(FAILURE_SYSTEM, NULL, "the system bus has closed the connection; the upgrade goes on"));
}

static int watch(struct upgrade *upgrade) {
        int r;

        (void) block_signals(SIGINT, SIGTERM, 0);
        r = sd_event_new(&upgrade->event);
        if (r >= 0)
                r = sd_event_add_signal(upgrade->event, NULL, SIGINT, on_interrupt, upgrade);
        if (r >= 0)
                r = sd_event_add_signal(upgrade->event, NULL, SIGTERM, on_interrupt, upgrade);
        if (r >= 0)
                r = sd_bus_attach_event(upgrade->bus, upgrade->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_match_signal_async(upgrade->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                        "org.freedesktop.DBus.Local", "Disconnected", on_disconnect, NULL, upgrade);
        if (r >= 0)
                r = read_job(upgrade);
        if (r >= 0)
                r = sd_event_loop(upgrade->event);
        sd_event_unref(upgrade->event);
        return r;
}

/* userdata: the path of an upgrade that is under way, if one has been found. */
static int find_upgrade(const char *path, const char *interface, struct json_object *properties, void *userdata) {
        char **found = userdata;

        if (*found || strcmp(interface, BUS_JOB) != 0 || strcmp(json_string(properties, "kind"), "upgrade") != 0 ||
                strcmp(json_string(properties, "state"), "running") != 0)
                return 0;
        *found = strdup(path);
        return *found ? 0 : -ENOMEM;
}

static int cancel(const struct cli *cli, sd_bus *bus) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *found = NULL;
        int r;

        r = sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_OBJECTMANAGER, "GetManagedObjects", &error, &reply, NULL);
        if (r >= 0)
                r = bus_objects_read(reply, find_upgrade, &found);
        if (r < 0)
                return report_bus("cancel the upgrade", NULL, &error, r);
        if (!found)
                return report_plain(FAILURE_USAGE, "no upgrade is under way");

        r = sd_bus_call_method(bus, BUS_NAME, found, BUS_JOB, "Cancel", &error, NULL, NULL);
        if (r < 0)
                return report_bus("cancel the upgrade", NULL, &error, r);
        if (cli->json == JSON_OFF)
                printf("The upgrade ends after the image that it is at.\n");
        return 0;
}

int verb_upgrade(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        struct upgrade upgrade = { .cli = cli };
        int r;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        if (arg_cancel)
                return cancel(cli, bus);

        upgrade.bus = bus;
        r = sd_bus_add_match(bus, NULL,
                "type='signal',sender='" BUS_NAME "',interface='" BUS_PROPERTIES
                "',member='PropertiesChanged',path_namespace='" BUS_JOB_PREFIX "'",
                on_change, &upgrade);
        if (r >= 0)
                r = bus_new_change(cli, bus, "Upgrade", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "a{sv}", 0);
        if (r < 0)
                return r;
        r = bus_call_change(cli, bus, message, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &upgrade.path);
        if (r < 0)
                return report_bus("upgrade", NULL, &error, r);
        return watch(&upgrade);
}
