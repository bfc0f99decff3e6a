/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The way to blockstored: the system bus, and nothing else. Calls that change something carry the flag by which polkit
 * may ask the user, and an agent for the terminal if there is need of one. */

#include <stdarg.h>
#include <string.h>

#include "bus.h"
#include "polkit-agent.h"
#include "report.h"

int bus_open(const struct cli *cli, sd_bus **ret) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system(&bus);
        if (r < 0)
                return report(FAILURE_SYSTEM, NULL,
                        "blockstored cannot be reached on the system bus: %s. Is the package installed and D-Bus "
                        "running?",
                        strerror(-r));

        *ret = TAKE_PTR(bus);
        return 0;
}

int bus_call_read(
        sd_bus *bus, const char *member, sd_bus_error *error, sd_bus_message **ret_reply, const char *types, ...) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        va_list ap;
        int r;

        r = sd_bus_message_new_method_call(bus, &message, BUS_NAME, BUS_PATH, BUS_MANAGER, member);
        if (r < 0)
                return r;

        if (types) {
                va_start(ap, types);
                r = sd_bus_message_appendv(message, types, ap);
                va_end(ap);
                if (r < 0)
                        return r;
        }

        return sd_bus_call(bus, message, BUS_TIMEOUT_READ_USEC, error, ret_reply);
}

int bus_new_change(const struct cli *cli, sd_bus *bus, const char *member, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &message, BUS_NAME, BUS_PATH, BUS_MANAGER, member);
        if (r < 0)
                return r;

        r = sd_bus_message_set_allow_interactive_authorization(message, !cli->no_ask_password);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(message);
        return 0;
}

int bus_call_change(
        const struct cli *cli, sd_bus *bus, sd_bus_message *message, sd_bus_error *error, sd_bus_message **ret_reply) {
        int r;

        /* Without an agent the answer is a refusal that says so: not worth a failure of our own. */
        (void) polkit_agent_start(cli);
        r = sd_bus_call(bus, message, BUS_TIMEOUT_CHANGE_USEC, error, ret_reply);
        polkit_agent_stop();

        return r;
}
