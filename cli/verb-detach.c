/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whoever has a device open stands in the way of taking it down, and is shown. With --wait that is asked for once a second, and the image is detached only when nobody does any more: nothing is recorded anywhere, so that to
 * end the waiting, by whatever means, leaves everything as it was. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block-signals.h"
#include "bus-json.h"
#include "bus.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define ASK_AGAIN_SEC 1
#define WAIT_MAX_SEC  (365U * 24U * 3600U)
#define BUSY_ERROR    "org.blockstore.Error.Busy"

static bool arg_lazy, arg_cancel;
static const char *arg_wait; /* NULL: not given; "": for as long as it takes */

const struct option_entry detach_options[] = {
        { "wait", 0, "SECONDS", "Wait until nobody uses the device, for so long or for ever; Ctrl-C ends it",
                OPTION_OPTIONAL, &arg_wait },
        { "lazy", 0, NULL, "Return at once, and have it detached when nobody uses the device any more", OPTION_FLAG,
                &arg_lazy },
        { "cancel", 0, NULL, "Let a detach that still waits for that not happen", OPTION_FLAG, &arg_cancel },
        { NULL },
};

/* An array of objects; empty where it cannot be had, as from an older supervisor. */
static struct json_object *load_holders(sd_bus *bus, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        struct json_object *holders = json_object_new_array();
        _cleanup_free_ char *path = NULL;
        int r;

        r = image_path(name, &path);
        if (r >= 0)
                r = sd_bus_call_method(bus, BUS_NAME, path, BUS_IMAGE, "Holders", NULL, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "a{sv}");
        while (r >= 0 && sd_bus_message_at_end(reply, false) == 0) {
                struct json_object *holder = NULL;

                r = bus_json_read_properties(reply, &holder);
                if (r >= 0)
                        json_object_array_add(holders, holder);
        }
        return holders;
}

static void show_holders(const struct cli *cli, struct json_object *holders) {
        static const struct column columns[] = {
                { "KIND", "kind", COLUMN_TEXT },
                { "DEVICE", "device", COLUMN_TEXT },
                { "BY", "by", COLUMN_TEXT },
                { "NAME", "name", COLUMN_TEXT },
                { "PID", "pid", COLUMN_NUMBER },
                { "MOUNTED ON", "mount_point", COLUMN_TEXT },
        };

        if (json_object_array_length(holders) > 0)
                (void) output_table(cli, columns, ELEMENTSOF(columns), holders);
}

static int parse_wait(uint64_t *ret_seconds) {
        char *end;
        unsigned long long seconds;

        if (!*arg_wait) {
                *ret_seconds = WAIT_MAX_SEC;
                return 0;
        }
        errno = 0;
        seconds = strtoull(arg_wait, &end, 10);
        if (errno != 0 || *end || *arg_wait < '0' || *arg_wait > '9' || seconds > WAIT_MAX_SEC)
                return report(FAILURE_USAGE, "detach", "--wait=%s: expected a number of seconds up to %u", arg_wait,
                        WAIT_MAX_SEC);
        *ret_seconds = seconds;
        return 0;
}

static uint64_t now_sec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec;
}

/* Returns 0 when nobody uses the device, or it is not known; else an exit code. */
static int wait_until_free(sd_bus *bus, const char *name, uint64_t deadline_sec, bool *told) {
        static const struct timespec pause = { .tv_sec = ASK_AGAIN_SEC };
        sigset_t interrupts = block_signals(SIGINT, 0);

        for (;;) {
                _cleanup_(json_object_putp) struct json_object *holders = load_holders(bus, name);

                if (json_object_array_length(holders) == 0 || now_sec() >= deadline_sec)
                        break;
                if (!*told)
                        remark("%s is in use; waiting until it is not", name);
                *told = true;
                if (sigtimedwait(&interrupts, NULL, &pause) == SIGINT) {
                        remark("%s stays attached.", name);
                        return CLI_EXIT_INTERRUPTED;
                }
        }
        (void) sigprocmask(SIG_UNBLOCK, &interrupts, NULL);
        return 0;
}

static int append_options(sd_bus_message *message, const char *name) {
        if (arg_lazy)
                return sd_bus_message_append(message, "sa{sv}", name, 1, "lazy", "b", 1);
        if (arg_cancel)
                return sd_bus_message_append(message, "sa{sv}", name, 1, "cancel", "b", 1);
        return sd_bus_message_append(message, "sa{sv}", name, 0);
}

/* Only that it has failed is left of it. A device is there yet when its worker is not any more: that is detached. */
static bool has_only_failed(sd_bus *bus, const char *name) {
        _cleanup_(json_object_putp) struct json_object *image = NULL;

        return image_load(bus, name, NULL, &image) >= 0 && strcmp(json_string(image, "state"), "failed") == 0 &&
               !*json_string(image, "device");
}

/* How it went, for somebody who has not asked for more than that it be done. */
static void show_success(sd_bus *bus, const char *name, bool had_only_failed) {
        _cleanup_free_ char *path = NULL;
        int pending = 0;

        if (arg_cancel) {
                printf("%s stays attached.\n", name);
                return;
        }
        if (arg_lazy && image_path(name, &path) >= 0)
                (void) sd_bus_get_property_trivial(
                        bus, BUS_NAME, path, BUS_IMAGE, "DetachPending", NULL, 'b', &pending);
        if (pending)
                printf("%s is in use, and is detached when it is not any more. To keep it: blockstorectl detach "
                       "--cancel %s\n",
                        name, name);
        else if (had_only_failed)
                printf("%s was not attached. It had failed, which is forgotten now.\n", name);
        else
                printf("%s is detached.\n", name);
}

/* A stop whose last flush has failed is an error, and a detach. */
static void tell_if_gone(sd_bus *bus, const char *name) {
        _cleanup_(json_object_putp) struct json_object *image = NULL;
        const char *state;

        if (image_load(bus, name, NULL, &image) < 0)
                return;
        state = json_string(image, "state");
        if (!*json_string(image, "device") && (strcmp(state, "failed") == 0 || strcmp(state, "inactive") == 0))
                remark("%s is detached all the same.", name);
}

int verb_detach(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        const char *name = arguments[0];
        uint64_t seconds = 0, deadline;
        bool told = false, had_only_failed;
        char action[128];
        int r;

        if (arg_lazy + arg_cancel + !!arg_wait > 1)
                return report(FAILURE_USAGE, "detach", "--wait, --lazy and --cancel exclude each other");
        r = image_check_name(name);
        if (r == 0 && arg_wait)
                r = parse_wait(&seconds);
        if (r == 0)
                r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        snprintf(action, sizeof action, arg_cancel ? "cancel the detaching of \"%s\"" : "detach \"%s\"", name);
        had_only_failed = has_only_failed(bus, name);
        deadline = now_sec() + seconds;
        for (;;) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                _cleanup_(json_object_putp) struct json_object *holders = NULL;

                if (arg_wait) {
                        r = wait_until_free(bus, name, deadline, &told);
                        if (r != 0)
                                return r;
                }

                r = bus_new_change(cli, bus, "DetachImage", &message);
                if (r >= 0)
                        r = append_options(message, name);
                if (r < 0)
                        return r;
                r = bus_call_change(cli, bus, message, &error, NULL);
                if (r >= 0)
                        break;

                /* Somebody was faster. */
                if (sd_bus_error_has_name(&error, BUSY_ERROR)) {
                        holders = load_holders(bus, name);
                        if (arg_wait && json_object_array_length(holders) > 0 && now_sec() < deadline)
                                continue;
                }
                r = report_bus(action, name, &error, r);
                if (r == FAILURE_IO)
                        tell_if_gone(bus, name);
                if (holders)
                        show_holders(cli, holders);
                return r;
        }

        if (cli->json == JSON_OFF)
                show_success(bus, name, had_only_failed);
        return 0;
}
