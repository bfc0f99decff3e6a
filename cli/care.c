/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

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

int care_look(sd_bus *bus, const char *name, uint64_t timeout_usec, struct json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &message, BUS_NAME, BUS_PATH, BUS_MANAGER, "GetImageCare");
        if (r >= 0)
                r = sd_bus_message_append(message, "s", name);
        if (r >= 0)
                r = sd_bus_call(bus, message, timeout_usec, &error, &reply);
        if (r < 0 && error.name && failure_from_bus_name(error.name) == FAILURE_NO_SUCH_IMAGE)
                return -ENOENT;
        return r < 0 ? r : bus_json_read_properties(reply, ret);
}

bool care_print_limits(uint64_t iops, uint64_t bandwidth, uint64_t burst_usec) {
        char text[FORMAT_MAX];

        if (iops == 0 && bandwidth == 0)
                return false;
        if (iops > 0)
                printf("%" PRIu64 " requests", iops);
        if (bandwidth > 0)
                printf("%s%s", iops > 0 ? " and " : "", format_size(text, bandwidth));
        printf(" a second, with bursts of %s", format_usec(text, burst_usec));
        return true;
}

const char *care_scrub(char ret[static CARE_SCRUB_MAX], struct json_object *care) {
        time_t seconds = (time_t) (json_number(care, "scrub_updated") / 1000000);
        uint64_t damaged = json_number(care, "damaged_blocks"), size = json_number(care, "scrub_size");
        const char *state = json_string(care, "scrub_state");
        char day[16] = "";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                (void) strftime(day, sizeof day, " %Y-%m-%d", &tm);
        if (!json_is_true(care, "checksums"))
                *ret = 0;
        else if (damaged > 0)
                (void) snprintf(ret, CARE_SCRUB_MAX, "%" PRIu64 " damaged block%s", damaged, damaged == 1 ? "" : "s");
        else if (strcmp(state, "never") == 0)
                (void) snprintf(ret, CARE_SCRUB_MAX, "never");
        else if (strcmp(state, "running") == 0)
                (void) snprintf(ret, CARE_SCRUB_MAX, "running, %u%%",
                        size > 0 ? (unsigned) ((double) json_number(care, "scrub_done") / (double) size * 100) : 0);
        else
                (void) snprintf(ret, CARE_SCRUB_MAX, "%.16s%s", state, day);
        return ret;
}
