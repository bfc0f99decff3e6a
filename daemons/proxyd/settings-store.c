/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The member "store" of a proxy's configuration: which kind, and where it is. What belongs to another kind than the one that is named is refused, not ignored. */

#include <string.h>

#include "config.h"
#include "settings-store.h"

#define SEC_USEC          UINT64_C(1000000)
#define DEFAULT_CEPH_CONF "/etc/ceph/ceph.conf"
#define DEFAULT_CEPH_NAME "blockstore" /* of the pool, and of the client */
#define CONNECT_LIMIT     (10 * SEC_USEC)
#define CONNECT_LIMIT_MAX (300 * SEC_USEC)

static int handle_type(struct config_context *context, struct json_object *value, void *userdata) {
        struct settings *settings = userdata;
        char known[128] = "";
        size_t n = 0;

        for (size_t i = 0; store_types[i]; i++) {
                if (json_object_is_type(value, json_type_string) &&
                        strcmp(json_object_get_string(value), store_types[i]->type) == 0) {
                        settings->store_ops = store_types[i];
                        return 0;
                }
                n += (size_t) snprintf(
                        known + n, sizeof(known) - n, "%s\"%s\"", i > 0 ? " or " : "", store_types[i]->type);
        }
        return config_refuse(context, value, "%s", known);
}

/* A name in Ceph: never empty, and nothing that would be two things in a message. */
static int handle_name(struct config_context *context, struct json_object *value, void *userdata) {
        const char *text = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

        if (!*text || strlen(text) > 64 || strpbrk(text, "/@ \t\n"))
                return config_refuse(context, value, "a name of 1 to 64 bytes without \"/\", \"@\" and blanks");
        return config_handle_string(context, value, userdata);
}

static int handle_connect_limit(struct config_context *context, struct json_object *value, void *userdata) {
        uint64_t usec = 0;
        int r;

        r = config_handle_time(context, value, &usec);
        if (r < 0)
                return r;
        if (usec < SEC_USEC || usec > CONNECT_LIMIT_MAX)
                return config_refuse(context, value, "a time from 1s to 5min");
        *(uint64_t *) userdata = usec;
        return 0;
}

int settings_handle_store(struct config_context *context, struct json_object *value, void *userdata) {
        static const struct config_key keys[] = {
                { "type", handle_type, 0, false },
                { "path", config_handle_string, offsetof(struct settings, store_path), false },
                { "pool", handle_name, offsetof(struct settings, ceph_pool), false },
                { "namespace", handle_name, offsetof(struct settings, ceph_namespace), false },
                { "conf", config_handle_string, offsetof(struct settings, ceph_conf), false },
                { "user", handle_name, offsetof(struct settings, ceph_user), false },
                { "connect-limit", handle_connect_limit, offsetof(struct settings, ceph_connect_usec), false },
                {},
        };
        struct settings *settings = userdata;
        bool rbd;
        int r;

        r = config_apply_object(context, value, keys, userdata);
        if (r < 0)
                return r;

        rbd = strcmp(settings->store_ops->type, "rbd") == 0;
        if (rbd && settings->store_path)
                return config_refuse(context, value, "no \"path\" with the type \"rbd\": its images are in a pool");
        if (!rbd && (settings->ceph_pool || settings->ceph_namespace || settings->ceph_conf || settings->ceph_user ||
                            settings->ceph_connect_usec > 0))
                return config_refuse(context, value,
                        "\"pool\", \"namespace\", \"conf\", \"user\" and \"connect-limit\" only with the type "
                        "\"rbd\"");
        return 0;
}

static int set_default(char **value, const char *text) {
        if (!*value)
                *value = strdup(text);
        return *value ? 0 : -ENOMEM;
}

int settings_complete_store(struct settings *settings) {
        int r;

        if (strcmp(settings->store_ops->type, "rbd") != 0)
                return 0;

        r = set_default(&settings->ceph_pool, DEFAULT_CEPH_NAME);
        if (r >= 0)
                r = set_default(&settings->ceph_user, DEFAULT_CEPH_NAME);
        if (r >= 0)
                r = set_default(&settings->ceph_conf, DEFAULT_CEPH_CONF);
        if (r < 0)
                return r;
        if (settings->ceph_connect_usec == 0)
                settings->ceph_connect_usec = CONNECT_LIMIT;
        if (asprintf(&settings->store_path, "rbd:%s%s%s", settings->ceph_pool, settings->ceph_namespace ? "/" : "",
                    settings->ceph_namespace ? settings->ceph_namespace : "") < 0) {
                settings->store_path = NULL;
                return -ENOMEM;
        }
        return 0;
}

void settings_free_store(struct settings *settings) {
        free(settings->store_path);
        free(settings->ceph_pool);
        free(settings->ceph_namespace);
        free(settings->ceph_conf);
        free(settings->ceph_user);
}
