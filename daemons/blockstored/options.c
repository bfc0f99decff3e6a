/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys are those of images.d/NAME.json, and the same code reads both in the worker: what comes from the bus is the topmost layer of settings, not another kind of them. */

#include <errno.h>
#include <string.h>

#include "host-config.h"
#include "options.h"
#include "peer-bus.h"
#include "run-file.h"

#define DIRECTORY "options"

void attach_options_done(struct attach_options *options) {
        for (size_t i = 0; options->proxies && options->proxies[i]; i++)
                free(options->proxies[i]);
        free(options->proxies);
        free(options->device);
        free(options->image);
        free(options->user);
        *options = (struct attach_options){ .read_only = -1 };
}

bool attach_options_are_empty(const struct attach_options *options) {
        return options->read_only < 0 && !options->steal && !options->device && !options->image && !options->user &&
               !options->proxies;
}

static bool string_equal(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : a == b;
}

bool attach_options_equal(const struct attach_options *a, const struct attach_options *b) {
        if (a->read_only != b->read_only || !string_equal(a->device, b->device) || !string_equal(a->image, b->image) ||
                !string_equal(a->user, b->user) || !a->proxies != !b->proxies)
                return false;

        for (size_t i = 0; a->proxies; i++) {
                if (!string_equal(a->proxies[i], b->proxies[i]))
                        return false;
                if (!a->proxies[i])
                        break;
        }
        return true;
}

static int read_string(sd_bus_message *message, const char *key, char **field, sd_bus_error *error) {
        const char *text;
        char *copy;
        int r;

        r = sd_bus_message_read(message, "v", "s", &text);
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "Option %s must be a string", key);
        if (!*text || strlen(text) > OPTION_STRING_MAX)
                return peer_bus_error_set(
                        error, FAILURE_USAGE, "Option %s must have from 1 to %u bytes", key, OPTION_STRING_MAX);
        for (const char *c = text; *c; c++)
                if ((unsigned char) *c < ' ' || *c == 127)
                        return peer_bus_error_set(
                                error, FAILURE_USAGE, "Option %s must have no control characters", key);

        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

static int read_bool(sd_bus_message *message, const char *key, int *ret, sd_bus_error *error) {
        if (sd_bus_message_read(message, "v", "b", ret) < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "Option %s must be a boolean", key);
        return 0;
}

static int read_proxies(sd_bus_message *message, struct attach_options *options, sd_bus_error *error) {
        char **list;
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, "as");
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "Option proxies must be a list of strings");

        r = sd_bus_message_read_strv(message, &list);
        if (r < 0)
                return r;

        for (; list && list[n]; n++)
                ;
        for (size_t i = 0; options->proxies && options->proxies[i]; i++)
                free(options->proxies[i]);
        free(options->proxies);
        options->proxies = list;

        if (n == 0 || n > OPTION_PROXIES_MAX)
                return peer_bus_error_set(
                        error, FAILURE_USAGE, "Option proxies must have from 1 to %u addresses", OPTION_PROXIES_MAX);
        for (size_t i = 0; i < n; i++)
                if (!*list[i] || strlen(list[i]) > OPTION_STRING_MAX)
                        return peer_bus_error_set(error, FAILURE_USAGE, "Option proxies has an address that is none");

        return sd_bus_message_exit_container(message);
}

static int read_attach_option(sd_bus_message *message, const char *key, void *userdata, sd_bus_error *error) {
        struct attach_options *options = userdata;
        int value, r;

        if (strcmp(key, "read-only") == 0)
                return read_bool(message, key, &options->read_only, error);
        if (strcmp(key, "image") == 0)
                return read_string(message, key, &options->image, error);
        if (strcmp(key, "user") == 0)
                return read_string(message, key, &options->user, error);
        if (strcmp(key, "proxies") == 0)
                return read_proxies(message, options, error);
        if (strcmp(key, "steal") == 0) {
                r = read_bool(message, key, &value, error);
                if (r >= 0)
                        options->steal = value;
                return r;
        }
        if (strcmp(key, "device") == 0) {
                r = read_string(message, key, &options->device, error);
                if (r >= 0 && strcmp(options->device, "nbd") != 0 && strcmp(options->device, "none") != 0)
                        return peer_bus_error_set(error, FAILURE_USAGE, "Option device must be \"nbd\" or \"none\"");
                return r;
        }

        return peer_bus_error_set(error, FAILURE_USAGE,
                "There is no option \"%s\"; there are read-only, device, image, proxies, user and steal", key);
}

static int read_detach_option(sd_bus_message *message, const char *key, void *userdata, sd_bus_error *error) {
        struct detach_options *options = userdata;
        bool is_lazy = strcmp(key, "lazy") == 0;
        int value, r;

        if (!is_lazy && strcmp(key, "cancel") != 0)
                return peer_bus_error_set(
                        error, FAILURE_USAGE, "There is no option \"%s\"; there are lazy and cancel", key);
        r = read_bool(message, key, &value, error);
        if (r < 0)
                return r;
        if (is_lazy)
                options->lazy = value;
        else
                options->cancel = value;
        return 0;
}

static int read_no_option(sd_bus_message *message, const char *key, void *userdata, sd_bus_error *error) {
        return peer_bus_error_set(error, FAILURE_USAGE, "There is no option \"%s\"; there are none yet", key);
}

/* read() takes the value of a key that is. */
static int read_options(sd_bus_message *message,
        int (*read)(sd_bus_message *message, const char *key, void *userdata, sd_bus_error *error), void *userdata,
        sd_bus_error *error) {
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r < 0)
                return r;

        for (;;) {
                const char *key;

                r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv");
                if (r < 0)
                        return r;
                if (r == 0)
                        return sd_bus_message_exit_container(message);

                r = sd_bus_message_read(message, "s", &key);
                if (r < 0)
                        return r;
                r = read(message, key, userdata, error);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
}

int attach_options_read(sd_bus_message *message, struct attach_options *options, sd_bus_error *error) {
        return read_options(message, read_attach_option, options, error);
}

int detach_options_read(sd_bus_message *message, struct detach_options *options, sd_bus_error *error) {
        int r;

        *options = (struct detach_options){};
        r = read_options(message, read_detach_option, options, error);
        if (r >= 0 && options->lazy && options->cancel)
                return peer_bus_error_set(error, FAILURE_USAGE, "Options lazy and cancel exclude each other");
        return r;
}

int no_options_read(sd_bus_message *message, sd_bus_error *error) {
        return read_options(message, read_no_option, NULL, error);
}

static int to_json(const struct attach_options *options, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();
        int r = object ? 0 : -ENOMEM;

        if (r >= 0 && options->image)
                r = json_add(object, "image", json_object_new_string(options->image));
        if (r >= 0 && options->read_only >= 0)
                r = json_add(object, "read-only", json_object_new_boolean(options->read_only));
        if (r >= 0 && options->device)
                r = json_add(object, "device", json_object_new_string(options->device));
        if (r >= 0 && options->user)
                r = json_add(object, "user", json_object_new_string(options->user));
        if (r >= 0 && options->steal)
                r = json_add(object, "steal", json_object_new_boolean(true));
        if (r >= 0 && options->proxies) {
                struct json_object *list = json_object_new_array();

                r = json_add(object, "proxies", list);
                for (size_t i = 0; r >= 0 && options->proxies[i]; i++)
                        if (json_object_array_add(list, json_object_new_string(options->proxies[i])) < 0)
                                r = -ENOMEM;
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(object);
        return 0;
}

int options_write(const char *name, const struct attach_options *options) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        int r;

        if (attach_options_are_empty(options))
                return options_remove(name);

        r = to_json(options, &object);
        return r < 0 ? r : run_file_write(DIRECTORY, name, object);
}

int options_remove(const char *name) {
        return run_file_remove(DIRECTORY, name);
}

int options_spend_steal(const char *name) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        int r;

        r = run_file_read(DIRECTORY, name, &object);
        if (r <= 0)
                return r;
        if (!json_object_object_get_ex(object, "steal", NULL))
                return 0;

        json_object_object_del(object, "steal");
        return run_file_write(DIRECTORY, name, object);
}
