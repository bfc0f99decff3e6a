/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The limits of an image: shown without options, set with. Only what is named is changed. */

#include <inttypes.h>
#include <string.h>

#include "bus-json.h"
#include "bus.h"
#include "care.h"
#include "config.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define DEFAULT_BURST_USEC 1000000U

static const char *arg_iops, *arg_bandwidth, *arg_burst;

const struct option_entry limit_options[] = {
        { "iops", 0, "N", "Requests a second; 0: no limit", OPTION_STRING, &arg_iops },
        { "bandwidth", 0, "SIZE", "Bytes a second, read and written (100M); 0: no limit", OPTION_STRING,
                &arg_bandwidth },
        { "burst", 0, "TIME", "What was not used for so long may be used at once (1s)", OPTION_STRING, &arg_burst },
        { NULL },
};

struct limits {
        uint64_t iops, bandwidth, burst_usec;
};

static int read_arguments(struct limits *limits) {
        char *end;

        if (arg_iops) {
                errno = 0;
                limits->iops = strtoull(arg_iops, &end, 10);
                if (errno != 0 || *end || end == arg_iops || *arg_iops == '-')
                        return report(FAILURE_USAGE, "limit", "\"%s\" is no number of requests a second", arg_iops);
        }
        if (arg_bandwidth && size_parse(arg_bandwidth, &limits->bandwidth) < 0)
                return report(FAILURE_USAGE, "limit",
                        "\"%s\" is no bandwidth: expected bytes a second, such as 100M, or 0", arg_bandwidth);
        if (arg_burst && (time_parse(arg_burst, &limits->burst_usec) < 0 || limits->burst_usec == UINT64_MAX))
                return report(
                        FAILURE_USAGE, "limit", "\"%s\" is no time: expected one such as 500ms or 2s", arg_burst);
        return 0;
}

static int set(const struct cli *cli, sd_bus *bus, const char *name, const struct limits *limits) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        char action[300];
        int r;

        r = bus_new_change(cli, bus, "SetImageLimits", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "sttt", name, limits->iops, limits->bandwidth, limits->burst_usec);
        if (r < 0)
                return r;
        r = bus_call_change(cli, bus, message, &error, NULL);
        if (r >= 0)
                return 0;
        snprintf(action, sizeof action, "set the limits of \"%s\"", name);
        return report_bus(action, name, &error, r);
}

static void show(const char *name, const struct limits *limits) {
        output_text(stdout, name);
        if (limits->iops == 0 && limits->bandwidth == 0) {
                puts(" has no limits.");
                return;
        }
        fputs(" is limited to ", stdout);
        (void) care_print_limits(limits->iops, limits->bandwidth, limits->burst_usec);
        puts(".");
}

int verb_limit(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(json_object_putp) struct json_object *care = NULL;
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        struct limits limits;
        int r;

        r = bus_open(cli, &bus);
        if (r == 0)
                r = care_load(bus, arguments[0], &care);
        if (r != 0)
                return r;
        limits = (struct limits){
                .iops = json_number(care, "iops"),
                .bandwidth = json_number(care, "bandwidth"),
                .burst_usec = json_number(care, "burst_usec"),
        };
        if (limits.iops == 0 && limits.bandwidth == 0)
                limits.burst_usec = DEFAULT_BURST_USEC;

        if (arg_iops || arg_bandwidth || arg_burst) {
                r = read_arguments(&limits);
                if (r == 0)
                        r = set(cli, bus, arguments[0], &limits);
                if (r == 0 && cli->json != JSON_OFF)
                        r = care_load(bus, arguments[0], &care);
                if (r != 0)
                        return r;
        }
        r = json_add(care, "name", json_object_new_string(arguments[0]));
        if (r < 0)
                return r;
        if (!output_json(cli, care))
                show(arguments[0], &limits);
        return 0;
}
