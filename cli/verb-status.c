/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* All facts of one image in a block for reading, in the manner of systemctl status; without a name, the daemon and a
 * count of the images by state, and a line for each that needs looking at. The exit code says whether the question
 * could be answered, not whether the answer is good news: scripts read State from --json. */

#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <time.h>

#include "bus-json.h"
#include "bus.h"
#include "care.h"
#include "host-config.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"
#include "way.h"

#define STORE_PATIENCE_USEC 2000000U

static void label(const char *name) {
        printf("%12s: ", name);
}

static void fact(const char *name, const char *text) {
        label(name);
        output_text(stdout, *text ? text : "-");
        fputc('\n', stdout);
}

static void show_size(struct json_object *image) {
        uint64_t size = json_number(image, "size");
        char buffer[FORMAT_MAX];

        label("Size");
        if (size > 0)
                printf("%s (%" PRIu64 " bytes), %s\n", format_size(buffer, size), size,
                        json_is_true(image, "read_only") ? "read-only" : "read-write");
        else
                puts("-");
}

static void show_device(struct json_object *image) {
        const char *device = json_string(image, "device");
        char location[128];

        label("Device");
        if (*device) {
                image_location(image, location, sizeof location);
                printf("%s (%s)\n", location, device);
        } else
                puts("-");
}

static void show_unit(struct json_object *image) {
        label("Unit");
        output_text(stdout, json_string(image, "unit"));
        if (json_is_true(image, "configured"))
                printf(" (configured in %s/images.d/%s.json)\n", HOST_CONFIG_DIRECTORY, json_string(image, "name"));
        else
                puts(" (not configured here)");
}

static void show_failures(struct json_object *proxy) {
        uint64_t failures = json_number(proxy, "failures");
        const char *reason = json_string(proxy, "reason");

        if (failures > 0)
                printf(", %" PRIu64 " failure%s", failures, failures == 1 ? "" : "s");
        if (*reason) {
                fputs(": ", stdout);
                output_text(stdout, reason);
        }
}

static void show_proxies(struct json_object *image) {
        struct json_object *proxies;
        char buffer[FORMAT_MAX];

        if (!json_object_object_get_ex(image, "proxies", &proxies) || json_object_array_length(proxies) == 0) {
                fact("Proxies", "");
                return;
        }

        for (size_t i = 0; i < json_object_array_length(proxies); i++) {
                struct json_object *proxy = json_object_array_get_idx(proxies, i);
                const char *state = json_string(proxy, "state");
                uint64_t round_trip = json_number(proxy, "round_trip_usec");

                if (i == 0)
                        label("Proxies");
                else
                        printf("%14s", "");
                output_text(stdout, json_string(proxy, "address"));
                fputs(" (", stdout);
                fputs(output_color(stdout, state_color(state)), stdout);
                output_text(stdout, state);
                fputs(output_color(stdout, COLOR_NONE), stdout);
                if (round_trip > 0)
                        printf(", %s", format_usec(buffer, round_trip));
                show_failures(proxy);
                puts(")");
        }
}

static void show_sessions(struct json_object *image) {
        const char *standby = json_string(image, "standby_proxy");

        label("Sessions");
        printf("%" PRIu64, json_number(image, "sessions"));
        if (*json_string(image, "active_proxy")) {
                fputs(" to ", stdout);
                output_text(stdout, json_string(image, "active_proxy"));
        }
        if (*standby) {
                fputs(", one in reserve to ", stdout);
                output_text(stdout, standby);
        }
        fputc('\n', stdout);
}

static void show_encryption(struct json_object *image) {
        const char *proxy = json_string(image, "active_proxy");
        char interface[WAY_INTERFACE_SIZE] = "";

        if (!*proxy)
                return;
        switch (way_of(proxy, interface)) {
        case WAY_TLS:
                label("Encryption");
                puts("TLS");
                break;
        case WAY_TUNNEL:
                label("Encryption");
                printf("by the WireGuard tunnel %s\n", interface);
                break;
        case WAY_OPEN:
                label("Encryption");
                puts("none: what is read and written can be read, and changed, on the network");
                break;
        case WAY_LOCAL:
        case WAY_NONE:
        default:
                break;
        }
}

/* What a user must know who relies on the server in use. */
static void show_missing(struct json_object *image) {
        static const struct {
                const char *feature, *text;
        } risks[] = {
                { "lease", "another host that attaches the image is not kept away: two writers destroy it" },
                { "fence", "a write that a lost connection had in hand may still take effect after a later one" },
                { "flush", "a flush does not reach the disk: what was synced can be lost with the server" },
                { "durability", "that the server lost acknowledged writes (power, crash) is not noticed" },
        };
        struct json_object *missing;
        unsigned n = 0;

        if (!json_object_object_get_ex(image, "missing_features", &missing) ||
                !json_object_is_type(missing, json_type_array))
                return;

        for (size_t i = 0; i < json_object_array_length(missing); i++) {
                const char *feature = json_object_get_string(json_object_array_get_idx(missing, i));
                const char *text = "";

                for (size_t k = 0; k < ELEMENTSOF(risks); k++)
                        if (strcmp(risks[k].feature, feature) == 0)
                                text = risks[k].text;
                if (n++ == 0)
                        label("Not given");
                else
                        printf("%14s", "");
                fputs(output_color(stdout, COLOR_YELLOW), stdout);
                output_text(stdout, feature);
                fputs(output_color(stdout, COLOR_NONE), stdout);
                printf("%s%s\n", *text ? ": " : "", text);
        }
}

/* The bound of the bucket in which the request is that this share of all is not slower than; UINT64_MAX beyond all bounds. */
static uint64_t quantile_bound(struct json_object *buckets, uint64_t total, double share) {
        double wanted = share * (double) total;
        uint64_t n = 0;

        for (size_t i = 0; i < json_object_array_length(buckets); i++) {
                struct json_object *bucket = json_object_array_get_idx(buckets, i);

                n += json_number(bucket, "count");
                if ((double) n >= wanted && json_object_object_get_ex(bucket, "up_to_usec", NULL))
                        return json_number(bucket, "up_to_usec");
        }
        return UINT64_MAX;
}

static void show_quantile(struct json_object *buckets, uint64_t total, double share, const char *name) {
        uint64_t bound = quantile_bound(buckets, total, share);
        char buffer[FORMAT_MAX];

        if (bound == UINT64_MAX)
                printf(" %s beyond all bounds", name);
        else
                printf(" %s within %s", name, format_usec(buffer, bound));
}

/* A histogram knows no more than between which bounds a request was, so that is what is said. */
static void show_latencies(struct json_object *image) {
        static const struct {
                const char *key, *name;
        } kinds[] = { { "read_latency", "reads" }, { "write_latency", "writes" }, { "flush_latency", "flushes" } };
        const char *before = NULL;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                struct json_object *latency, *buckets;
                uint64_t total = 0;

                if (!json_object_object_get_ex(image, kinds[i].key, &latency) ||
                        !json_object_object_get_ex(latency, "buckets", &buckets) ||
                        !json_object_is_type(buckets, json_type_array))
                        continue;
                for (size_t k = 0; k < json_object_array_length(buckets); k++)
                        total += json_number(json_object_array_get_idx(buckets, k), "count");
                if (total == 0)
                        continue;
                if (before)
                        fputs(before, stdout);
                else
                        label("Latency");
                before = "; ";
                fputs(kinds[i].name, stdout);
                show_quantile(buckets, total, 0.5, "p50");
                fputc(',', stdout);
                show_quantile(buckets, total, 0.99, "p99");
        }
        if (before)
                fputc('\n', stdout);
}

static void show_stalls(struct json_object *image) {
        uint64_t now = json_number(image, "stalled_usec");
        char buffer[FORMAT_MAX];

        if (json_number(image, "stalls") == 0)
                return;
        label("Stalls");
        printf("%" PRIu64 ", the longest %s", json_number(image, "stalls"),
                format_usec(buffer, json_number(image, "longest_stall_usec")));
        if (now > 0)
                printf("; nothing has been answered for %s", format_usec(buffer, now));
        fputc('\n', stdout);
}

static void show_counters(struct json_object *image) {
        char read[FORMAT_MAX], written[FORMAT_MAX], latency[FORMAT_MAX];

        label("I/O");
        printf("%" PRIu64 " reads (%s), %" PRIu64 " writes (%s), %" PRIu64 " flushes, %" PRIu64 " errors\n",
                json_number(image, "read_operations"), format_size(read, json_number(image, "read_bytes")),
                json_number(image, "write_operations"), format_size(written, json_number(image, "written_bytes")),
                json_number(image, "flush_operations"), json_number(image, "errors"));
        label("In flight");
        printf("%" PRIu64, json_number(image, "in_flight"));
        if (json_number(image, "latency_usec") > 0)
                printf(", mean latency %s", format_usec(latency, json_number(image, "latency_usec")));
        fputc('\n', stdout);
        show_latencies(image);
        show_stalls(image);
        label("Failovers");
        printf("%" PRIu64, json_number(image, "failovers"));
        if (json_number(image, "reconnects") > 0)
                printf(", %" PRIu64 " connections made anew", json_number(image, "reconnects"));
        fputc('\n', stdout);
        if (json_number(image, "retained_bytes") > 0) {
                label("Retained");
                printf("%s acknowledged, kept until known to be durable\n",
                        format_size(read, json_number(image, "retained_bytes")));
        }
}

/* " since 2026-01-31 13:05:09 CET, 12min", in local time; nothing when it is not known. */
static void since_print(uint64_t since_usec) {
        time_t now = time(NULL), since = (time_t) (since_usec / 1000000);
        char text[64], ago[FORMAT_MAX];
        struct tm local;

        if (since_usec == 0 || !localtime_r(&since, &local) ||
                strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &local) == 0)
                return;
        printf(" since %s", text);
        if (now >= since)
                printf(", %s", format_duration(ago, (uint64_t) (now - since)));
}

static void state_print(struct json_object *image) {
        const char *state = json_string(image, "state"), *reason = json_string(image, "state_reason");

        fputs(output_color(stdout, state_color(state)), stdout);
        output_text(stdout, state);
        fputs(output_color(stdout, COLOR_NONE), stdout);
        since_print(json_number(image, "state_since"));
        if (*reason) {
                fputs(": ", stdout);
                output_text(stdout, reason);
        }
        fputc('\n', stdout);
}

/* A reason that names the command itself needs no second one. */
static void next_step_print(struct json_object *image) {
        const char *state = json_string(image, "state"), *reason = json_string(image, "state_reason");
        char command[512];

        if (strcmp(state, "failed") == 0 && !strstr(reason, "systemctl reset-failed")) {
                snprintf(command, sizeof command,
                        "systemctl reset-failed image@%s.service && systemctl start image@%s.service",
                        json_string(image, "name"), json_string(image, "name"));
                fact("Once mended", command);
                /* A name that was mistyped, most likely. */
                if (!json_is_true(image, "configured")) {
                        snprintf(command, sizeof command, "systemctl reset-failed image@%s.service",
                                json_string(image, "name"));
                        fact("To forget it", command);
                }
        }
        if (strcmp(state, "failed") == 0 || strcmp(state, "parked") == 0) {
                snprintf(command, sizeof command, "blockstorectl doctor %s", json_string(image, "name"));
                fact("To find out", command);
        }
}

/* root's, as most are, is nothing to tell. */
static void show_owner(struct json_object *image) {
        uint64_t uid = json_number(image, "owner");
        const struct passwd *user;

        if (json_is_true(image, "detach_pending"))
                fact("Detach", "waits until nobody uses the device");
        if (uid == 0)
                return;
        label("Attached by");
        /* The program has one thread. */
        /* cppcheck-suppress getpwuidCalled */
        user = getpwuid((uid_t) uid);
        if (user)
                output_text(stdout, user->pw_name);
        else
                printf("user %" PRIu64, uid);
        fputc('\n', stdout);
}

static void show_limits(struct json_object *image) {
        struct json_object *care;

        if (!json_object_object_get_ex(image, "care", &care) ||
                (json_number(care, "iops") == 0 && json_number(care, "bandwidth") == 0))
                return;
        label("Limits");
        (void) care_print_limits(
                json_number(care, "iops"), json_number(care, "bandwidth"), json_number(care, "burst_usec"));
        fputc('\n', stdout);
}

static void show_image(struct json_object *image) {
        const char *state = json_string(image, "state");

        printf("%s%s%s ", output_color(stdout, state_color(state)), output_bullet(), output_color(stdout, COLOR_NONE));
        output_text(stdout, json_string(image, "name"));
        fputc('\n', stdout);

        label("State");
        state_print(image);
        next_step_print(image);
        show_owner(image);
        fact("Image", json_string(image, "image_name"));
        fact("UUID", json_string(image, "uuid"));
        show_size(image);
        show_device(image);
        show_unit(image);
        show_proxies(image);
        if (strcmp(state, "inactive") != 0) {
                show_sessions(image);
                show_encryption(image);
                show_counters(image);
                show_limits(image);
                show_missing(image);
        }
}

static int status_of_image(const struct cli *cli, sd_bus *bus, const char *name) {
        _cleanup_(json_object_putp) struct json_object *image = NULL, *care = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        char action[128];
        int r;

        r = image_load(bus, name, &error, &image);
        if (r < 0) {
                snprintf(action, sizeof action, "show \"%s\"", name);
                return report_bus(action, name, &error, r);
        }

        /* Of the store, which may not answer: then it is left out. */
        if (strcmp(json_string(image, "state"), "attached") == 0 &&
                care_look(bus, json_string(image, "image_name"), STORE_PATIENCE_USEC, &care) >= 0 &&
                json_object_object_add(image, "care", json_object_get(care)) < 0)
                return -ENOMEM;
        if (!output_json(cli, image))
                show_image(image);
        return 0;
}

static bool needs_attention(const char *state) {
        return strcmp(state, "attached") != 0 && strcmp(state, "inactive") != 0;
}

static void show_summary(const char *version, struct json_object *images, struct json_object *states) {
        const char *before = ": ";

        printf("blockstored %s, %zu image%s", version, json_object_array_length(images),
                json_object_array_length(images) == 1 ? "" : "s");
        json_object_object_foreach(states, state, count) {
                printf("%s%s %s%s%s", before, json_object_get_string(count), output_color(stdout, state_color(state)),
                        state, output_color(stdout, COLOR_NONE));
                before = ", ";
        }
        fputc('\n', stdout);

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (!needs_attention(json_string(image, "state")))
                        continue;
                fputs("  ", stdout);
                output_text(stdout, json_string(image, "name"));
                fputs(": ", stdout);
                state_print(image);
        }
}

/* {"attached": 2, "failed": 1} */
static int count_states(struct json_object *images, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *states = json_object_new_object();

        if (!states)
                return -ENOMEM;

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                const char *state = json_string(json_object_array_get_idx(images, i), "state");

                if (json_object_object_add(states, state, json_object_new_uint64(json_number(states, state) + 1)) < 0)
                        return -ENOMEM;
        }

        *ret = TAKE_PTR(states);
        return 0;
}

static int status_of_all(const struct cli *cli, sd_bus *bus) {
        _cleanup_(json_object_putp) struct json_object *images = NULL, *states = NULL,
                                                       *summary = json_object_new_object();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *version = NULL;
        int r;

        if (!summary)
                return -ENOMEM;

        r = sd_bus_get_property_string(bus, BUS_NAME, BUS_PATH, BUS_MANAGER, "Version", &error, &version);
        if (r >= 0)
                r = image_load_all(bus, &error, &images);
        if (r < 0)
                return report_bus("show the state of this host's images", NULL, &error, r);

        r = count_states(images, &states);
        if (r < 0)
                return r;

        if (cli->json == JSON_OFF) {
                show_summary(version, images, states);
                return 0;
        }

        if (json_object_object_add(summary, "version", json_object_new_string(version)) < 0 ||
                json_object_object_add(summary, "states", json_object_get(states)) < 0 ||
                json_object_object_add(summary, "images", json_object_get(images)) < 0)
                return -ENOMEM;
        output_json(cli, summary);
        return 0;
}

int verb_status(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r;

        if (n_arguments > 0) {
                r = image_check_name(arguments[0]);
                if (r != 0)
                        return r;
        }

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        return n_arguments > 0 ? status_of_image(cli, bus, arguments[0]) : status_of_all(cli, bus);
}
