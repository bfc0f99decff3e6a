/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looks at everything that an image needs on this host, and says of each thing that is not as it should be what it is and which command mends it. The table is in the order in which things stand upon
 * each other: the first error explains those below it. */

#include <string.h>

#include "bus.h"
#include "doctor.h"
#include "host-config.h"
#include "image.h"
#include "nearest.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

static struct string_list arg_checks;

const struct option_entry doctor_options[] = {
        { "check", 'c', "ID", "Only this check (may be repeated)", OPTION_LIST, &arg_checks },
        { NULL },
};

static const struct check {
        const char *id; /* what scripts and --check know it by: never changes */
        const char *what;
        check_run_t run;
} checks[] = {
        { "kernel-version", "The kernel is new enough", check_kernel_version },
        { "nbd-module", "The nbd module is loaded", check_nbd_module },
        { "nbd-partitions", "Partitions on images appear", check_nbd_partitions },
        { "io-uring", "io_uring may be used", check_io_uring },
        { "users", "Users and group exist", check_users },
        { "group-members", "Nobody has raw access unawares", check_group_members },
        { "directories", "Directories exist", check_directories },
        { "run-space", "There is room below /run", check_run_space },
        { "udev-rule", "The udev rule is installed and not overridden", check_udev_rule },
        { "units", "Units are installed, loaded and not masked", check_units },
        { "unit-settings", "No setting of a unit weakens or breaks it", check_unit_settings },
        { "bus", "The system bus can be reached", check_bus },
        { "bus-policy", "The bus policy is installed and in use", check_bus_policy },
        { "bus-name", "blockstored answers on the bus", check_bus_name },
        { "polkit", "polkit knows the actions", check_polkit },
        { "host-config", "blockstore.json is valid and complete", check_host_config },
        { "image-config", "Settings of images are valid", check_image_config },
        { "proxyd-config", "Settings of proxies on this machine are valid", check_proxyd_config },
        { "credentials", "There is a password for each image", check_credentials },
        { "proxies", "Proxies can be reached and accept the login", check_proxies },
        { "store-images", "The store has the images", check_store_images },
        { "encryption", "Nobody on the way can read along", check_encryption },
        { "clock", "The clock is right", check_clock },
        { "generator", "imagetab, fstab and crypttab are read at boot", check_generator },
        { "fstab", "Mounts wait for their images", check_fstab },
        { "ordering", "Units have an order without cycles", check_ordering },
        { "shutdown", "A shutdown does not wait for dead proxies", check_shutdown },
        { "failed-units", "No unit has failed", check_failed_units },
        { "image-states", "Attached images work", check_image_states },
        { "udev-links", "Devices have their names", check_udev_links },
};

static bool is_wanted(const struct check *check) {
        if (arg_checks.n == 0)
                return true;
        for (size_t i = 0; i < arg_checks.n; i++)
                if (strcmp(arg_checks.items[i], check->id) == 0)
                        return true;

        return false;
}

static int refuse_unknown_checks(void) {
        for (size_t k = 0; k < arg_checks.n; k++) {
                struct nearest nearest = { .word = arg_checks.items[k] };
                bool known = false;

                for (unsigned i = 0; i < ELEMENTSOF(checks); i++) {
                        known = known || strcmp(checks[i].id, arg_checks.items[k]) == 0;
                        nearest_consider(&nearest, checks[i].id);
                }
                if (known)
                        continue;
                if (nearest.best)
                        return report(FAILURE_USAGE, "doctor", "there is no check \"%s\": did you mean \"%s\"?",
                                arg_checks.items[k], nearest.best);
                return report_plain(FAILURE_USAGE,
                        "there is no check \"%s\". The second word of each line of \"blockstorectl doctor\" is one",
                        arg_checks.items[k]);
        }

        return 0;
}

static void strings_free(char ***strings) {
        for (char **s = *strings; s && *s; s++)
                free(*s);
        free(*strings);
}

static int append(char ***strings, size_t *n, const char *text) {
        char **grown;

        for (size_t i = 0; i < *n; i++)
                if (strcmp((*strings)[i], text) == 0)
                        return 0;

        grown = reallocarray(*strings, *n + 2, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        *strings = grown;
        grown[*n] = strdup(text);
        grown[*n + 1] = NULL;
        return grown[(*n)++] ? 0 : -ENOMEM;
}

/* The images that are named, or all that are configured or attached. */
static int choose_images(sd_bus *bus, char *arguments[], unsigned n_arguments, char ***ret) {
        _cleanup_(json_object_putp) struct json_object *attached = NULL;
        _cleanup_(strings_free) char **configured = NULL, **images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        size_t n = 0;
        int r = 0;

        images = calloc(1, sizeof(char *));
        if (!images)
                return -ENOMEM;

        for (unsigned i = 0; i < n_arguments && r >= 0; i++)
                r = append(&images, &n, arguments[i]);
        if (n_arguments == 0 && host_config_list_images(&configured) >= 0)
                for (char **name = configured; *name && r >= 0; name++)
                        r = append(&images, &n, *name);
        if (n_arguments == 0 && bus && image_load_all(bus, &error, &attached) >= 0)
                for (size_t i = 0; i < json_object_array_length(attached) && r >= 0; i++)
                        r = append(&images, &n, json_string(json_object_array_get_idx(attached, i), "name"));
        if (r < 0)
                return r;

        *ret = TAKE_PTR(images);
        return 0;
}

static enum color color_of(const char *status) {
        return strcmp(status, "ok") == 0        ? COLOR_GREEN
               : strcmp(status, "error") == 0   ? COLOR_RED
               : strcmp(status, "warning") == 0 ? COLOR_YELLOW
                                                : COLOR_GREY;
}

static void show(const struct doctor *d) {
        for (size_t i = 0; i < json_object_array_length(d->findings); i++) {
                struct json_object *finding = json_object_array_get_idx(d->findings, i);
                const char *status = json_string(finding, "status"), *subject = json_string(finding, "subject"),
                           *command = json_string(finding, "command");

                printf("%s%-8s%s %-15s ", output_color(stdout, color_of(status)), status,
                        output_color(stdout, COLOR_NONE), json_string(finding, "id"));
                output_text(stdout, subject);
                fputs(*subject ? ": " : "", stdout);
                output_text(stdout, json_string(finding, "message"));
                fputc('\n', stdout);
                if (*command && strcmp(status, "ok") != 0) {
                        fputs("           # ", stdout);
                        output_text(stdout, command);
                        fputc('\n', stdout);
                }
        }

        if (!d->cli->no_legend)
                printf("%u ok, %u warning%s, %u error%s, %u skipped%s\n", d->counts[FINDING_OK],
                        d->counts[FINDING_WARNING], d->counts[FINDING_WARNING] == 1 ? "" : "s",
                        d->counts[FINDING_ERROR], d->counts[FINDING_ERROR] == 1 ? "" : "s", d->counts[FINDING_SKIPPED],
                        d->counts[FINDING_SKIPPED] > 0 && geteuid() != 0 ? " (as root it could be more)" : "");
}

int verb_doctor(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(json_object_putp) struct json_object *findings = json_object_new_array();
        _cleanup_(strings_free) char **images = NULL;
        struct doctor d = { .cli = cli, .findings = findings };
        int r;

        if (!findings)
                return -ENOMEM;
        for (unsigned i = 0; i < n_arguments; i++) {
                r = image_check_name(arguments[i]);
                if (r != 0)
                        return r;
        }
        r = refuse_unknown_checks();
        if (r != 0)
                return r;

        /* That there is no bus is a finding, not the end. */
        d.bus_error = sd_bus_open_system(&bus);
        d.bus = d.bus_error >= 0 ? bus : NULL;
        r = choose_images(d.bus, arguments, n_arguments, &images);
        if (r < 0)
                return r;
        d.images = images;

        for (unsigned i = 0; i < ELEMENTSOF(checks) && d.error == 0; i++) {
                if (!is_wanted(checks + i))
                        continue;
                d.id = checks[i].id;
                d.what = checks[i].what;
                checks[i].run(&d);
        }
        if (d.error < 0)
                return d.error;

        if (!output_json(cli, findings))
                show(&d);
        return d.counts[FINDING_ERROR] > 0     ? DOCTOR_EXIT_ERRORS
               : d.counts[FINDING_WARNING] > 0 ? DOCTOR_EXIT_WARNINGS
                                               : 0;
}
