/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The rule that makes /dev/blockstore/NAME: whether it is there, whether another file stands before it, and whether it has done its work for the images that are attached. */

#include <string.h>

#include "doctor.h"
#include "image.h"
#include "output.h"

#define RULE "65-blockstore.rules"

/* A file of the same name further up hides those below: udev(7). */
static const char *const directories[] = {
        "/etc/udev/rules.d",
        "/run/udev/rules.d",
        "/usr/local/lib/udev/rules.d",
        "/usr/lib/udev/rules.d",
};

#define INSTALLED (ELEMENTSOF(directories) - 1)

void check_udev_rule(struct doctor *d) {
        char path[128], command[DOCTOR_COMMAND_MAX];

        for (unsigned i = 0; i < INSTALLED; i++) {
                char target[128];
                ssize_t n;

                snprintf(path, sizeof path, "%s/%s", directories[i], RULE);
                if (access(path, F_OK) < 0)
                        continue;

                snprintf(command, sizeof command, "rm %s && udevadm control --reload && udevadm trigger --settle",
                        path);
                n = readlink(path, target, sizeof target - 1);
                if (n > 0)
                        target[n] = '\0';
                if (n > 0 && strcmp(target, "/dev/null") == 0)
                        found(d, FINDING_ERROR, path, command,
                                "The rule is masked: no device gets its name below /dev/blockstore, and no image with "
                                "a device can be attached.");
                else
                        found(d, FINDING_WARNING, path, command, "This file replaces the installed rule.");
                return;
        }

        snprintf(path, sizeof path, "%s/%s", directories[INSTALLED], RULE);
        if (access(path, R_OK) < 0)
                found(d, FINDING_ERROR, path, doctor_reinstall(), "The rule is not there: %s.", strerror(errno));
        else if (access("/run/udev/control", F_OK) == 0)
                found(d, FINDING_OK, NULL, NULL, "The rule is installed, and udev runs.");
        else if (doctor_in_container())
                found(d, FINDING_SKIPPED, NULL, NULL, "The rule is installed; there is no udev in a container.");
        else
                found(d, FINDING_ERROR, NULL, "systemctl start systemd-udevd.service", "udev does not run.");
}

static void look_at_link(struct doctor *d, struct json_object *image) {
        const char *name = json_string(image, "name"), *node = json_string(image, "device");
        char link[128], target[128], command[DOCTOR_COMMAND_MAX];
        ssize_t n;

        snprintf(link, sizeof link, "/dev/blockstore/%s", name);
        n = readlink(link, target, sizeof target - 1);
        if (n > 0)
                target[n] = '\0';
        /* "../nbd0" and "/dev/nbd0" */
        if (n > 0 && strrchr(target, '/') && strcmp(strrchr(target, '/'), strrchr(node, '/')) == 0) {
                found(d, FINDING_OK, name, NULL, "%s is %s.", link, node);
                return;
        }

        snprintf(command, sizeof command, "udevadm control --reload && udevadm trigger --settle %s", node);
        if (n > 0)
                found(d, FINDING_ERROR, name, command, "%s leads to %s, but the image is %s.", link, target, node);
        else
                found(d, FINDING_ERROR, name, command, "%s is not there, but the image is attached as %s.", link,
                        node);
}

void check_udev_links(struct doctor *d) {
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        unsigned n = 0;
        int r;

        if (!doctor_needs_bus(d))
                return;
        r = image_load_all(d->bus, &error, &images);
        if (r < 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "blockstored cannot be asked which images are attached.");
                return;
        }

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (!strrchr(json_string(image, "device"), '/') || !image_state_is_usable(json_string(image, "state")))
                        continue;
                look_at_link(d, image);
                n++;
        }
        if (n == 0)
                found(d, FINDING_OK, NULL, NULL, "No image is attached as a block device.");
}
