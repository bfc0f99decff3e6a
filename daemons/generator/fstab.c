/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* "DEVICE WHERE TYPE OPTIONS DUMP PASS": a line whose device is an image gets its ordering.
 *
 * systemd makes a local file system of a line without _netdev: one that the early boot waits for, before there is a network, which would be a cycle of ordering, an emergency shell, or both. Such a line is
 * written anew, with what it lacks, where it wins over what systemd writes. The same is done for swap, for which fstab has no way to say that it comes late. */

#include <string.h>

#include "cleanup.h"
#include "complain.h"
#include "generator.h"
#include "output.h"
#include "unit-name.h"

/* They have to be there before systemd is. */
static bool is_system(const char *where) {
        static const char *const directories[] = { "/", "/etc", "/usr", "/var" };

        for (size_t i = 0; i < ELEMENTSOF(directories); i++)
                if (strcmp(where, directories[i]) == 0)
                        return true;
        return false;
}

/* What a unit that uses the device gets. device->image may be NULL: the name is none, and the unit is not to hold up anything. */
static int order(struct generator *generator, const char *unit, const struct image_device *device) {
        if (!device->image)
                return 0;
        return output_dropin(generator->paths->normal, unit,
                "[Unit]\nWants=image@%1$s.target\nAfter=image@%1$s.target image@%1$s.service\n", device->image->name);
}

static int write_swap(struct generator *generator, const struct table_line *line, const char *unit) {
        _cleanup_free_ char *what = output_specifiers_escape(line->fields[0]);
        _cleanup_free_ char *options = output_specifiers_escape(line->fields[3]);

        if (!what || !options)
                return -ENOMEM;
        return output_unit(generator->paths->early, unit,
                "# Made by blockstore-generator of line %u: swap on an image comes late.\n"
                "[Unit]\nDocumentation=man:fstab(5) man:blockstore-generator(8)\nSourcePath=%s\n"
                "DefaultDependencies=no\nConflicts=umount.target\nBefore=umount.target\n\n"
                "[Swap]\nWhat=%s\nOptions=%s%snofail\n",
                line->line, line->file, what, options, *options ? "," : "");
}

static void take_swap(struct generator *generator, const struct table_line *line, const struct image_device *device) {
        char unit[256];
        int r;

        r = unit_name_from_path(line->fields[0], ".swap", unit, sizeof(unit));
        if (r >= 0)
                r = write_swap(generator, line, unit);
        if (r == -EEXIST) {
                complain(LOG_ERR, line->file, line->line, NULL, "%s stands in an earlier line already.",
                        line->fields[0]);
                return;
        }
        if (r >= 0)
                r = order(generator, unit, device);
        /* swap.target wants it, too, but does not wait: the unit has no default dependencies. */
        generator_check(generator, line->fields[0], r);
}

static int write_mount(struct generator *generator, const struct table_line *line, const char *unit) {
        _cleanup_free_ char *what = output_specifiers_escape(line->fields[0]);
        _cleanup_free_ char *where = output_specifiers_escape(line->fields[1]);
        _cleanup_free_ char *type = output_specifiers_escape(line->fields[2]);
        _cleanup_free_ char *options = output_specifiers_escape(line->fields[3]);
        char check[256] = "", device[200];

        if (!what || !where || !type || !options)
                return -ENOMEM;
        if (strtoul(line->fields[5], NULL, 10) > 0 &&
                unit_name_from_path(line->fields[0], "", device, sizeof(device)) >= 0)
                (void) snprintf(check, sizeof(check), "systemd-fsck@%s.service", device);

        return output_unit(generator->paths->early, unit,
                "# Made by blockstore-generator of line %u, which lacks _netdev.\n"
                "[Unit]\nDocumentation=man:fstab(5) man:blockstore-generator(8)\nSourcePath=%s\n%s%s%s%s%s\n"
                "[Mount]\nWhat=%s\nWhere=%s\n%s%s%sOptions=%s%s_netdev,nofail\n",
                line->line, line->file, *check ? "Requires=" : "", check, *check ? "\nAfter=" : "", check,
                *check ? "\n" : "", what, where, *type ? "Type=" : "", type, *type ? "\n" : "", options,
                *options ? "," : "");
}

static void take_mount(struct generator *generator, const struct table_line *line, const struct image_device *device) {
        const char *name = device->image ? device->image->name : NULL;
        char unit[256];
        int r;

        r = unit_name_from_path(line->fields[1], ".mount", unit, sizeof(unit));
        if (r == -EINVAL) {
                complain(LOG_ERR, line->file, line->line, name, "\"%s\" is not an absolute path.", line->fields[1]);
                return;
        }
        if (r >= 0 && !table_options_have(line->fields[3], "_netdev")) {
                complain(LOG_WARNING, line->file, line->line, name,
                        "%s is on an image, which needs the network: the line is taken as if it had _netdev and "
                        "nofail. Write them there.",
                        line->fields[1]);
                r = write_mount(generator, line, unit);
                if (r == -EEXIST) {
                        complain(LOG_ERR, line->file, line->line, name, "%s stands in an earlier line already.",
                                line->fields[1]);
                        return;
                }
        }
        if (r >= 0)
                r = order(generator, unit, device);
        generator_check(generator, line->fields[1], r);
}

static void take_entry(void *userdata, const struct table_line *line) {
        struct generator *generator = userdata;
        struct image_device device = {};
        int r;

        r = generator_device(generator, line, line->fields[0], &device);
        if (r == 0)
                return;

        if (r < 0) {
                char unit[256];

                /* The line is systemd's all the same: it is not to wait for that. Nor is it to fail before the early boot is over, which it would take along. */
                device = (struct image_device){};
                if (unit_name_from_path(line->fields[0], ".device", unit, sizeof(unit)) >= 0)
                        generator_check(generator, unit,
                                output_dropin(generator->paths->normal, unit,
                                        "[Unit]\nJobRunningTimeoutSec=1s\nAfter=sysinit.target\n"));
        }

        if (strcmp(line->fields[2], "swap") == 0)
                take_swap(generator, line, &device);
        else if (is_system(line->fields[1])) {
                complain(LOG_ERR, line->file, line->line, device.image ? device.image->name : NULL,
                        "%s cannot be on an image: it is needed before anything that could attach one.",
                        line->fields[1]);
                if (device.image)
                        device.image->too_early = true;
        } else
                take_mount(generator, line, &device);
}

void fstab_read(struct generator *generator) {
        generator_check(
                generator, generator->paths->fstab, table_file_read(generator->paths->fstab, take_entry, generator));
}
