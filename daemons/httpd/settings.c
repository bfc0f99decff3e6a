/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config.h"
#include "host-config.h"
#include "settings.h"

#define FILE_NAME "httpd.json"

static int add_host(struct settings *settings, const char *host) {
        char *copy = strdup(host);

        if (!copy)
                return -ENOMEM;
        settings->hosts[settings->n_hosts++] = copy;
        return 0;
}

static int handle_host(struct config_context *context, struct json_object *value, void *userdata) {
        struct settings *settings = userdata;
        const char *host;

        if (!json_object_is_type(value, json_type_string))
                return config_refuse(context, value, "the name of a host, without a port");
        host = json_object_get_string(value);
        if (!*host || strlen(host) > 253 ||
                host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")])
                return config_refuse(context, value, "the name of a host, without a port");
        return add_host(settings, host);
}

static int handle_hosts(struct config_context *context, struct json_object *value, void *userdata) {
        return config_apply_array(context, value, SETTINGS_HOSTS_MAX, handle_host, userdata);
}

static const struct config_key keys[] = {
        { "control", config_handle_bool, offsetof(struct settings, control), false },
        { "classic", config_handle_bool, offsetof(struct settings, classic), false },
        { "anonymous-read", config_handle_bool, offsetof(struct settings, anonymous_read), false },
        { "local-token", config_handle_bool, offsetof(struct settings, local_token), false },
        { "hosts", handle_hosts, 0, false },
        {},
};

/* This host's own name is as good as localhost: who can make it resolve to somewhere else has the operator's name server anyway. */
static int add_own_name(struct settings *settings) {
        char name[HOST_NAME_MAX + 1];

        if (gethostname(name, sizeof name) < 0 || !name[0])
                return 0;
        name[sizeof name - 1] = 0;
        return add_host(settings, name);
}

int settings_load(struct settings **ret, char **ret_message) {
        _cleanup_(settings_freep) struct settings *settings = calloc(1, sizeof(*settings));
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        const char *directory = getenv("BLOCKSTORE_CONFIG_DIRECTORY");
        char path[PATH_MAX];
        int r;

        *ret_message = NULL;
        if (!settings)
                return -ENOMEM;
        if ((size_t) snprintf(path, sizeof path, "%s/" FILE_NAME, directory ?: HOST_CONFIG_DIRECTORY) >= sizeof path)
                return -ENAMETOOLONG;

        r = config_file_open(path, &file, ret_message);
        if (r == -ENOENT) {
                free(*ret_message);
                *ret_message = NULL;
        } else if (r < 0)
                return r;
        else {
                r = config_apply(file, keys, settings, ret_message);
                if (r < 0)
                        return r;
        }

        r = settings_load_credentials(settings, ret_message);
        if (r < 0)
                return r;
        r = add_own_name(settings);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(settings);
        return 0;
}

struct settings *settings_free(struct settings *settings) {
        if (!settings)
                return NULL;

        for (size_t i = 0; i < settings->n_hosts; i++)
                free(settings->hosts[i]);
        if (settings->token)
                explicit_bzero(settings->token, strlen(settings->token));
        if (settings->key)
                explicit_bzero(settings->key, strlen(settings->key));
        free(settings->token);
        free(settings->certificate);
        free(settings->key);
        free(settings->client_ca);
        free(settings);
        return NULL;
}
