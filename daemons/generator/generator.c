/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is written for an image, and why:
 *
 * - Its device unit wants the image's target and comes after it, so whatever needs /dev/blockstore/NAME needs no more than to name it. The device's own time-out counts from then; when the image could not be attached
 *   nothing has to be waited for any longer.
 * - A device that is there has no job at shutdown, and ordering through it ends there. So the image's service is ordered before blockdev@DEVICE.target, which systemd's own users of block devices are after, and units
 *   made of fstab and crypttab are ordered after the service outright (a mounted file system names /dev/nbdN once systemd has read its units again).
 * - What imagetab lists is wanted by blockstore.target, which remote-fs.target waits for, unless "nofail". */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "complain.h"
#include "generator.h"
#include "host-config.h"
#include "output.h"
#include "unit-name.h"

#define DEVICES "/dev/blockstore/"
/* Once the image is attached, or has failed to be. At a slow boot udev comes to a partition later, and a worker may have to be started again. */
#define DEVICE_TIMEOUT "30s"
/* Of what cannot come in time, and only holds up the early boot. */
#define TOO_EARLY_TIMEOUT "10s"

struct image_entry *generator_find(struct generator *generator, const char *name) {
        struct image_entry *image;

        STAILQ_FOREACH(image, &generator->images, entry) {
                if (strcmp(image->name, name) == 0)
                        return image;
        }
        return NULL;
}

struct image_entry *generator_image(struct generator *generator, const char *name) {
        struct image_entry *image = generator_find(generator, name);

        if (image)
                return image;

        if (generator->n_images >= GENERATOR_IMAGES_MAX)
                generator->error = generator->error ?: -E2BIG;
        else if ((image = calloc(1, sizeof(*image))) && (image->name = strdup(name))) {
                STAILQ_INSERT_TAIL(&generator->images, image, entry);
                generator->n_images++;
                return image;
        } else
                generator->error = generator->error ?: -ENOMEM;
        free(image);
        return NULL;
}

static bool is_configured(struct generator *generator, const char *name) {
        struct image_entry *image = generator_find(generator, name);
        char path[4096];

        if (image && image->line > 0)
                return true;
        return (size_t) snprintf(path, sizeof(path), "%s/%s.json", generator->paths->images, name) < sizeof(path) &&
               access(path, F_OK) == 0;
}

/* "web-part2" is the second partition of "web", unless there is an image of that name. Returns 0 or the number, and cuts the name. */
static unsigned take_partition(struct generator *generator, char *name) {
        char *part = NULL, *end;
        unsigned long number;

        for (char *p = name; (p = strstr(p, "-part")); p++)
                part = p;
        if (!part || part == name || part[5] < '1' || part[5] > '9' || is_configured(generator, name))
                return 0;

        number = strtoul(part + 5, &end, 10);
        if (*end || number > GENERATOR_PARTITIONS_MAX)
                return 0;
        *part = 0;
        return (unsigned) number;
}

int generator_device(
        struct generator *generator, const struct table_line *line, const char *path, struct image_device *ret) {
        char name[IMAGE_LOCAL_NAME_MAX + sizeof("-part128")];
        unsigned partition;

        if (strncmp(path, DEVICES, strlen(DEVICES)) != 0)
                return 0;

        path += strlen(DEVICES);
        if (strlen(path) >= sizeof(name)) {
                complain(
                        LOG_ERR, line->file, line->line, NULL, "\"%s\" is too long to be the name of an image.", path);
                return -EINVAL;
        }
        strcpy(name, path);
        partition = take_partition(generator, name);
        if (!image_local_name_is_valid(name)) {
                complain(LOG_ERR, line->file, line->line, NULL,
                        "\"%s\" cannot be the name of an image: 1-64 letters, digits, '_', '.', ':' or '-', the first "
                        "a letter or digit.",
                        name);
                return -EINVAL;
        }

        ret->image = generator_image(generator, name);
        if (!ret->image)
                return -ENOMEM;
        ret->path = path - strlen(DEVICES);
        ret->partition = partition;
        ret->image->partitions[partition] = true;
        return 1;
}

void generator_check(struct generator *generator, const char *unit, int r) {
        if (r >= 0)
                return;
        complain(LOG_ERR, generator->paths->normal, 0, NULL, "%s cannot be written: %s.", unit, strerror(-r));
        generator->error = generator->error ?: r;
}

static void write_device(struct generator *generator, const struct image_entry *image, unsigned partition) {
        char path[sizeof(DEVICES) + IMAGE_LOCAL_NAME_MAX + sizeof("-part128")], unit[256], target[256], service[256];
        int r;

        if (partition > 0)
                (void) snprintf(path, sizeof(path), DEVICES "%s-part%u", image->name, partition);
        else
                (void) snprintf(path, sizeof(path), DEVICES "%s", image->name);
        r = unit_name_from_path(path, ".device", unit, sizeof(unit));
        if (r >= 0)
                r = output_dropin(generator->paths->normal, unit, "[Unit]\nJobRunningTimeoutSec=%s\n",
                        image->device_timeout
                                ?: image->too_early ? TOO_EARLY_TIMEOUT
                                                    : DEVICE_TIMEOUT);
        if (r >= 0 && !image->too_early)
                r = output_dropin(generator->paths->normal, unit, "Wants=image@%1$s.target\nAfter=image@%1$s.target\n",
                        image->name);
        generator_check(generator, path, r);
        if (r < 0 || image->too_early)
                return;

        (void) snprintf(service, sizeof(service), "image@%s.service", image->name);
        r = unit_name_from_path(path, "", target, sizeof(target));
        if (r >= 0)
                r = output_dropin(generator->paths->normal, service,
                        "[Unit]\nWants=blockdev@%1$s.target\nBefore=blockdev@%1$s.target\n", target);
        generator_check(generator, service, r);
}

static void write_image(struct generator *generator, const struct image_entry *image) {
        char target[256];

        for (unsigned i = 0; i <= GENERATOR_PARTITIONS_MAX; i++)
                if (i == 0 || image->partitions[i])
                        write_device(generator, image, i);

        if (image->line == 0 || image->noauto)
                return;
        (void) snprintf(target, sizeof(target), "image@%s.target", image->name);
        generator_check(generator, target,
                output_wants(generator->paths->normal, "blockstore.target", target, "image@.target"));
        if (!image->nofail)
                generator_check(generator, target,
                        output_dropin(generator->paths->normal, target, "[Unit]\nBefore=blockstore.target\n"));
        generator_check(generator, "blockstore.target",
                output_wants(generator->paths->normal, "multi-user.target", "blockstore.target", NULL));
}

int generator_run(const struct generator_paths *paths) {
        struct generator generator = { .paths = paths, .images = STAILQ_HEAD_INITIALIZER(generator.images) };
        struct image_entry *image;

        imagetab_read(&generator);
        crypttab_read(&generator);
        fstab_read(&generator);
        while ((image = STAILQ_FIRST(&generator.images))) {
                STAILQ_REMOVE_HEAD(&generator.images, entry);
                write_image(&generator, image);
                free(image->name);
                free(image->device_timeout);
                free(image);
        }
        return generator.error;
}
