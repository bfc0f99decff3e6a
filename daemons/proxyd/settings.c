/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libgen.h>
#include <string.h>

#include "busy-poll.h"
#include "config.h"
#include "settings-store.h"

#define DEFAULT_STORE_PATH "/var/lib/blockstore-proxy/store"
#define DEFAULT_USERS_PATH "users.json"

#define MSEC_USEC          UINT64_C(1000)
#define SEC_USEC           UINT64_C(1000000)
#define MIB                (UINT64_C(1024) * 1024)

struct string_list {
        char ***strings;
        size_t *n;
};

static int append(struct string_list *list, const char *text) {
        char **grown;

        grown = reallocarray(*list->strings, *list->n + 1, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        *list->strings = grown;
        grown[*list->n] = strdup(text);
        if (!grown[*list->n])
                return -ENOMEM;
        (*list->n)++;
        return 0;
}

static int handle_address(struct config_context *context, struct json_object *value, void *userdata) {
        _cleanup_free_ char *address = NULL;
        int r;

        if (!json_object_is_type(value, json_type_string))
                return config_refuse(context, value, "an address, such as \"10.0.0.1:11417\" or \"[fd00::1]:11417\"");
        r = address_normalise(json_object_get_string(value), &address);
        if (r == -EINVAL)
                return config_refuse(context, value, "an address, such as \"10.0.0.1:11417\" or \"[fd00::1]:11417\"");
        if (r < 0)
                return r;
        return append(userdata, address);
}

/* As an address, but port 0 asks the kernel for a free one. */
static int handle_listen_address(struct config_context *context, struct json_object *value, void *userdata) {
        const char *text = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
        size_t n = strlen(text);

        if (n > 2 && strcmp(text + n - 2, ":0") == 0 && text[n - 3] != ':')
                return append(userdata, text);
        if (address_is_tls(text))
                return config_refuse(
                        context, value, "an address without \"tls://\": those for TLS stand in \"listen-tls\"");
        return handle_address(context, value, userdata);
}

static int handle_listen(struct config_context *context, struct json_object *value, void *userdata) {
        struct settings *settings = userdata;
        struct string_list list = { &settings->listen, &settings->n_listen };

        return config_apply_array(context, value, SETTINGS_LISTEN_MAX, handle_listen_address, &list);
}

static int handle_listen_tls(struct config_context *context, struct json_object *value, void *userdata) {
        struct settings *settings = userdata;
        struct string_list list = { &settings->listen_tls, &settings->n_listen_tls };

        return config_apply_array(context, value, SETTINGS_LISTEN_MAX, handle_listen_address, &list);
}

static int handle_tls(struct config_context *context, struct json_object *value, void *userdata) {
        static const struct config_key keys[] = {
                { "certificate", config_handle_string, offsetof(struct settings, tls.certificate), true },
                { "key", config_handle_string, offsetof(struct settings, tls.key), true },
                { "client-ca", config_handle_string, offsetof(struct settings, tls.ca), false },
                {},
        };

        return config_apply_object(context, value, keys, userdata);
}

static int handle_advertise(struct config_context *context, struct json_object *value, void *userdata) {
        struct settings *settings = userdata;
        struct string_list list = { &settings->advertise, &settings->n_advertise };

        return config_apply_array(context, value, SETTINGS_LISTEN_MAX, handle_address, &list);
}

static int handle_peers(struct config_context *context, struct json_object *value, void *userdata) {
        struct settings *settings = userdata;
        struct string_list list = { &settings->peers, &settings->n_peers };

        return config_apply_array(context, value, SETTINGS_PEERS_MAX - SETTINGS_LISTEN_MAX, handle_address, &list);
}

/* A time that a timer can be set to. */
static int handle_limit(struct config_context *context, struct json_object *value, void *userdata) {
        uint64_t usec = 0;
        int r;

        r = config_handle_time(context, value, &usec);
        if (r < 0)
                return r;
        if (usec < MSEC_USEC || (usec > 24 * 3600 * SEC_USEC && usec != UINT64_MAX))
                return config_refuse(context, value, "a time from 1ms to 24h, or \"infinity\"");

        *(uint64_t *) userdata = usec;
        return 0;
}

static int handle_finite_limit(struct config_context *context, struct json_object *value, void *userdata) {
        uint64_t usec = 0;
        int r;

        r = handle_limit(context, value, &usec);
        if (r < 0)
                return r;
        if (usec == UINT64_MAX)
                return config_refuse(context, value, "a time from 1ms to 24h");

        *(uint64_t *) userdata = usec;
        return 0;
}

/* Room for the largest request at least. */
static int handle_memory(struct config_context *context, struct json_object *value, void *userdata) {
        uint64_t size = 0;
        int r;

        r = config_handle_size(context, value, &size);
        if (r < 0)
                return r;
        if (size < 2 * (uint64_t) IVBS_DATA_MAX || size > 1024 * 1024 * MIB)
                return config_refuse(context, value, "a size from 64M to 1T");

        *(uint64_t *) userdata = size;
        return 0;
}

static int handle_busy_poll(struct config_context *context, struct json_object *value, void *userdata) {
        uint64_t usec = 0;
        int r;

        r = config_handle_time(context, value, &usec);
        if (r < 0)
                return r;
        if (usec > BUSY_POLL_MAX_USEC)
                return config_refuse(context, value, "a time from 0 to 1ms");

        *(uint64_t *) userdata = usec;
        return 0;
}

static int handle_clients(struct config_context *context, struct json_object *value, void *userdata) {
        unsigned n = 0;
        int r;

        r = config_handle_unsigned(context, value, &n);
        if (r < 0)
                return r;
        if (n < 1 || n > 65536)
                return config_refuse(context, value, "a number from 1 to 65536");

        *(unsigned *) userdata = n;
        return 0;
}

static int handle_classic_login(struct config_context *context, struct json_object *value, void *userdata) {
        static const char *const names[] = {
                [CLASSIC_LOGIN_SECURE] = "secure",
                [CLASSIC_LOGIN_ALWAYS] = "always",
                [CLASSIC_LOGIN_NEVER] = "never",
        };

        for (unsigned i = 0; json_object_is_type(value, json_type_string) && i < ELEMENTSOF(names); i++)
                if (strcmp(json_object_get_string(value), names[i]) == 0) {
                        *(enum classic_login *) userdata = i;
                        return 0;
                }
        return config_refuse(context, value, "\"secure\", \"always\" or \"never\"");
}

static int handle_failed_logins(struct config_context *context, struct json_object *value, void *userdata) {
        unsigned n = 0;
        int r;

        r = config_handle_unsigned(context, value, &n);
        if (r < 0)
                return r;
        if (n > 60000)
                return config_refuse(context, value, "a number a minute from 1 to 60000, or 0 for no limit");

        *(unsigned *) userdata = n;
        return 0;
}

static int handle_user_max(struct config_context *context, struct json_object *value, void *userdata) {
        unsigned n = 0;
        int r;

        r = handle_clients(context, value, &n);
        if (r >= 0)
                *(uint64_t *) userdata = n;
        return r;
}

static int handle_rate(struct config_context *context, struct json_object *value, void *userdata) {
        uint64_t rate = 0;
        int r;

        r = config_handle_size(context, value, &rate);
        if (r < 0)
                return r;
        if (rate < MIB || rate > 1024 * 1024 * MIB)
                return config_refuse(context, value, "bytes a second, from 1M to 1T");

        *(uint64_t *) userdata = rate;
        return 0;
}

static const struct config_key settings_keys[] = {
        { "listen", handle_listen, 0, false },
        { "listen-tls", handle_listen_tls, 0, false },
        { "tls", handle_tls, 0, false },
        { "advertise", handle_advertise, 0, false },
        { "peers", handle_peers, 0, false },
        { "store", settings_handle_store, 0, false },
        { "users", config_handle_string, offsetof(struct settings, users_path), false },
        { "idle-limit", handle_limit, offsetof(struct settings, idle_limit_usec), false },
        { "login-limit", handle_finite_limit, offsetof(struct settings, login_limit_usec), false },
        { "proxies-interval", handle_finite_limit, offsetof(struct settings, proxies_interval_usec), false },
        { "drain-limit", handle_finite_limit, offsetof(struct settings, drain_limit_usec), false },
        { "memory", handle_memory, offsetof(struct settings, memory), false },
        { "client-memory", handle_memory, offsetof(struct settings, client_memory), false },
        { "clients-max", handle_clients, offsetof(struct settings, clients_max), false },
        { "classic-login", handle_classic_login, offsetof(struct settings, classic_login), false },
        { "failed-logins", handle_failed_logins, offsetof(struct settings, failed_logins), false },
        { "user-clients-max", handle_user_max, offsetof(struct settings, user_clients_max), false },
        { "user-images-max", handle_user_max, offsetof(struct settings, user_images_max), false },
        { "busy-poll", handle_busy_poll, offsetof(struct settings, busy_poll_usec), false },
        { "scrub-rate", handle_rate, offsetof(struct settings, scrub_rate), false },
        {},
};

static int resolve(const char *config_path, const char *fallback, char **path) {
        _cleanup_free_ char *copy = NULL, *absolute = NULL;

        if (*path && (*path)[0] == '/')
                return 0;

        copy = strdup(config_path);
        if (!copy || asprintf(&absolute, "%s/%s", dirname(copy), *path ? *path : fallback) < 0) {
                absolute = NULL;
                return -ENOMEM;
        }

        free(*path);
        *path = TAKE_PTR(absolute);
        return 0;
}

static int complete(struct settings *settings, const char *config_path) {
        static const char *const everywhere[] = { "0.0.0.0:11417", "[::]:11417" };
        int r = 0;

        for (size_t i = 0;
                settings->n_listen_tls == 0 && settings->n_listen < i + 1 && i < ELEMENTSOF(everywhere) && r >= 0; i++)
                r = append(&(struct string_list){ &settings->listen, &settings->n_listen }, everywhere[i]);
        if (r < 0)
                return r;

        /* One client that takes no answers must not be able to hold everything. */
        if (settings->client_memory > settings->memory / 2)
                settings->client_memory = settings->memory / 2;

        if (strcmp(settings->store_ops->type, "rbd") == 0) {
                r = settings_complete_store(settings);
                if (r >= 0)
                        r = resolve(config_path, "", &settings->ceph_conf);
        } else {
                if (!settings->store_path)
                        settings->store_path = strdup(DEFAULT_STORE_PATH);
                r = settings->store_path ? resolve(config_path, DEFAULT_STORE_PATH, &settings->store_path) : -ENOMEM;
        }
        if (r < 0)
                return r;
        if (settings->tls.certificate)
                r = resolve(config_path, "", &settings->tls.certificate);
        if (r >= 0 && settings->tls.key)
                r = resolve(config_path, "", &settings->tls.key);
        if (r >= 0 && settings->tls.ca)
                r = resolve(config_path, "", &settings->tls.ca);
        if (r < 0)
                return r;
        return resolve(config_path, DEFAULT_USERS_PATH, &settings->users_path);
}

static int load(const char *path, bool all, struct settings **ret, char **ret_users_path, char **ret_message) {
        _cleanup_(settings_freep) struct settings *settings = NULL;
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        int r;

        settings = calloc(1, sizeof(*settings));
        if (!settings)
                return -ENOMEM;
        *settings = (struct settings){
                .store_ops = store_types[0],
                .idle_limit_usec = 30 * SEC_USEC,
                .login_limit_usec = 10 * SEC_USEC,
                .proxies_interval_usec = 60 * SEC_USEC,
                .drain_limit_usec = 2 * SEC_USEC,
                .memory = 256 * MIB,
                .client_memory = 64 * MIB,
                .clients_max = 1024,
                .busy_poll_usec = BUSY_POLL_DEFAULT_USEC,
                .failed_logins = 30,
                .user_clients_max = UINT64_MAX,
                .user_images_max = UINT64_MAX,
                .scrub_rate = 64 * MIB,
        };

        r = config_file_open(path, &file, ret_message);
        if (r == -ENOENT) {
                /* Most likely the instance's name is not the one that was configured. */
                free(*ret_message);
                if (asprintf(ret_message,
                            "There is no %s. All has a default; the least that works is made with: echo '{}' >%s",
                            path, path) < 0)
                        *ret_message = NULL;
        }
        if (r < 0)
                return r;
        r = all ? config_apply_all(file, settings_keys, settings, ret_message)
                : config_apply(file, settings_keys, settings, ret_message);
        if (r < 0 && ret_users_path && complete(settings, path) >= 0)
                *ret_users_path = TAKE_PTR(settings->users_path);
        if (r < 0)
                return r;
        if (settings->n_listen_tls > 0 && !settings->tls.certificate) {
                if (asprintf(ret_message, "%s: \"listen-tls\" needs \"tls\" with \"certificate\" and \"key\"", path) <
                        0)
                        *ret_message = NULL;
                return -EINVAL;
        }
        r = complete(settings, path);
        if (r < 0)
                return r;

        if (ret_users_path) {
                *ret_users_path = strdup(settings->users_path);
                if (!*ret_users_path)
                        return -ENOMEM;
        }
        if (ret)
                *ret = TAKE_PTR(settings);
        return 0;
}

int settings_load(const char *path, struct settings **ret, char **ret_message) {
        return load(path, false, ret, NULL, ret_message);
}

int settings_check(const char *path, char **ret_users_path, char **ret_message) {
        return load(path, true, NULL, ret_users_path, ret_message);
}

static bool strings_equal(char **a, size_t n_a, char **b, size_t n_b) {
        bool equal = n_a == n_b;

        for (size_t i = 0; equal && i < n_a; i++)
                equal = strcmp(a[i], b[i]) == 0;
        return equal;
}

static void swap_strings(char ***a, size_t *n_a, char ***b, size_t *n_b) {
        char **strings = *a;
        size_t n = *n_a;

        *a = *b;
        *n_a = *n_b;
        *b = strings;
        *n_b = n;
}

/* Adds the words of what has changed, or cannot change, to a list. */
static void note(char text[static SETTINGS_CHANGES_MAX], const char *key, bool differs) {
        size_t n = strlen(text);

        if (differs)
                (void) snprintf(text + n, SETTINGS_CHANGES_MAX - n, "%s%s", n > 0 ? ", " : "", key);
}

void settings_take(struct settings *settings, struct settings *fresh, char ret_taken[static SETTINGS_CHANGES_MAX],
        char ret_left[static SETTINGS_CHANGES_MAX]) {
        const struct {
                const char *key;
                uint64_t *old, *new;
        } numbers[] = {
                { "idle-limit", &settings->idle_limit_usec, &fresh->idle_limit_usec },
                { "login-limit", &settings->login_limit_usec, &fresh->login_limit_usec },
                { "proxies-interval", &settings->proxies_interval_usec, &fresh->proxies_interval_usec },
                { "drain-limit", &settings->drain_limit_usec, &fresh->drain_limit_usec },
                { "client-memory", &settings->client_memory, &fresh->client_memory },
                { "user-clients-max", &settings->user_clients_max, &fresh->user_clients_max },
                { "user-images-max", &settings->user_images_max, &fresh->user_images_max },
                { "scrub-rate", &settings->scrub_rate, &fresh->scrub_rate },
                { "busy-poll", &settings->busy_poll_usec, &fresh->busy_poll_usec },
        };

        ret_taken[0] = ret_left[0] = 0;
        note(ret_taken, "advertise",
                !strings_equal(settings->advertise, settings->n_advertise, fresh->advertise, fresh->n_advertise));
        swap_strings(&settings->advertise, &settings->n_advertise, &fresh->advertise, &fresh->n_advertise);
        note(ret_taken, "peers", !strings_equal(settings->peers, settings->n_peers, fresh->peers, fresh->n_peers));
        swap_strings(&settings->peers, &settings->n_peers, &fresh->peers, &fresh->n_peers);

        /* Of the memory that there is, which stays. */
        if (fresh->client_memory > settings->memory / 2)
                fresh->client_memory = settings->memory / 2;
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                note(ret_taken, numbers[i].key, *numbers[i].old != *numbers[i].new);
                *numbers[i].old = *numbers[i].new;
        }

        note(ret_taken, "classic-login", settings->classic_login != fresh->classic_login);
        settings->classic_login = fresh->classic_login;
        note(ret_left, "failed-logins", settings->failed_logins != fresh->failed_logins);
        note(ret_left, "listen-tls",
                !strings_equal(settings->listen_tls, settings->n_listen_tls, fresh->listen_tls, fresh->n_listen_tls));
        note(ret_left, "listen", !strings_equal(settings->listen, settings->n_listen, fresh->listen, fresh->n_listen));
        note(ret_left, "store",
                settings->store_ops != fresh->store_ops || strcmp(settings->store_path, fresh->store_path) != 0);
        note(ret_left, "users", strcmp(settings->users_path, fresh->users_path) != 0);
        note(ret_left, "memory", settings->memory != fresh->memory);
        /* Descriptors and queues are had for so many. */
        note(ret_left, "clients-max", settings->clients_max != fresh->clients_max);
}

static void free_strings(char **strings, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(strings[i]);
        free(strings);
}

struct settings *settings_free(struct settings *settings) {
        if (!settings)
                return NULL;

        free_strings(settings->listen, settings->n_listen);
        free_strings(settings->listen_tls, settings->n_listen_tls);
        tls_files_done(&settings->tls);
        free_strings(settings->advertise, settings->n_advertise);
        free_strings(settings->peers, settings->n_peers);
        settings_free_store(settings);
        free(settings->users_path);
        free(settings);
        return NULL;
}
