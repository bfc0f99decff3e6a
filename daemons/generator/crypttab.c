/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* "VOLUME DEVICE KEY OPTIONS": a line whose device is an image gets its ordering. One without _netdev is opened before there is a network, which the image needs: nothing can be done about that from here but to keep
 * it from holding up the boot, since what systemd has made of the line cannot be taken back. */

#include <stdio.h>

#include "complain.h"
#include "generator.h"
#include "output.h"
#include "unit-name.h"

static void take_entry(void *userdata, const struct table_line *line) {
        struct generator *generator = userdata;
        char volume[224], unit[256];
        struct image_device device;
        int r;

        if (generator_device(generator, line, line->fields[1], &device) <= 0)
                return;

        if (!table_options_have(line->fields[3], "_netdev")) {
                complain(LOG_ERR, line->file, line->line, device.image->name,
                        "\"%s\" is on an image, and needs the option _netdev: without it, it is opened before there "
                        "is a network, which fails.",
                        line->fields[0]);
                device.image->too_early = true;
                return;
        }

        r = unit_name_escape(line->fields[0], volume, sizeof(volume));
        if (r >= 0) {
                (void) snprintf(unit, sizeof(unit), "systemd-cryptsetup@%s.service", volume);
                r = output_dropin(generator->paths->normal, unit,
                        "[Unit]\nWants=image@%1$s.target\nAfter=image@%1$s.target image@%1$s.service\n",
                        device.image->name);
        }
        generator_check(generator, line->fields[0], r);
}

void crypttab_read(struct generator *generator) {
        generator_check(generator, generator->paths->crypttab,
                table_file_read(generator->paths->crypttab, take_entry, generator));
}
