/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Of the configuration only the addresses are looked at, by their ports: whether the rest of it is right is for blockstore-proxyd --check-config to say. */

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "host-config.h"
#include "ivbs.h"
#include "json-object.h"
#include "local-proxy.h"

#define DIRECTORY HOST_CONFIG_DIRECTORY "/proxyd"

static bool is_loopback(const char *host) {
        return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

static bool is_any(const char *host) {
        return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static bool listens(struct json_object *settings, const char *key, const char *host, uint16_t port) {
        struct json_object *list;

        if (!json_object_object_get_ex(settings, key, &list) || !json_object_is_type(list, json_type_array))
                return false;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                const char *text = json_object_get_string(json_object_array_get_idx(list, i));
                _cleanup_free_ char *own_host = NULL;
                uint16_t own_port;

                if (text && address_split(text, &own_host, &own_port) >= 0 && own_port == port &&
                        (strcmp(own_host, host) == 0 || is_any(own_host)))
                        return true;
        }
        return false;
}

bool local_proxy_find(const char *address, char ret_unit[static LOCAL_PROXY_UNIT_MAX]) {
        _cleanup_free_ char *host = NULL;
        struct dirent *entry;
        bool found = false;
        uint16_t port;
        DIR *directory;

        if (address_split(address, &host, &port) < 0 || !is_loopback(host))
                return false;
        directory = opendir(DIRECTORY);
        if (!directory)
                return false;

        while (!found && (entry = readdir(directory))) {
                _cleanup_(json_object_putp) struct json_object *settings = NULL;
                const char *end = strrchr(entry->d_name, '.');
                char path[sizeof(DIRECTORY) + 257];

                if (entry->d_name[0] == '.' || !end || strcmp(end, ".json") != 0 ||
                        strcmp(entry->d_name, "users.json") == 0)
                        continue;
                (void) snprintf(path, sizeof(path), DIRECTORY "/%s", entry->d_name);
                settings = json_object_from_file(path);
                if (!settings || !json_object_is_type(settings, json_type_object))
                        continue;
                found = listens(settings, "listen", host, port) || listens(settings, "listen-tls", host, port) ||
                        (!json_object_object_get_ex(settings, "listen", NULL) &&
                                !json_object_object_get_ex(settings, "listen-tls", NULL) && port == IVBS_PORT);
                if (found)
                        (void) snprintf(ret_unit, LOCAL_PROXY_UNIT_MAX, "blockstore-proxyd@%.*s.service",
                                (int) (end - entry->d_name), entry->d_name);
        }
        closedir(directory);
        return found;
}
