/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* "NAME [OPTIONS]": see imagetab(5). It says when an image is attached; how, its JSON says. A mistake in the options costs no more than the option, and the boot does not wait for such a line. */

#include <string.h>

#include "cleanup.h"
#include "complain.h"
#include "edit-distance.h"
#include "generator.h"
#include "host-config.h"

static const char *const options_known[] = { "auto", "fail", "noauto", "nofail", "x-systemd.device-timeout=" };

static const char *nearest(const char *option) {
        const char *best = NULL;
        unsigned least = 4;

        for (size_t i = 0; i < ELEMENTSOF(options_known); i++) {
                unsigned distance = edit_distance(option, options_known[i]);

                if (distance < least) {
                        least = distance;
                        best = options_known[i];
                }
        }
        return best;
}

static void complain_option(const struct table_line *line, const char *name, const char *option) {
        const char *known = nearest(option);

        if (strcmp(option, "ro") == 0 || strcmp(option, "readonly") == 0 || strcmp(option, "read-only") == 0)
                complain(LOG_ERR, line->file, line->line, name,
                        "\"%s\" concerns the image itself: set \"read-only\" in " HOST_CONFIG_DIRECTORY
                        "/images.d/%s.json. Until then the boot does not wait for %s.",
                        option, name, name);
        else
                complain(LOG_ERR, line->file, line->line, name,
                        "\"%s\" is no option of imagetab%s%s%s. It is ignored, and the boot does not wait for %s.",
                        option, known ? "; the nearest is \"" : "", known ?: "", known ? "\"" : "", name);
}

static bool is_time(const char *text) {
        return *text && strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz. ") == strlen(text);
}

static void take_options(struct generator *generator, const struct table_line *line, struct image_entry *image) {
        static const char timeout[] = "x-systemd.device-timeout=";
        char *text = line->fields[1], *option;

        if (strcmp(text, "-") == 0)
                return;

        while ((option = table_option_next(&text))) {
                if (strcmp(option, "noauto") == 0)
                        image->noauto = true;
                else if (strcmp(option, "nofail") == 0)
                        image->nofail = true;
                else if (strcmp(option, "auto") == 0)
                        image->noauto = false;
                else if (strcmp(option, "fail") == 0)
                        image->nofail = false;
                else if (strncmp(option, timeout, strlen(timeout)) == 0 && is_time(option + strlen(timeout))) {
                        free(image->device_timeout);
                        image->device_timeout = strdup(option + strlen(timeout));
                        if (!image->device_timeout)
                                generator->error = generator->error ?: -ENOMEM;
                } else if (strncmp(option, "x-", 2) == 0 && strncmp(option, "x-systemd.", 10) != 0)
                        continue; /* anybody's own */
                else {
                        complain_option(line, image->name, option);
                        image->nofail = true;
                }
        }
}

static void take_entry(void *userdata, const struct table_line *line) {
        struct generator *generator = userdata;
        const char *name = line->fields[0];
        struct image_entry *image;

        if (!image_local_name_is_valid(name)) {
                complain(LOG_ERR, line->file, line->line, NULL,
                        "\"%s\" cannot be the name of an image (1-64 letters, digits, '_', '.', ':' or '-', the first "
                        "a letter or digit); the line is passed over.",
                        name);
                return;
        }

        image = generator_image(generator, name);
        if (!image) {
                complain(LOG_ERR, line->file, line->line, name,
                        "Too many images, or no memory; the line is passed over.");
                return;
        }
        if (image->line > 0) {
                complain(LOG_ERR, line->file, line->line, name,
                        "%s stands in line %u already; this one is passed over.", name, image->line);
                return;
        }

        image->line = line->line;
        if (line->n_fields > 2) {
                complain(LOG_ERR, line->file, line->line, name,
                        "Expected \"NAME OPTIONS\", found %zu fields: options are separated by commas, without "
                        "blanks. The boot does not wait for %s.",
                        line->n_fields, name);
                image->nofail = true;
        }
        take_options(generator, line, image);
        if (line->n_fields > 2)
                image->nofail = true;
}

void imagetab_read(struct generator *generator) {
        generator_check(generator, generator->paths->imagetab,
                table_file_read(generator->paths->imagetab, take_entry, generator));
}
