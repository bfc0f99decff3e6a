/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "bus.h"
#include "image.h"
#include "report.h"
#include "verbs.h"

int verb_detach(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *name = arguments[0];
        char action[128];
        int r;

        r = image_check_name(name);
        if (r != 0)
                return r;
        r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        r = bus_new_change(cli, bus, "DetachImage", &message);
        if (r < 0)
                return r;
        r = sd_bus_message_append(message, "sa{sv}", name, 0);
        if (r < 0)
                return r;

        r = bus_call_change(cli, bus, message, &error, NULL);
        if (r < 0) {
                snprintf(action, sizeof action, "detach \"%s\"", name);
                return report_bus(action, name, &error, r);
        }

        if (cli->json == JSON_OFF)
                printf("%s is detached.\n", name);
        return 0;
}
