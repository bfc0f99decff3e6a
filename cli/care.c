/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "bus-json.h"
#include "bus.h"
#include "care.h"
#include "output.h"
#include "report.h"

int care_load(sd_bus *bus, const char *name, struct json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        struct json_object *care;
        char action[300];
        int r;

        r = bus_call_read(bus, "GetImageCare", &error, &reply, "s", name);
        if (r < 0) {
                snprintf(action, sizeof action, "look at \"%s\"", name);
                return report_bus(action, name, &error, r);
        }
        r = bus_json_read_properties(reply, &care);
        if (r < 0)
                return r;
        json_object_put(*ret);
        *ret = care;
        return 0;
}
