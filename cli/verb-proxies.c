/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "bus-json.h"
#include "bus.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

static const struct column columns[] = {
        { "PROXY", "address", COLUMN_TEXT },
        { "PRIORITY", "priority", COLUMN_NUMBER },
        { "STATE", "state", COLUMN_STATE },
        { "ROUND TRIP", "round_trip_usec", COLUMN_USEC },
        { "ORIGIN", "origin", COLUMN_TEXT },
};

int verb_proxies(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) struct json_object *proxies = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        r = bus_call_read(bus, "ListProxies", &error, &reply, NULL);
        if (r < 0)
                return report_bus("list the proxies", NULL, &error, r);
        r = bus_json_read_records(reply, proxy_fields, &proxies);
        if (r < 0)
                return r;

        return output_table(cli, columns, ELEMENTSOF(columns), proxies);
}
