/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Three files in the order of their weight are laid over the built-in values: a later one replaces what it mentions and leaves the rest. Lists are
 * replaced as a whole, so that an image with proxies of its own never meets those of another store.
 *
 * Ranges are checked where a value is read, for there the line is known. What only makes sense together (a host without any proxy, say) is the
 * business of whoever needs it: a CLI that lists files must not fail on it. */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "busy-poll.h"
#include "config.h"
#include "host-config.h"

#define USEC_PER_MSEC    UINT64_C(1000)
#define USEC_PER_SEC     UINT64_C(1000000)

#define PRIORITY_DEFAULT 100U
#define CONNECTIONS_MAX  16U
#define RETAIN_LIMIT_MIN (UINT64_C(1) << 20)
#define RETAIN_LIMIT_MAX (UINT64_C(1) << 30)
#define SUFFIX           ".json"

static const struct host_config defaults = {
        .device = DEVICE_NBD,
        .nbd_access = NBD_ACCESS_EXCLUSIVE,
        .connections = 4,
        .attach_timeout_usec = 90 * USEC_PER_SEC,
        .connect_timeout_usec = 5 * USEC_PER_SEC,
        .login_timeout_usec = 10 * USEC_PER_SEC,
        .dead_time_usec = 3 * USEC_PER_SEC,
        .io_timeout_usec = UINT64_MAX,
        .retain = RETAIN_AUTO,
        .retain_limit = UINT64_C(64) << 20,
        .busy_poll_usec = BUSY_POLL_DEFAULT_USEC,
        .classic_replay = true,
};

static void proxies_free(struct proxy_address *proxies, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(proxies[i].address);
        free(proxies);
}

struct host_config *host_config_free(struct host_config *config) {
        if (!config)
                return NULL;

        proxies_free(config->proxies, config->n_proxies);
        free(config->user);
        free(config->image);
        free(config->tls_ca);
        free(config->tls_certificate);
        free(config->tls_key);
        free(config->tls_name);
        free(config);
        return NULL;
}

static int handle_address(struct config_context *context, struct json_object *value, void *userdata) {
        char **target = userdata, *address;
        int r;

        if (!json_object_is_type(value, json_type_string) ||
                strlen(json_object_get_string(value)) != (size_t) json_object_get_string_len(value))
                return config_refuse(context, value, "an address as \"HOST\", \"HOST:PORT\" or \"[IPV6]:PORT\"");

        r = address_normalise(json_object_get_string(value), &address);
        if (r == -EINVAL)
                return config_refuse(context, value, "an address as \"HOST\", \"HOST:PORT\" or \"[IPV6]:PORT\"");
        if (r < 0)
                return r;

        free(*target);
        *target = address;
        return 0;
}

static int handle_priority(struct config_context *context, struct json_object *value, void *userdata) {
        uint16_t *target = userdata;
        unsigned v;

        if (!json_object_is_type(value, json_type_int) || config_handle_unsigned(context, value, &v) < 0 ||
                v > UINT16_MAX)
                return config_refuse(context, value, "a priority from 0 to %d", UINT16_MAX);

        *target = (uint16_t) v;
        return 0;
}

static int handle_proxy(struct config_context *context, struct json_object *value, void *userdata) {
        static const struct config_key keys[] = {
                { "address", handle_address, offsetof(struct proxy_address, address), true },
                { "priority", handle_priority, offsetof(struct proxy_address, priority), false },
                {},
        };
        struct host_config *config = userdata;
        /* Counted only when it is complete; what is half-done hangs on no list yet. */
        struct proxy_address *proxy = config->proxies + config->n_proxies;
        int r;

        *proxy = (struct proxy_address){ .priority = PRIORITY_DEFAULT };

        if (json_object_is_type(value, json_type_string))
                r = handle_address(context, value, &proxy->address);
        else if (json_object_is_type(value, json_type_object))
                r = config_apply_object(context, value, keys, proxy);
        else
                r = config_refuse(
                        context, value, "an address as a string, or an object with \"address\" and \"priority\"");

        for (size_t i = 0; r >= 0 && i < config->n_proxies; i++) {
                assert(proxy->address);
                if (strcmp(config->proxies[i].address, proxy->address) == 0)
                        r = config_refuse(context, value, "each proxy once");
        }

        if (r < 0) {
                free(proxy->address);
                return r;
        }

        config->n_proxies++;
        return 0;
}

static int handle_proxies(struct config_context *context, struct json_object *value, void *userdata) {
        struct host_config *config = userdata, list = {};
        size_t n;
        int r;

        n = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
        if (n == 0 || n > HOST_PROXIES_MAX)
                return config_refuse(context, value, "a list of 1 to %u proxies", HOST_PROXIES_MAX);

        list.proxies = calloc(n, sizeof(*list.proxies));
        if (!list.proxies)
                return -ENOMEM;

        r = config_apply_array(context, value, n, handle_proxy, &list);
        if (r < 0) {
                proxies_free(list.proxies, list.n_proxies);
                return r;
        }

        proxies_free(config->proxies, config->n_proxies);
        config->proxies = list.proxies;
        config->n_proxies = list.n_proxies;
        return 0;
}

static int handle_user(struct config_context *context, struct json_object *value, void *userdata) {
        size_t n = json_object_is_type(value, json_type_string) ? (size_t) json_object_get_string_len(value) : 0;

        if (n == 0 || n > IVBS_USER_SIZE)
                return config_refuse(context, value, "a user name of 1 to %u bytes", IVBS_USER_SIZE);

        return config_handle_string(context, value, userdata);
}

static int handle_image(struct config_context *context, struct json_object *value, void *userdata) {
        const char *name = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!name || strlen(name) != (size_t) json_object_get_string_len(value) || !image_store_name_is_valid(name))
                return config_refuse(context, value,
                        "the store's name of an image: 1 to 255 bytes without \"/\" and control characters, not "
                        "beginning with \".\"");

        return config_handle_string(context, value, userdata);
}

static int handle_device(struct config_context *context, struct json_object *value, void *userdata) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
        enum device_kind *target = userdata;

        if (strcmp(s, "nbd") == 0)
                *target = DEVICE_NBD;
        else if (strcmp(s, "none") == 0)
                *target = DEVICE_NONE;
        else
                return config_refuse(context, value, "\"nbd\" or \"none\"");
        return 0;
}

static int handle_nbd_access(struct config_context *context, struct json_object *value, void *userdata) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
        enum nbd_access *target = userdata;

        if (strcmp(s, "exclusive") == 0)
                *target = NBD_ACCESS_EXCLUSIVE;
        else if (strcmp(s, "shared") == 0)
                *target = NBD_ACCESS_SHARED;
        else
                return config_refuse(context, value, "\"exclusive\" or \"shared\"");
        return 0;
}

static int handle_retain(struct config_context *context, struct json_object *value, void *userdata) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
        enum retain_mode *target = userdata;

        if (strcmp(s, "auto") == 0)
                *target = RETAIN_AUTO;
        else if (strcmp(s, "always") == 0)
                *target = RETAIN_ALWAYS;
        else
                return config_refuse(context, value, "\"auto\" or \"always\"");
        return 0;
}

static int handle_path(struct config_context *context, struct json_object *value, void *userdata) {
        char **target = userdata;
        int r;

        r = config_handle_string(context, value, target);
        if (r < 0)
                return r;
        return (*target)[0] == '/' ? 0 : config_refuse(context, value, "an absolute path");
}

static int handle_classic_login(struct config_context *context, struct json_object *value, void *userdata) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
        enum host_classic_login *target = userdata;

        if (strcmp(s, "secure") == 0)
                *target = HOST_CLASSIC_LOGIN_SECURE;
        else if (strcmp(s, "always") == 0)
                *target = HOST_CLASSIC_LOGIN_ALWAYS;
        else if (strcmp(s, "never") == 0)
                *target = HOST_CLASSIC_LOGIN_NEVER;
        else
                return config_refuse(context, value, "\"secure\", \"always\" or \"never\"");
        return 0;
}

static int handle_retain_limit(struct config_context *context, struct json_object *value, void *userdata) {
        uint64_t *target = userdata, v;
        int r;

        r = config_handle_size(context, value, &v);
        if (r < 0)
                return r;
        if (v < RETAIN_LIMIT_MIN || v > RETAIN_LIMIT_MAX)
                return config_refuse(context, value, "a size from 1M to 1G");

        *target = v;
        return 0;
}

static int handle_connections(struct config_context *context, struct json_object *value, void *userdata) {
        unsigned *target = userdata, v;

        if (!json_object_is_type(value, json_type_int) || config_handle_unsigned(context, value, &v) < 0 || v < 1 ||
                v > CONNECTIONS_MAX)
                return config_refuse(context, value, "a whole number from 1 to %u", CONNECTIONS_MAX);

        *target = v;
        return 0;
}

static int handle_time_between(struct config_context *context, struct json_object *value, uint64_t min, uint64_t max,
        const char *range, uint64_t *target) {
        uint64_t v;
        int r;

        r = config_handle_time(context, value, &v);
        if (r < 0)
                return r;
        if (v < min || v > max)
                return config_refuse(context, value, "a time from %s", range);

        *target = v;
        return 0;
}

/* Waiting for something that does not come: as long as one likes. */
static int handle_wait(struct config_context *context, struct json_object *value, void *userdata) {
        return handle_time_between(context, value, USEC_PER_SEC, UINT64_MAX, "1s to infinity", userdata);
}

/* One step of a connection: without a limit a silent proxy would never be left. */
static int handle_step(struct config_context *context, struct json_object *value, void *userdata) {
        return handle_time_between(
                context, value, 100 * USEC_PER_MSEC, 600 * USEC_PER_SEC, "100ms to 10min", userdata);
}

static int handle_busy_poll(struct config_context *context, struct json_object *value, void *userdata) {
        return handle_time_between(context, value, 0, BUSY_POLL_MAX_USEC, "0 to 1ms", userdata);
}

#define FIELD(name) offsetof(struct host_config, name)

/* clang-format off */
#define KEYS_OF_HOST                                                              \
        { "proxies", handle_proxies, 0, false },                                  \
        { "user", handle_user, FIELD(user), false },                              \
        { "attach-timeout", handle_wait, FIELD(attach_timeout_usec), false },     \
        { "connect-timeout", handle_step, FIELD(connect_timeout_usec), false },   \
        { "login-timeout", handle_step, FIELD(login_timeout_usec), false },       \
        { "dead-time", handle_step, FIELD(dead_time_usec), false },               \
        { "io-timeout", handle_wait, FIELD(io_timeout_usec), false },             \
        { "connections", handle_connections, FIELD(connections), false },         \
        { "nbd-access", handle_nbd_access, FIELD(nbd_access), false },            \
        { "retain", handle_retain, FIELD(retain), false },                        \
        { "retain-limit", handle_retain_limit, FIELD(retain_limit), false },      \
        { "busy-poll", handle_busy_poll, FIELD(busy_poll_usec), false },          \
        { "classic-login", handle_classic_login, FIELD(classic_login), false },   \
        { "tls-ca", handle_path, FIELD(tls_ca), false },                          \
        { "tls-certificate", handle_path, FIELD(tls_certificate), false },        \
        { "tls-key", handle_path, FIELD(tls_key), false },                        \
        { "tls-name", config_handle_string, FIELD(tls_name), false },             \
        { "classic-replay", config_handle_bool, FIELD(classic_replay), false }

#define KEYS_OF_IMAGE                                                    \
        { "image", handle_image, FIELD(image), false },                  \
        { "read-only", config_handle_bool, FIELD(read_only), false },    \
        { "device", handle_device, FIELD(device), false }
/* clang-format on */

static const struct config_key host_keys[] = {
        KEYS_OF_HOST,
        {},
};

static const struct config_key image_keys[] = {
        KEYS_OF_IMAGE,
        KEYS_OF_HOST,
        {},
};

/* What AttachImage may be given, as the supervisor writes it down. */
static const struct config_key option_keys[] = {
        KEYS_OF_IMAGE,
        { "proxies", handle_proxies, 0, false },
        { "user", handle_user, FIELD(user), false },
        { "steal", config_handle_bool, FIELD(steal), false },
        {},
};

/* "DIRECTORY/PART/NAME.json", or NULL. A variable in the environment overrides the directory. */
static char *path_of(const char *variable, const char *fallback, const char *part, const char *name) {
        const char *directory = secure_getenv(variable);
        char *path;

        if (!directory || !*directory)
                directory = fallback;

        return asprintf(&path, "%s%s/%s" SUFFIX, directory, part, name) < 0 ? NULL : path;
}

static char *path_in_etc(const char *part, const char *name) {
        return path_of("BLOCKSTORE_CONFIG_DIRECTORY", HOST_CONFIG_DIRECTORY, part, name);
}

static char *path_in_run(const char *part, const char *name) {
        return path_of("BLOCKSTORE_RUNTIME_DIRECTORY", HOST_RUNTIME_DIRECTORY, part, name);
}

/* Takes the path; NULL is out of memory. */
static int apply_file(
        char *path_taken, const struct config_key *keys, struct host_config *config, char **ret_message) {
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        _cleanup_free_ char *path = path_taken, *message = NULL;
        int r;

        if (!path)
                return -ENOMEM;

        r = config_file_open(path, &file, &message);
        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                r = config_apply(file, keys, config, &message);
        if (r < 0) {
                *ret_message = TAKE_PTR(message);
                return r;
        }

        return 0;
}

int host_config_load(const char *name, struct host_config **ret, char **ret_message) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        if (name && !image_local_name_is_valid(name)) {
                if (asprintf(&message,
                            "Not a local image name: expected 1 to %u of A-Z a-z 0-9 _ . : -, the first a letter or "
                            "digit.",
                            IMAGE_LOCAL_NAME_MAX) < 0)
                        message = NULL;
                *ret_message = TAKE_PTR(message);
                return -EINVAL;
        }

        config = malloc(sizeof(*config));
        if (!config) {
                *ret_message = NULL;
                return -ENOMEM;
        }
        *config = defaults;

        r = apply_file(path_in_etc("", "blockstore"), host_keys, config, &message);
        if (r >= 0 && name)
                r = apply_file(path_in_etc("/images.d", name), image_keys, config, &message);
        if (r >= 0 && name)
                r = apply_file(path_in_run("/options", name), option_keys, config, &message);
        if (r < 0) {
                *ret_message = TAKE_PTR(message);
                return r;
        }

        *ret = TAKE_PTR(config);
        return 0;
}

bool host_config_image_exists(const char *name) {
        _cleanup_free_ char *path = NULL;

        if (!image_local_name_is_valid(name))
                return false;

        path = path_in_etc("/images.d", name);
        return path && access(path, F_OK) >= 0;
}

/* The local name in "NAME.json", or NULL. */
static char *name_of_file(const char *file) {
        size_t n = strlen(file), suffix = strlen(SUFFIX);
        char *name;

        if (n <= suffix || strcmp(file + n - suffix, SUFFIX) != 0)
                return NULL;

        name = strndup(file, n - suffix);
        if (name && !image_local_name_is_valid(name)) {
                free(name);
                return NULL;
        }
        return name;
}

static int is_image_file(const struct dirent *entry) {
        _cleanup_free_ char *name = name_of_file(entry->d_name);

        return !!name;
}

/* By bytes, whatever the locale says: the order is the same for everybody. */
static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int host_config_list_images(char ***ret_names) {
        _cleanup_free_ char *path = NULL;
        struct dirent **entries = NULL;
        char **names = NULL;
        int n, r = 0;

        path = path_in_etc("", "images.d");
        if (!path)
                return -ENOMEM;
        path[strlen(path) - strlen(SUFFIX)] = '\0';

        n = scandir(path, &entries, is_image_file, NULL);
        if (n < 0) {
                if (errno != ENOENT)
                        return -errno;
                n = 0;
        }

        names = calloc((size_t) n + 1, sizeof(*names));
        if (!names)
                r = -ENOMEM;
        for (int i = 0; i < n; i++) {
                if (r >= 0) {
                        names[i] = name_of_file(entries[i]->d_name);
                        if (!names[i])
                                r = -ENOMEM;
                }
                free(entries[i]);
        }
        free(entries);

        if (r < 0) {
                for (int i = 0; names && i < n; i++)
                        free(names[i]);
                free(names);
                return r;
        }

        qsort(names, (size_t) n, sizeof(*names), compare_names);
        *ret_names = names;
        return 0;
}
