/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "bus.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

int verb_rename(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        char action[600];
        int r;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        r = bus_new_change(cli, bus, "RenameImage", &message);
        if (r < 0)
                return r;
        r = sd_bus_message_append(message, "ssa{sv}", arguments[0], arguments[1], 0);
        if (r == -EINVAL)
                return report(FAILURE_USAGE, "rename", "the names are not UTF-8");
        if (r < 0)
                return r;
        r = bus_call_change(cli, bus, message, &error, NULL);
        if (r < 0) {
                snprintf(action, sizeof action, "rename \"%s\"", arguments[0]);
                return report_bus(action, arguments[0], &error, r);
        }

        if (cli->json == JSON_OFF) {
                output_text(stdout, arguments[0]);
                fputs(" is called ", stdout);
                output_text(stdout, arguments[1]);
                puts(" now.");
        }
        return 0;
}
