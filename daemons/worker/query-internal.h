/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What query.c (the process) and query-bus.c (the operations) share. */

#include <systemd/sd-bus.h>

#include "engine.h"
#include "peer-bus.h"

struct query {
        sd_event *event;
        struct host_config *config;
        struct credentials *credentials;
        struct engine *engine; /* NULL: refused from the start */
        struct engine_status status;
        unsigned n_clients;
        bool retiring; /* no more questions than those of who is connected */
        bool stopping;
        enum failure failure;
        enum failure refused; /* every question is answered with this */
        char sentence[512];
        sd_event_source *idle_timer, *listen_source, *retire_timer;
};

extern const sd_bus_vtable query_vtable[];
