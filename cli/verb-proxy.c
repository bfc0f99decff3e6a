/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One proxy, by its address. Draining is done when nothing of this host goes to it any more, so that is waited for: the proxy's yes comes before the sessions have moved. Other hosts' sessions move as well, but
 * are not ours to see. */

#include <string.h>
#include <time.h>

#include "bus.h"
#include "config.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define MOVE_TIMEOUT_USEC (30 * UINT64_C(1000000))
#define LOOK_USEC         (1 * UINT64_C(1000000)) /* in case of a change that was not told */

static bool arg_undo;

static const struct option_entry drain_options[] = {
        { "undo", 0, NULL, "Let it serve again", OPTION_FLAG, &arg_undo },
        { NULL },
};

static int run_drain(const struct cli *cli, char *arguments[], unsigned n_arguments);

const struct verb proxy_verbs[] = {
        { "drain", "ADDRESS", "Move everything away from a proxy, and wait until nothing of this host uses it", 1, 1,
                drain_options, run_drain, NULL },
        { NULL },
};

static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static bool has_name(struct json_object *array, const char *name) {
        for (size_t i = 0; i < json_object_array_length(array); i++)
                if (strcmp(json_object_get_string(json_object_array_get_idx(array, i)), name) == 0)
                        return true;
        return false;
}

static int add_name(struct json_object *array, const char *name) {
        struct json_object *item = json_object_new_string(name);

        if (!item || json_object_array_add(array, item) < 0) {
                json_object_put(item);
                return -ENOMEM;
        }
        return 0;
}

/* Who is served by address now; the names of those that were before and no longer are go to moved, each with a line. */
static int look(const struct cli *cli, sd_bus *bus, const char *address, struct json_object **served,
        struct json_object *moved) {
        _cleanup_(json_object_putp) struct json_object *images = NULL, *now = json_object_new_array();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        if (!now)
                return -ENOMEM;
        r = image_load_all(bus, &error, &images);
        if (r < 0)
                return report_bus("see which images have moved", NULL, &error, r);

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);
                const char *name = json_string(image, "name"), *active = json_string(image, "active_proxy");
                bool before = *served && has_name(*served, name);
                /* On its way. */
                bool between = before && !*active && image_state_is_usable(json_string(image, "state"));

                if (between || strcmp(active, address) == 0) {
                        r = add_name(now, name);
                        if (r < 0)
                                return r;
                } else if (before) {
                        r = add_name(moved, name);
                        if (r < 0)
                                return r;
                        if (cli->json == JSON_OFF) {
                                output_text(stdout, name);
                                fputs(*active ? " is served by " : " is not served any more: ", stdout);
                                output_text(stdout, *active ? active : json_string(image, "state"));
                                puts("");
                                fflush(stdout);
                        }
                }
        }

        json_object_put(*served);
        *served = TAKE_PTR(now);
        return 0;
}

static int on_change(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        bool *changed = userdata;

        *changed = true;
        return 0;
}

/* Until nothing of this host is served by it. */
static int wait_moved(const struct cli *cli, sd_bus *bus, const char *address, bool *changed,
        struct json_object **served, struct json_object *moved) {
        uint64_t deadline = now_usec() + MOVE_TIMEOUT_USEC;
        int r;

        for (;;) {
                uint64_t now;

                *changed = false;
                r = look(cli, bus, address, served, moved);
                if (r != 0)
                        return r;
                now = now_usec();
                if (json_object_array_length(*served) == 0 || now >= deadline)
                        return 0;

                while ((r = sd_bus_process(bus, NULL)) > 0 && !*changed)
                        ;
                if (r < 0)
                        return r;
                if (!*changed) {
                        r = sd_bus_wait(bus, deadline - now < LOOK_USEC ? deadline - now : LOOK_USEC);
                        if (r < 0 && r != -EINTR)
                                return r;
                }
        }
}

static int print_json(
        const struct cli *cli, const char *address, struct json_object *moved, struct json_object *served) {
        _cleanup_(json_object_putp) struct json_object *answer = json_object_new_object();

        if (!answer || json_object_object_add(answer, "proxy", json_object_new_string(address)) < 0 ||
                json_object_object_add(answer, "draining", json_object_new_boolean(!arg_undo)) < 0 ||
                json_object_object_add(answer, "moved", json_object_get(moved)) < 0 ||
                json_object_object_add(answer, "served", json_object_get(served)) < 0)
                return -ENOMEM;
        output_json(cli, answer);
        return 0;
}

static int ask(const struct cli *cli, sd_bus *bus, const char *address) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        char action[320];
        int r;

        r = bus_new_change(cli, bus, "DrainProxy", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "sb", address, (int) arg_undo);
        if (r < 0)
                return r;

        r = bus_call_change(cli, bus, message, &error, &reply);
        if (r < 0) {
                snprintf(action, sizeof action, "%s proxy %s", arg_undo ? "undrain" : "drain", address);
                return report_bus(action, NULL, &error, r);
        }
        return 0;
}

static int run_drain(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(json_object_putp) struct json_object *served = NULL, *moved = json_object_new_array();
        _cleanup_free_ char *address = NULL;
        bool changed = false;
        size_t n;
        int r;

        if (!moved)
                return -ENOMEM;
        r = address_normalise(arguments[0], &address);
        if (r == -EINVAL)
                return report(
                        FAILURE_USAGE, "proxy drain", "\"%s\": expected HOST, HOST:PORT or [IPV6]:PORT", arguments[0]);
        if (r < 0)
                return r;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        r = sd_bus_add_match(bus, NULL,
                "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_IMAGE_PREFIX "',interface='" BUS_PROPERTIES
                "',member='PropertiesChanged'",
                on_change, &changed);
        if (r < 0)
                return r;

        /* Before it is asked: whoever moves at once is one that has moved. */
        r = look(cli, bus, address, &served, moved);
        if (r == 0)
                r = ask(cli, bus, address);
        if (r != 0)
                return r;

        if (cli->json == JSON_OFF)
                printf("%s %s\n", address,
                        arg_undo ? "serves again." : "is draining: what comes to it is sent to other proxies.");
        if (!arg_undo) {
                (void) fflush(stdout); /* output_flush() hears of a failure */
                r = wait_moved(cli, bus, address, &changed, &served, moved);
                if (r != 0)
                        return r;
        }

        n = json_object_array_length(served);
        if (cli->json != JSON_OFF)
                r = print_json(cli, address, moved, served);
        if (r != 0 || arg_undo || n == 0)
                return r;
        return report_plain(FAILURE_TIMEOUT,
                "%zu image%s of this host %s still served by %s after %u s: is there another proxy? See "
                "\"blockstorectl proxies\". It goes on draining; --undo ends that",
                n, n == 1 ? "" : "s", n == 1 ? "is" : "are", address,
                (unsigned) (MOVE_TIMEOUT_USEC / UINT64_C(1000000)));
}
