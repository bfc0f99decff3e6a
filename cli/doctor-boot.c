/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What works only at boot and at shutdown, and is therefore missed too late: the generator that makes units of imagetab, fstab and crypttab, and the notice of a shutdown that keeps it from waiting for
 * proxies that are gone. What the generator would say of the tables it is asked itself. */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "host-config.h"
#include "image.h"
#include "output.h"

#define SYSTEMD   "org.freedesktop.systemd1"
#define GENERATOR "blockstore-generator"
#define NOTICE    "blockstore-shutdown.service"
#define NOTE      HOST_RUNTIME_DIRECTORY "/shutdown"
#define IMAGETAB  HOST_CONFIG_DIRECTORY "/imagetab"
#define PATH_SIZE 128

/* A file of the same name further up hides those below: systemd.generator(7). */
static const char *const directories[] = {
        "/run/systemd/system-generators",
        "/etc/systemd/system-generators",
        "/usr/local/lib/systemd/system-generators",
        "/usr/lib/systemd/system-generators",
};

#define INSTALLED (ELEMENTSOF(directories) - 1)

/* Which file systemd takes: its path, and the index of its directory. */
static unsigned find_generator(char path[static PATH_SIZE]) {
        struct stat st;

        for (unsigned i = 0; i < INSTALLED; i++) {
                snprintf(path, PATH_SIZE, "%s/" GENERATOR, directories[i]);
                if (stat(path, &st) == 0)
                        return i;
        }
        snprintf(path, PATH_SIZE, "%s/" GENERATOR, directories[INSTALLED]);
        return INSTALLED;
}

bool doctor_has_generator(void) {
        char path[PATH_SIZE];

        return find_generator(path) == INSTALLED && access(path, X_OK) == 0;
}

/* Whether the installed generator is the one that systemd runs; has said so if not. */
static bool look_for_generator(struct doctor *d, char path[static PATH_SIZE]) {
        char command[DOCTOR_COMMAND_MAX];
        struct stat st;

        if (find_generator(path) == INSTALLED) {
                if (access(path, X_OK) == 0)
                        return true;
                found(d, FINDING_ERROR, path, doctor_reinstall(), "The generator is not there: %s.", strerror(errno));
                return false;
        }

        snprintf(command, sizeof command, "rm %s && systemctl daemon-reload", path);
        if (stat(path, &st) < 0 || st.st_size == 0 || !S_ISREG(st.st_mode))
                found(d, FINDING_ERROR, path, command,
                        "The generator is masked: imagetab is not read, and nothing attaches the images that fstab "
                        "and "
                        "crypttab name.");
        else
                found(d, FINDING_WARNING, path, command, "This file replaces the installed generator.");
        return false;
}

static bool names_an_image(const char *table) {
        _cleanup_fclose_ FILE *f = fopen(table, "re");
        char line[4096];

        while (f && fgets(line, sizeof line, f))
                if (line[0] != '#' && (strcmp(table, IMAGETAB) == 0 || strstr(line, "/dev/blockstore/")))
                        return true;
        return false;
}

/* systemd has read its units, and run its generators, at a time that it tells. */
static unsigned look_at_age(struct doctor *d, const char *const tables[], size_t n) {
        uint64_t loaded_usec = 0;
        unsigned n_newer = 0;

        if (!d->bus ||
                sd_bus_get_property_trivial(d->bus, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager",
                        "UnitsLoadTimestamp", NULL, 't', &loaded_usec) < 0 ||
                loaded_usec == 0)
                return 0;

        for (size_t i = 0; i < n; i++) {
                struct stat st;

                if (stat(tables[i], &st) < 0 || !names_an_image(tables[i]) ||
                        (uint64_t) st.st_mtim.tv_sec * 1000000U + (uint64_t) st.st_mtim.tv_nsec / 1000U <= loaded_usec)
                        continue;
                found(d, FINDING_WARNING, tables[i], "systemctl daemon-reload",
                        "The file has changed since systemd read it: what it says holds from the next boot or "
                        "\"daemon-reload\" on.");
                n_newer++;
        }
        return n_newer;
}

/* "<PRIORITY>FILE:LINE: TEXT". A line of fstab that lacks _netdev is the check fstab's, which knows how to mend it. */
static bool pass_on(struct doctor *d, char *line) {
        char command[DOCTOR_COMMAND_MAX], *file = line + 3, *text = strstr(line, ": "), *number;
        bool is_error;

        if (line[0] != '<' || line[1] < '0' || line[1] > '7' || line[2] != '>' || !text)
                return false;
        is_error = line[1] <= '3';
        *text = '\0';
        number = strrchr(file, ':');
        if (!is_error && strncmp(file, "/etc/fstab", strlen("/etc/fstab")) == 0)
                return false;

        if (number) {
                *number++ = '\0';
                snprintf(command, sizeof command, "${EDITOR:-editor} +%s %s", number, file);
        }
        found(d, is_error ? FINDING_ERROR : FINDING_WARNING, file, number ? command : NULL, "%s%s%s%s",
                number ? "line " : "", number ?: "", number ? ": " : "", text + 2);
        return true;
}

void check_generator(struct doctor *d) {
        static const char *const tables[] = { IMAGETAB, "/etc/fstab", "/etc/crypttab" };
        char path[PATH_SIZE], output[DOCTOR_OUTPUT_MAX], *line, *rest = output;
        const char *argv[] = { path, "--check", NULL };
        unsigned n = 0;
        int r;

        if (!look_for_generator(d, path))
                return;

        r = doctor_run(argv, output);
        if (r != 0) {
                found(d, FINDING_SKIPPED, path, NULL, "The generator cannot be asked: %s.",
                        r < 0 ? strerror(-r) : "it has failed");
                return;
        }
        while ((line = strsep(&rest, "\n")))
                n += pass_on(d, line);
        n += look_at_age(d, tables, ELEMENTSOF(tables));
        if (n == 0)
                found(d, FINDING_OK, NULL, NULL,
                        "The generator is installed, and finds nothing wrong in imagetab, fstab and crypttab.");
}

static unsigned count_usable(struct doctor *d) {
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        unsigned n = 0;

        if (image_load_all(d->bus, &error, &images) < 0)
                return 0;
        for (size_t i = 0; i < json_object_array_length(images); i++)
                if (image_state_is_usable(json_string(json_object_array_get_idx(images, i), "state")))
                        n++;
        return n;
}

static char *manager_state(struct doctor *d) {
        char *state = NULL;

        if (sd_bus_get_property_string(
                    d->bus, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager", "SystemState", NULL, &state) < 0)
                return NULL;
        return state;
}

void check_shutdown(struct doctor *d) {
        _cleanup_free_ char *path = NULL, *load = NULL, *active = NULL, *state = NULL;
        unsigned n_images;
        int r;

        if (!doctor_needs_systemd(d))
                return;

        r = systemd_unit_path(d, NOTICE, &path);
        if (r >= 0)
                r = sd_bus_get_property_string(d->bus, SYSTEMD, path, SYSTEMD ".Unit", "LoadState", NULL, &load);
        if (r >= 0)
                r = sd_bus_get_property_string(d->bus, SYSTEMD, path, SYSTEMD ".Unit", "ActiveState", NULL, &active);
        if (r < 0) {
                found(d, FINDING_SKIPPED, NOTICE, NULL, "systemd cannot be asked about the unit: %s.", strerror(-r));
                return;
        }

        state = manager_state(d);
        if (access(NOTE, F_OK) == 0 && state && strcmp(state, "stopping") != 0) {
                found(d, FINDING_ERROR, NOTE, "rm " NOTE " && blockstorectl upgrade",
                        "Workers are told that the system goes down, which it does not: they give I/O up that waits "
                        "longer than 5 s, and stopping an image unmounts what is on it.");
                return;
        }
        if (strcmp(load, "masked") == 0) {
                found(d, FINDING_ERROR, NOTICE, "systemctl unmask " NOTICE " && systemctl start " NOTICE,
                        "The unit is masked: a shutdown waits for file systems on images that no proxy serves any "
                        "more.");
                return;
        }
        if (strcmp(load, "loaded") != 0) {
                found(d, FINDING_ERROR, NOTICE, doctor_reinstall(), "The unit is not installed.");
                return;
        }

        n_images = count_usable(d);
        if (n_images > 0 && strcmp(active, "active") != 0)
                found(d, FINDING_ERROR, NOTICE, "systemctl start " NOTICE,
                        "The unit is %s, and %u image%s attached: a shutdown would wait for file systems on images "
                        "that no proxy serves any more.",
                        active, n_images, n_images == 1 ? " is" : "s are");
        else
                found(d, FINDING_OK, NULL, NULL, "Workers will be told of a shutdown.");
}
