/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys are those of images.d/NAME.json, and the same code reads both in the worker: what comes from the bus is the topmost layer of settings, not another kind of them.
 * The directory is the supervisor's; the workers' group reads. The file is written beside its place and renamed, so that a worker that starts meanwhile sees all or nothing. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>

#include <json-c/json.h>

#include "host-config.h"
#include "options.h"
#include "peer-bus.h"

#define WORKER_GROUP "blockstore-worker"

DEFINE_CLEANUP(struct json_object *, json_object_put);

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

static int read_option(sd_bus_message *message, const char *key, struct attach_options *options, sd_bus_error *error) {
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

int attach_options_read(sd_bus_message *message, struct attach_options *options, sd_bus_error *error) {
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
                r = read_option(message, key, options, error);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
}

static int add(struct json_object *object, const char *key, struct json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int to_json(const struct attach_options *options, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();
        int r = object ? 0 : -ENOMEM;

        if (r >= 0 && options->image)
                r = add(object, "image", json_object_new_string(options->image));
        if (r >= 0 && options->read_only >= 0)
                r = add(object, "read-only", json_object_new_boolean(options->read_only));
        if (r >= 0 && options->device)
                r = add(object, "device", json_object_new_string(options->device));
        if (r >= 0 && options->user)
                r = add(object, "user", json_object_new_string(options->user));
        if (r >= 0 && options->steal)
                r = add(object, "steal", json_object_new_boolean(true));
        if (r >= 0 && options->proxies) {
                struct json_object *list = json_object_new_array();

                r = add(object, "proxies", list);
                for (size_t i = 0; r >= 0 && options->proxies[i]; i++)
                        if (json_object_array_add(list, json_object_new_string(options->proxies[i])) < 0)
                                r = -ENOMEM;
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(object);
        return 0;
}

/* The file's path, and that of the temporary file beside it. */
static int make_paths(const char *name, char **ret_path, char **ret_temporary) {
        _cleanup_free_ char *relative = NULL, *path = NULL, *temporary = NULL;
        int r;

        if (asprintf(&relative, "options/%s.json", name) < 0)
                return -ENOMEM;

        r = peer_bus_path(relative, &path);
        if (r < 0)
                return r;

        if (asprintf(&temporary, "%s.new", path) < 0)
                return -ENOMEM;

        *ret_path = TAKE_PTR(path);
        *ret_temporary = TAKE_PTR(temporary);
        return 0;
}

static int write_all(int fd, const char *text, size_t n) {
        while (n > 0) {
                ssize_t k = write(fd, text, n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                text += k;
                n -= (size_t) k;
        }
        return 0;
}

static int write_file(const char *temporary, const char *path, const char *text) {
        const struct group *group;
        int fd, r;

        (void) unlink(temporary);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;

        /* Without the group (a private instance of a test) only its owner reads. */
        /* The supervisor has one thread. */
        /* cppcheck-suppress getgrnamCalled */
        group = getgrnam(WORKER_GROUP);
        if (group && geteuid() == 0 && fchown(fd, (uid_t) -1, group->gr_gid) < 0)
                r = -errno;
        else
                r = fchmod(fd, 0640) < 0 ? -errno : write_all(fd, text, strlen(text));
        if (close(fd) < 0 && r >= 0)
                r = -errno;
        if (r >= 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(temporary);
        return r;
}

int options_write(const char *name, const struct attach_options *options) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        _cleanup_free_ char *path = NULL, *temporary = NULL, *directory = NULL;
        int r;

        if (attach_options_are_empty(options))
                return options_remove(name);

        r = make_paths(name, &path, &temporary);
        if (r < 0)
                return r;

        r = to_json(options, &object);
        if (r < 0)
                return r;

        /* tmpfiles makes it with the workers' group; this is for those who run without. */
        directory = strndup(path, (size_t) (strrchr(path, '/') - path));
        if (!directory)
                return -ENOMEM;
        if (mkdir(directory, 0750) < 0 && errno != EEXIST)
                return -errno;

        return write_file(temporary, path, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
}

int options_remove(const char *name) {
        _cleanup_free_ char *path = NULL, *temporary = NULL;
        int r;

        r = make_paths(name, &path, &temporary);
        if (r < 0)
                return r;

        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int options_spend_steal(const char *name) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        _cleanup_free_ char *path = NULL, *temporary = NULL;
        int r;

        r = make_paths(name, &path, &temporary);
        if (r < 0)
                return r;

        if (access(path, F_OK) < 0)
                return errno == ENOENT ? 0 : -errno;

        object = json_object_from_file(path);
        if (!object || !json_object_is_type(object, json_type_object))
                return -EBADMSG;
        if (!json_object_object_get_ex(object, "steal", NULL))
                return 0;

        json_object_object_del(object, "steal");
        return write_file(temporary, path, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
}

int detach_options_read(sd_bus_message *message, sd_bus_error *error) {
        const char *key;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r < 0)
                return r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv");
        if (r < 0)
                return r;
        if (r == 0)
                return sd_bus_message_exit_container(message);

        r = sd_bus_message_read(message, "s", &key);
        if (r < 0)
                return r;
        return peer_bus_error_set(error, FAILURE_USAGE, "There is no option \"%s\"; there are none yet", key);
}
