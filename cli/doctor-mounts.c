/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is mounted at boot from images. Without _netdev systemd takes a line of fstab for a local file system, which the network waits for, which the image waits for; without a dependency on the image
 * nothing attaches it, or nothing keeps it attached until the file system is unmounted. The generator mends the former and writes the latter; without it the line has to say both. Cycles are looked for by systemd
 * itself. */

#include <mntent.h>
#include <string.h>

#include "doctor.h"
#include "host-config.h"

#define FSTAB   "/etc/fstab"
#define LINKS   "/dev/blockstore/"
#define ANALYZE "/usr/bin/systemd-analyze"
#define NAMES   64U

/* "data" of /dev/blockstore/data-part1; the image's name may have "-part" itself, so only digits at the end count. */
static void image_of_link(const char *link, char *name, size_t size) {
        size_t n;
        char *part;

        snprintf(name, size, "%s", link + strlen(LINKS));
        n = strlen(name);
        while (n > 0 && name[n - 1] >= '0' && name[n - 1] <= '9')
                n--;
        part = n >= 5 && n < strlen(name) && strncmp(name + n - 5, "-part", 5) == 0 ? name + n - 5 : NULL;
        if (part)
                *part = '\0';
}

static void add_option_command(const char *link, const char *option, char command[static DOCTOR_COMMAND_MAX]) {
        snprintf(command, DOCTOR_COMMAND_MAX,
                "sed -i '\\|^[[:space:]]*%s[[:space:]]|s|[^[:space:]]\\+|&,%s|4' " FSTAB " && systemctl daemon-reload",
                link, option);
}

static bool has_option(const char *options, const char *option) {
        size_t n = strlen(option);

        for (const char *p = options; (p = strstr(p, option)); p += n)
                if ((p == options || p[-1] == ',') && (p[n] == '\0' || p[n] == ',' || p[n] == '='))
                        return true;

        return false;
}

static void look_at_line(struct doctor *d, const struct mntent *line) {
        char name[256], target[300], service[300], option[320], command[DOCTOR_COMMAND_MAX];
        const char *link = line->mnt_fsname;

        image_of_link(link, name, sizeof name);
        if (!image_local_name_is_valid(name)) {
                found(d, FINDING_ERROR, link, "${EDITOR:-editor} " FSTAB,
                        "The line in " FSTAB " cannot mean an image: \"%s\" is no name of one.", name);
                return;
        }

        snprintf(target, sizeof target, "x-systemd.requires=image@%s.target", name);
        snprintf(service, sizeof service, "x-systemd.requires=image@%s.service", name);
        if (!has_option(line->mnt_opts, "_netdev")) {
                add_option_command(link, "_netdev", command);
                if (doctor_has_generator())
                        found(d, FINDING_WARNING, link, command,
                                "The line in " FSTAB " lacks _netdev: it is taken as if it had _netdev and nofail.");
                else
                        found(d, FINDING_ERROR, link, command,
                                "The line in " FSTAB
                                " lacks _netdev: at boot it would be mounted before the network is up, and hangs.");
        } else if (strstr(line->mnt_opts, service)) {
                snprintf(command, sizeof command, "sed -i 's|%s|%s|' " FSTAB " && systemctl daemon-reload", service,
                        target);
                found(d, FINDING_WARNING, link, command,
                        "The line in " FSTAB " depends on the service: a restart of the worker unmounts the file "
                        "system. Depend on the target.");
        } else if (!strstr(line->mnt_opts, target) && !doctor_has_generator()) {
                snprintf(option, sizeof option, "%s", target);
                add_option_command(link, option, command);
                found(d, FINDING_WARNING, link, command,
                        "The line in " FSTAB " does not depend on image@%s.target: nothing attaches the image for it, "
                        "or keeps it attached until it is unmounted.",
                        name);
        } else
                found(d, FINDING_OK, link, NULL, "The line in " FSTAB " has what it needs.");
}

void check_fstab(struct doctor *d) {
        FILE *f = setmntent(FSTAB, "re");
        struct mntent line;
        char buffer[4096];
        unsigned n = 0;

        if (!f) {
                found(d, FINDING_OK, NULL, NULL, "There is no " FSTAB ".");
                return;
        }
        while (getmntent_r(f, &line, buffer, sizeof buffer))
                if (strncmp(line.mnt_fsname, LINKS, strlen(LINKS)) == 0) {
                        look_at_line(d, &line);
                        n++;
                }
        endmntent(f);

        if (n == 0)
                found(d, FINDING_OK, NULL, NULL, FSTAB " has no line for an image.");
}

/* systemd-analyze loads the units as at boot and plans their start; of all it says only cycles are ours to tell. */
void check_ordering(struct doctor *d) {
        const char *argv[NAMES + 5] = { ANALYZE, "verify", "--man=no", "blockstored.service" };
        char targets[NAMES][IMAGE_LOCAL_NAME_MAX + 16], output[DOCTOR_OUTPUT_MAX], *line, *rest = output;
        unsigned n = 4, n_cycles = 0;
        int r;

        for (char **name = d->images; *name && n - 4 < NAMES; name++, n++) {
                snprintf(targets[n - 4], sizeof targets[0], "image@%s.target", *name);
                argv[n] = targets[n - 4];
        }

        r = doctor_run(argv, output);
        if (r < 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "systemd-analyze cannot be asked: %s.", strerror(-r));
                return;
        }

        while ((line = strsep(&rest, "\n")))
                if (strstr(line, "ordering cycle")) {
                        found(d, FINDING_ERROR, NULL, "systemd-analyze verify --man=no default.target", "%s", line);
                        n_cycles++;
                }
        if (n_cycles == 0)
                found(d, FINDING_OK, NULL, NULL, "No cycle in the order of the units.");
}
