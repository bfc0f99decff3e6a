/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Attaching and waiting for it. AttachImage answers when the image is usable, or after 20 s while the worker still
 * tries (no client waits much longer for a reply). Then this goes on watching the image's State until it is decided or
 * attach-timeout is over. Ending the wait, by Ctrl-C or by the time-out, never ends the attach: that is what detach is
 * for, and the user is told so.
 *
 * The match for changes is in place before the call, and each change makes us read the properties anew, so no state
 * can slip by between the reply and the first look. */

#include <string.h>
#include <systemd/sd-event.h>

#include "block-signals.h"
#include "bus-json.h"
#include "bus.h"
#include "config.h"
#include "host-config.h"
#include "image.h"
#include "ivbs-lifecycle.h"
#include "output.h"
#include "polkit-agent.h"
#include "report.h"
#include "verbs.h"

/* The worker gives up attach-timeout after its own start; that start, and word of the end, take their time on a busy
 * machine. */
#define GRACE_USEC          (10 * UINT64_C(1000000))
#define ATTACH_TIMEOUT_USEC (90 * UINT64_C(1000000))

static bool arg_read_only, arg_steal;
static const char *arg_device, *arg_as;
static struct string_list arg_proxies;

const struct option_entry attach_options[] = {
        { "read-only", 'r', NULL, "Attach read-only", OPTION_FLAG, &arg_read_only },
        { "as", 0, "NAME", "What it is called on this host, if not as in the store", OPTION_STRING, &arg_as },
        { "device", 0, "KIND", "nbd: a kernel device; none: only the NBD socket", OPTION_STRING, &arg_device },
        { "steal", 0, NULL, "Take the image over from the host that has it attached", OPTION_FLAG, &arg_steal },
        { "proxy", 0, "ADDRESS", "Use this proxy instead of the configured ones (repeat for more)", OPTION_LIST,
                &arg_proxies },
        { NULL },
};

/* One attach that is waited for. */
struct attach {
        const struct cli *cli;
        const char *name;  /* on this host */
        const char *image; /* in the store; NULL: not said */
        char *path;
        sd_bus *bus;
        sd_event *event;
        bool answered; /* AttachImage has returned: from now on State decides */
        char *shown;   /* what was last printed about its progress */
};

static void attach_done(struct attach *attach) {
        free(attach->path);
        free(attach->shown);
        sd_event_unref(attach->event);
        sd_bus_flush_close_unref(attach->bus);
}

static int finish(struct attach *attach, int code) {
        return sd_event_exit(attach->event, code);
}

/* Whether it is this very host that has the image, under another name. Nothing is to be taken over then. */
static bool is_held_here(struct attach *attach) {
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        const char *image_name = attach->image ?: ""; /* said with --as, which nobody remembers now */

        if (image_load_all(attach->bus, NULL, &images) < 0)
                return false;
        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (!*image_name && strcmp(json_string(image, "name"), attach->name) == 0)
                        image_name = json_string(image, "image_name");
        }
        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (*image_name && strcmp(json_string(image, "image_name"), image_name) == 0 &&
                        image_state_is_usable(json_string(image, "state")))
                        return true;
        }
        return false;
}

static int fail(struct attach *attach, const sd_bus_error *error, int r) {
        char action[128];

        snprintf(action, sizeof action, "attach \"%s\"", attach->name);
        if (sd_bus_error_is_set(error) && failure_from_bus_name(error->name) == FAILURE_HELD && is_held_here(attach))
                return finish(attach, report_plain(FAILURE_HELD, "cannot %s: %s", action, error->message));
        return finish(attach, report_bus(action, attach->name, error, r));
}

/* On a terminal, what is going on while there is nothing else to see. */
static void show_progress(struct attach *attach, struct json_object *image) {
        const char *state = json_string(image, "state"), *reason = json_string(image, "state_reason");
        char *text;

        if (!isatty(STDERR_FILENO))
                return;
        if (asprintf(&text, "%s: %s%s%s", attach->name, state, *reason ? ": " : "", reason) < 0)
                return;

        if (attach->shown && strcmp(attach->shown, text) == 0) {
                free(text);
                return;
        }
        free(attach->shown);
        attach->shown = text;
        remark("%s", text);
}

static void show_attached(const struct cli *cli, struct json_object *image) {
        char size[FORMAT_MAX], location[128];

        if (output_json(cli, image))
                return;

        image_location(image, location, sizeof location);
        printf("%s is %s: %s, %s, %s.\n", json_string(image, "name"), json_string(image, "state"), location,
                format_size(size, json_number(image, "size")),
                json_is_true(image, "read_only") ? "read-only" : "read-write");
}

/* What State says once the call has been answered. */
static int decide(struct attach *attach, struct json_object *image) {
        const char *state = json_string(image, "state"), *reason = json_string(image, "state_reason");

        if (image_state_is_usable(state)) {
                show_attached(attach->cli, image);
                return finish(attach, 0);
        }

        if (strcmp(state, "failed") == 0) {
                enum failure failure = failure_from_bus_name(json_string(image, "failure"));

                if (failure == FAILURE_HELD && is_held_here(attach))
                        return finish(attach, report_plain(failure, "cannot attach \"%s\": %s", attach->name, reason));
                return finish(attach, report(failure, attach->name, "cannot attach \"%s\": %s", attach->name,
                                              *reason ? reason : failure_lookup(failure)->description));
        }

        if (strcmp(state, "inactive") == 0 || strcmp(state, "detaching") == 0)
                return finish(attach, report(FAILURE_NOT_ATTACHED, attach->name,
                                              "\"%s\" was detached while it was being attached%s%s", attach->name,
                                              *reason ? ": " : "", reason));

        show_progress(attach, image);
        return 0;
}

static int on_properties(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(json_object_putp) struct json_object *image = NULL;
        struct attach *attach = userdata;
        int r;

        /* The object may not exist yet, or blockstored may be on its way down: whoever decides tells us again. */
        if (sd_bus_message_is_method_error(reply, NULL) > 0) {
                if (attach->answered && sd_bus_message_is_method_error(reply, SD_BUS_ERROR_UNKNOWN_OBJECT) > 0)
                        return finish(
                                attach, report(FAILURE_NOT_ATTACHED, attach->name,
                                                "\"%s\" was detached while it was being attached", attach->name));
                return 0;
        }

        r = bus_json_read_properties(reply, &image);
        if (r < 0)
                return finish(attach, r);

        if (attach->answered)
                return decide(attach, image);

        show_progress(attach, image);
        return 0;
}

static int read_image(struct attach *attach) {
        return sd_bus_call_method_async(attach->bus, NULL, BUS_NAME, attach->path, BUS_PROPERTIES, "GetAll",
                on_properties, attach, "s", BUS_IMAGE);
}

static int on_change(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        return read_image(userdata);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct attach *attach = userdata;

        if (sd_bus_message_is_method_error(reply, NULL) > 0)
                return fail(attach, sd_bus_message_get_error(reply), -EIO);

        attach->answered = true;
        return read_image(attach);
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        struct attach *attach = userdata;

        remark("Stopped waiting; the attach of %s goes on. Watch it: blockstorectl status %s. Give it up: "
               "blockstorectl detach %s",
                attach->name, attach->name, attach->name);
        return finish(attach, CLI_EXIT_INTERRUPTED);
}

static int on_disconnect(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct attach *attach = userdata;

        return finish(attach,
                report(FAILURE_SYSTEM, NULL, "the system bus has closed the connection; the attach of \"%s\" goes on",
                        attach->name));
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        struct attach *attach = userdata;

        return finish(
                attach, report(FAILURE_TIMEOUT, attach->name,
                                "\"%s\" is still being attached after attach-timeout: not waiting any longer%s%s",
                                attach->name, attach->shown ? ": " : "", attach->shown ? attach->shown : ""));
}

/* The configured attach-timeout; a file that cannot be read here is not our business, the daemon reports it.
 * UINT64_MAX: no limit. */
static uint64_t attach_timeout(const char *name) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;
        _cleanup_free_ char *message = NULL;

        if (host_config_load(name, &config, &message) < 0)
                return ATTACH_TIMEOUT_USEC;

        return config->attach_timeout_usec;
}

static int append_proxies(sd_bus_message *m) {
        char *addresses[STRING_LIST_MAX + 1] = {};
        int r = 0;

        for (size_t i = 0; i < arg_proxies.n && r >= 0; i++) {
                r = address_normalise(arg_proxies.items[i], addresses + i);
                if (r == -EINVAL) {
                        r = report(FAILURE_USAGE, "attach", "--proxy=%s: expected HOST, HOST:PORT or [IPV6]:PORT",
                                arg_proxies.items[i]);
                        break;
                }
        }

        if (r == 0 && arg_proxies.n > 0) {
                r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", "proxies");
                if (r >= 0)
                        r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, "as");
                if (r >= 0)
                        r = sd_bus_message_append_strv(m, addresses);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r > 0)
                        r = 0;
        }

        for (size_t i = 0; i < arg_proxies.n; i++)
                free(addresses[i]);
        return r;
}

/* Only what was said on the command line: the configuration is the daemon's to read. */
static int append_options(sd_bus_message *m, const char *image) {
        int r;

        r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r < 0)
                return r;
        if (image) {
                r = sd_bus_message_append(m, "{sv}", "image", "s", image);
                if (r < 0)
                        return r;
        }
        if (arg_read_only) {
                r = sd_bus_message_append(m, "{sv}", "read-only", "b", true);
                if (r < 0)
                        return r;
        }
        if (arg_steal) {
                r = sd_bus_message_append(m, "{sv}", "steal", "b", true);
                if (r < 0)
                        return r;
        }
        if (arg_device) {
                r = sd_bus_message_append(m, "{sv}", "device", "s", arg_device);
                if (r < 0)
                        return r;
        }
        r = append_proxies(m);
        if (r != 0)
                return r;

        r = sd_bus_message_close_container(m);
        return r < 0 ? r : 0;
}

static int attach_start(struct attach *attach) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        uint64_t timeout = attach_timeout(attach->name);
        char match[300];
        int r;

        (void) block_signals(SIGINT, SIGTERM, 0);

        r = sd_event_new(&attach->event);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(attach->bus, attach->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        r = sd_event_add_signal(attach->event, NULL, SIGINT, on_interrupt, attach);
        if (r < 0)
                return r;
        r = sd_event_add_signal(attach->event, NULL, SIGTERM, on_interrupt, attach);
        if (r < 0)
                return r;

        r = image_path(attach->name, &attach->path);
        if (r < 0)
                return r;
        snprintf(match, sizeof match,
                "type='signal',sender='" BUS_NAME "',path='%s',interface='" BUS_PROPERTIES
                "',member='PropertiesChanged'",
                attach->path);
        r = sd_bus_add_match(attach->bus, NULL, match, on_change, attach);
        if (r < 0)
                return r;
        /* A supervisor that was restarted meanwhile has a State of its own to tell. */
        r = sd_bus_add_match(attach->bus, NULL,
                "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME "'", on_change,
                attach);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(attach->bus, NULL, "org.freedesktop.DBus.Local", NULL, "org.freedesktop.DBus.Local",
                "Disconnected", on_disconnect, attach);
        if (r < 0)
                return r;

        r = bus_new_change(attach->cli, attach->bus, "AttachImage", &message);
        if (r < 0)
                return r;
        r = sd_bus_message_append(message, "s", attach->name);
        if (r < 0)
                return r;
        r = append_options(message, attach->image);
        if (r != 0)
                return r;

        (void) polkit_agent_start(attach->cli);
        r = sd_bus_call_async(attach->bus, NULL, message, on_answer, attach, BUS_TIMEOUT_CHANGE_USEC);
        if (r < 0)
                return r;

        if (timeout < UINT64_MAX - GRACE_USEC) {
                r = sd_event_add_time_relative(
                        attach->event, NULL, CLOCK_MONOTONIC, timeout + GRACE_USEC, 0, on_timeout, attach);
                if (r < 0)
                        return r;
        }

        return 0;
}

/* A snapshot is read only, and its name is none that this host could have: '@' stands between template and instance in the name of a unit. So vm1@monday is vm1:monday here. */
static void choose_names(struct attach *attach, char *argument, char local[static IVBS_IMAGE_NAME_SIZE]) {
        attach->name = arg_as ? arg_as : argument;
        attach->image = arg_as ? argument : NULL;
        if (!strchr(argument, IVBS_SNAPSHOT_SEPARATOR))
                return;

        arg_read_only = true;
        attach->image = argument;
        if (arg_as)
                return;
        (void) snprintf(local, IVBS_IMAGE_NAME_SIZE, "%s", argument);
        for (char *c = local; *c; c++)
                if (*c == IVBS_SNAPSHOT_SEPARATOR)
                        *c = ':';
        attach->name = local;
}

int verb_attach(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(attach_done) struct attach attach = { .cli = cli };
        char local[IVBS_IMAGE_NAME_SIZE];
        int r;

        choose_names(&attach, arguments[0], local);
        r = image_check_name(attach.name);
        if (r != 0)
                return r;
        if (arg_device && strcmp(arg_device, "nbd") != 0 && strcmp(arg_device, "none") != 0)
                return report(FAILURE_USAGE, "attach", "--device=%s: expected nbd or none", arg_device);

        r = bus_open(cli, &attach.bus);
        if (r != 0)
                return r;

        r = attach_start(&attach);
        if (r != 0)
                return r;

        r = sd_event_loop(attach.event);
        polkit_agent_stop();
        return r;
}
