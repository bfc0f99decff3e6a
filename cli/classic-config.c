/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The original crashed when there were fewer users than images, and took what was no JSON for an empty file. Here the one is an image without a user, and the other an error with its line. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "classic-config.h"
#include "config.h"
#include "host-config.h"
#include "refusal.h"

#define LOCAL_NAME_MAX 64U

static struct json_object *find(struct json_object *object, const char *key) {
        json_object_object_foreach(object, name, value)
                if (strcasecmp(name, key) == 0)
                        return value;
        return NULL;
}

/* A list; an absent one is NULL, and empty. Returns 0 or -EINVAL. */
static int find_list(
        struct json_object *root, const char *path, const char *key, struct json_object **ret, char **ret_message) {
        struct json_object *list = find(root, key);

        if (list && !json_object_is_type(list, json_type_array))
                return refuse_with(ret_message, -EINVAL, "%s: %s must be a list", path, key);
        if (list && json_object_array_length(list) > CLASSIC_IMAGES_MAX)
                return refuse_with(
                        ret_message, -EINVAL, "%s: %s has more than %u entries", path, key, CLASSIC_IMAGES_MAX);
        *ret = list;
        return 0;
}

/* Where a member is looked for. */
struct place {
        const char *path, *list;
        size_t i;
        struct json_object *object;
};

/* A copy of a member that is text, "" where there is none. */
static int copy_text(const struct place *place, const char *key, char **ret, char **ret_message) {
        struct json_object *value;
        char *copy;

        if (!json_object_is_type(place->object, json_type_object))
                return refuse_with(
                        ret_message, -EINVAL, "%s: %s[%zu] must be an object", place->path, place->list, place->i);
        value = find(place->object, key);
        if (value && (!json_object_is_type(value, json_type_string) ||
                             strlen(json_object_get_string(value)) != (size_t) json_object_get_string_len(value)))
                return refuse_with(
                        ret_message, -EINVAL, "%s: %s[%zu].%s must be text", place->path, place->list, place->i, key);
        copy = strdup(value ? json_object_get_string(value) : "");
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

char *classic_local_name(const char *image) {
        char *name = strndup(image, LOCAL_NAME_MAX);

        if (!name)
                return NULL;
        /* A name may have a ':', but then no password of its own: systemd knows no credential of such a name. */
        for (char *c = name; *c; c++)
                if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", *c))
                        *c = '-';
        if (*name && !image_local_name_is_valid(name))
                *name = 'x';
        if (image_local_name_is_valid(name))
                return name;
        free(name);
        return NULL;
}

/* user: NULL when there is no entry for it. */
static int read_image(struct classic_image *image, const char *path, size_t i, struct json_object *entry,
        struct json_object *user, char **ret_message) {
        struct place mounted = { path, "Mounted", i, entry }, users = { path, "User", i, user };
        int r;

        r = copy_text(&mounted, "ImageName", &image->image, ret_message);
        if (r >= 0)
                r = copy_text(&mounted, "NbdDevice", &image->device, ret_message);
        if (r >= 0 && user)
                r = copy_text(&users, "Username", &image->user, ret_message);
        if (r >= 0 && user)
                r = copy_text(&users, "Password", &image->password, ret_message);
        if (r >= 0 && image->image)
                image->local = classic_local_name(image->image);
        return r;
}

/* json-c gives out its own buffer, which is about to be freed as it is. */
static void wipe_passwords(struct json_object *users) {
        for (size_t i = 0; users && i < json_object_array_length(users); i++) {
                struct json_object *user = json_object_array_get_idx(users, i), *password;

                password = json_object_is_type(user, json_type_object) ? find(user, "Password") : NULL;
                if (json_object_is_type(password, json_type_string))
                        explicit_bzero((char *) json_object_get_string(password),
                                (size_t) json_object_get_string_len(password));
        }
}

int classic_config_read(const char *path, struct classic_config **ret, char **ret_message) {
        _cleanup_(classic_config_freep) struct classic_config *config = NULL;
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        struct json_object *root, *mounted = NULL, *users = NULL;
        int r;

        *ret_message = NULL;
        r = config_file_open(path, &file, ret_message);
        if (r < 0)
                return r;
        root = config_file_root(file);
        r = find_list(root, path, "User", &users, ret_message);
        if (r >= 0)
                r = find_list(root, path, "Mounted", &mounted, ret_message);

        config = r < 0 ? NULL : calloc(1, sizeof(*config));
        if (r >= 0 && config) {
                config->n_images = mounted ? json_object_array_length(mounted) : 0;
                config->n_users = users ? json_object_array_length(users) : 0;
                config->images = calloc(config->n_images + 1, sizeof(*config->images));
        }
        if (r >= 0 && (!config || !config->images))
                r = -ENOMEM;
        for (size_t i = 0; r >= 0 && i < config->n_images; i++)
                r = read_image(config->images + i, path, i, json_object_array_get_idx(mounted, i),
                        i < config->n_users ? json_object_array_get_idx(users, i) : NULL, ret_message);
        wipe_passwords(users);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(config);
        return 0;
}

struct classic_config *classic_config_free(struct classic_config *config) {
        if (!config)
                return NULL;
        for (size_t i = 0; config->images && i < config->n_images; i++) {
                struct classic_image *image = config->images + i;

                if (image->password)
                        explicit_bzero(image->password, strlen(image->password));
                free(image->password);
                free(image->image);
                free(image->local);
                free(image->device);
                free(image->user);
        }
        free(config->images);
        free(config);
        return NULL;
}
