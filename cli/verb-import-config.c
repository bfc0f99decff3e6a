/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For those who come from ivbsnetd. Its one file becomes a file for each image and a credential for each password, so that no password stands in a configuration any more. Nothing that is there is replaced unless that is
 * asked for, an image is taken over as a whole or not at all, and what has no counterpart here is said. No daemon is spoken to: the files count from the next start of an image. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "classic-config.h"
#include "config.h"
#include "ivbs.h"
#include "output.h"
#include "report.h"
#include "verbs.h"
#include "write-all.h"

static const char *arg_root = "";
static struct string_list arg_proxies;
static bool arg_force, arg_dry_run;

const struct option_entry import_config_options[] = {
        { "proxy", 0, "ADDRESS", "Where the store's proxies are, which the old file does not say (repeat for more)",
                OPTION_LIST, &arg_proxies },
        { "force", 0, NULL, "Replace files that are there already", OPTION_FLAG, &arg_force },
        { "dry-run", 'n', NULL, "Only say what would be done", OPTION_FLAG, &arg_dry_run },
        { "root", 0, "DIRECTORY", "Write below this directory instead of /", OPTION_STRING, &arg_root },
        { NULL },
};

struct import {
        struct classic_config *config;
        struct json_object *rows, *remarks;
        bool incomplete;
};

static void say(struct import *import, const char *format, ...) _printf_(2, 3);
static void say(struct import *import, const char *format, ...) {
        char text[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        (void) json_object_array_add(import->remarks, json_object_new_string(text));
}

/* The whole file or none of it; -EEXIST when it is there and --force is not. */
static int put_file(const char *path, const char *text, mode_t mode) {
        _cleanup_free_ char *temporary = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (asprintf(&temporary, "%s.new-%d", path, (int) getpid()) < 0)
                return -ENOMEM;
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = fchmod(fd, mode) < 0 ? -errno : write_all(fd, text, strlen(text));
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && (arg_force ? rename(temporary, path) : link(temporary, path)) < 0)
                r = -errno;
        if (r < 0 || !arg_force)
                (void) unlink(temporary);
        return r;
}

static int make_directory(const char *directory, mode_t mode) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s%s", arg_root, directory) < 0)
                return -ENOMEM;
        if (mkdir(path, mode) < 0 && errno != EEXIST)
                return report(FAILURE_SYSTEM, NULL, "%s cannot be made: %s", path, strerror(errno));
        return 0;
}

static int settings_of(const struct classic_image *image, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object(), *proxies = NULL;
        int r = object ? 0 : -ENOMEM;

        if (r >= 0 && strcmp(image->image, image->local) != 0)
                r = json_add(object, "image", json_object_new_string(image->image));
        if (r >= 0 && image->user && *image->user)
                r = json_add(object, "user", json_object_new_string(image->user));
        if (r >= 0 && arg_proxies.n > 0) {
                proxies = json_object_new_array();
                for (size_t i = 0; proxies && i < arg_proxies.n; i++)
                        (void) json_object_array_add(proxies, json_object_new_string(arg_proxies.items[i]));
                r = json_add(object, "proxies", TAKE_PTR(proxies));
        }
        if (r >= 0)
                *ret = TAKE_PTR(object);
        return r;
}

/* Both files of an image. Returns 0, or a negative errno, and then neither is there that was not before. */
static int write_image(const struct classic_image *image, const char *settings_path, const char *credential_path) {
        _cleanup_(json_object_putp) struct json_object *settings = NULL;
        bool secret = image->password && *image->password;
        int r;

        r = settings_of(image, &settings);
        if (r >= 0 && secret)
                r = put_file(credential_path, image->password, 0600);
        if (r < 0)
                return r;
        r = put_file(settings_path,
                json_object_to_json_string_ext(settings, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE),
                0644);
        if (r < 0 && secret && !arg_force)
                (void) unlink(credential_path);
        return r;
}

/* Why an image cannot be taken over as it stands there, or NULL. */
static const char *impossible(const struct import *import, size_t i) {
        const struct classic_image *image = import->config->images + i;

        if (!*image->image)
                return "it has no ImageName";
        if (!image->local || strlen(image->image) > 255)
                return "its name cannot be one here";
        if (image->user && strlen(image->user) > IVBS_USER_SIZE)
                return "its user's name is too long";
        for (size_t k = 0; k < i; k++)
                if (import->config->images[k].local && strcmp(import->config->images[k].local, image->local) == 0)
                        return strcmp(import->config->images[k].image, image->image) == 0
                                       ? "the image stands there twice, and is one device here"
                                       : "another image would be called the same here";
        return NULL;
}

static void add_row(struct import *import, const struct classic_image *image, const char *result) {
        struct json_object *row = json_object_new_object();

        (void) json_add(row, "name", json_object_new_string(image->local ? image->local : ""));
        (void) json_add(row, "image_name", json_object_new_string(image->image));
        (void) json_add(row, "user", json_object_new_string(image->user ? image->user : ""));
        (void) json_add(row, "result", json_object_new_string(result));
        (void) json_object_array_add(import->rows, row);
}

static int import_image(struct import *import, size_t i) {
        const struct classic_image *image = import->config->images + i;
        _cleanup_free_ char *settings_path = NULL, *credential_path = NULL;
        const char *problem = impossible(import, i);
        int r = 0;

        if (problem) {
                import->incomplete = true;
                add_row(import, image, "left out");
                say(import, "Mounted[%zu] (%s) was left out: %s.", i, image->image, problem);
                return 0;
        }

        if (asprintf(&settings_path, "%s/etc/blockstore/images.d/%s.json", arg_root, image->local) < 0 ||
                asprintf(&credential_path, "%s/etc/credstore/blockstore.%s", arg_root, image->local) < 0)
                return -ENOMEM;
        if (!arg_force && (access(settings_path, F_OK) == 0 || access(credential_path, F_OK) == 0))
                r = -EEXIST;
        else if (!arg_dry_run)
                r = write_image(image, settings_path, credential_path);

        if (r == -EEXIST) {
                import->incomplete = true;
                add_row(import, image, "left alone");
                say(import, "%s is configured here already and was left alone; --force replaces %s and %s.",
                        image->local, settings_path, credential_path);
                return 0;
        }
        if (r < 0)
                return report(FAILURE_SYSTEM, NULL, "%s cannot be written: %s", settings_path, strerror(-r));

        add_row(import, image, arg_dry_run ? "to be taken over" : "taken over");
        if (strcmp(image->local, image->image) != 0)
                say(import, "%s is called %s here, since the name of a unit or of its password cannot be that.",
                        image->image, image->local);
        if (!image->user || !*image->user)
                say(import, "%s has no user of its own; \"user\" of /etc/blockstore/blockstore.json is used.",
                        image->local);
        if (!image->password || !*image->password)
                say(import, "%s has no password of its own; /etc/credstore/blockstore.default is used.", image->local);
        if (*image->device)
                say(import, "%s was %s; the kernel chooses the number, so use /dev/blockstore/%s.", image->local,
                        image->device, image->local);
        return 0;
}

static int show(const struct cli *cli, const struct import *import, const char *path) {
        static const struct column columns[] = {
                { "NAME", "name", COLUMN_TEXT },
                { "IMAGE", "image_name", COLUMN_TEXT },
                { "USER", "user", COLUMN_TEXT },
                { "RESULT", "result", COLUMN_TEXT },
        };
        _cleanup_(json_object_putp) struct json_object *all = NULL;
        int r;

        if (cli->json != JSON_OFF) {
                all = json_object_new_object();
                r = json_add(all, "images", json_object_get(import->rows));
                if (r >= 0)
                        r = json_add(all, "remarks", json_object_get(import->remarks));
                if (r >= 0)
                        (void) output_json(cli, all);
                return r;
        }

        r = output_table(cli, columns, ELEMENTSOF(columns), import->rows);
        if (r < 0)
                return r;
        if (json_object_array_length(import->remarks) > 0)
                fputc('\n', stdout);
        for (size_t i = 0; i < json_object_array_length(import->remarks); i++) {
                fputs("- ", stdout);
                output_text(stdout, json_object_get_string(json_object_array_get_idx(import->remarks, i)));
                fputc('\n', stdout);
        }
        if (import->config->n_images > 0 && !arg_dry_run)
                printf("\nTo use one now and at each boot: systemctl enable --now image@NAME.service\n"
                       "When all work, remove %s: its passwords are readable.\n",
                        path);
        return 0;
}

int verb_import_config(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(classic_config_freep) struct classic_config *config = NULL;
        _cleanup_(json_object_putp) struct json_object *rows = json_object_new_array(),
                                                       *remarks = json_object_new_array();
        struct import import = { .rows = rows, .remarks = remarks };
        _cleanup_free_ char *message = NULL;
        int r;

        if (!rows || !remarks)
                return -ENOMEM;
        for (size_t i = 0; i < arg_proxies.n; i++) {
                _cleanup_free_ char *address = NULL;

                if (address_normalise(arg_proxies.items[i], &address) < 0)
                        return report(FAILURE_USAGE, "import-config",
                                "--proxy=%s: expected HOST, HOST:PORT or [IPV6]:PORT", arg_proxies.items[i]);
        }
        r = classic_config_read(arguments[0], &config, &message);
        if (r < 0)
                return message ? report_plain(FAILURE_CONFIGURATION, "%s", message) : r;
        import.config = config;

        if (!arg_dry_run && config->n_images > 0) {
                r = make_directory("/etc/blockstore/images.d", 0755);
                if (r == 0)
                        r = make_directory("/etc/credstore", 0700);
                if (r != 0)
                        return r;
        }
        for (size_t i = 0; i < config->n_images; i++) {
                r = import_image(&import, i);
                if (r != 0)
                        return r;
        }
        if (config->n_users > config->n_images)
                say(&import, "%zu entries of User belong to no image.", config->n_users - config->n_images);
        if (arg_proxies.n == 0 && config->n_images > 0)
                say(&import, "The old file does not say where the server is: \"proxies\" of "
                             "/etc/blockstore/blockstore.json are asked, or say --proxy.");

        r = show(cli, &import, arguments[0]);
        return r != 0 ? r : import.incomplete ? FAILURE_ALREADY_EXISTS : 0;
}
