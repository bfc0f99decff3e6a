/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "ivbs-hello.h"
#include "peer-bus.h"
#include "query-options.h"

static int read_uuid(sd_bus_message *m, uint8_t *uuid, sd_bus_error *error) {
        const char *value;
        sd_id128_t id;
        int r;

        r = sd_bus_message_read(m, "v", "s", &value);
        if (r < 0)
                return r;
        if (sd_id128_from_string(value, &id) < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "\"%s\" is not a UUID.", value);
        memcpy(uuid, id.bytes, IVBS_UUID_SIZE);
        return 0;
}

static int read_flag(sd_bus_message *m, uint32_t flag, uint32_t *flags) {
        int r, yes;

        r = sd_bus_message_read(m, "v", "b", &yes);
        if (r < 0)
                return r;
        *flags = yes ? *flags | flag : *flags & ~flag;
        return 0;
}

int query_read_options(
        sd_bus_message *m, const struct query_option options[], uint32_t *flags, uint8_t *uuid, sd_bus_error *error) {
        const struct query_option *option;
        const char *key;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r < 0)
                        return r;
                for (option = options; option->name && strcmp(option->name, key) != 0; option++)
                        ;
                if (!option->name)
                        return peer_bus_error_set(
                                error, FAILURE_USAGE, "%s knows no option \"%s\".", sd_bus_message_get_member(m), key);
                r = option->flag != 0 ? read_flag(m, option->flag, flags) : read_uuid(m, uuid, error);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : 0;
}
