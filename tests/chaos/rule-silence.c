/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A connection that nothing passes over: kept alive by the worker where the proxy would end it, and given up by the worker where the proxy says nothing. */

#include "rules.h"

#define ENOUGH 5U /* a worker sends them more often than the limit asks for: so many take longer than it */

struct idle {
        unsigned n_keepalives;
};

static enum relay_verdict count_keepalives(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct idle *idle = userdata;

        idle->n_keepalives += packet->header.op == IVBS_OP_KEEPALIVE && direction == TO_WORKER;
        return RELAY_PASS;
}

static bool idle_is_over(struct scene *s, void *userdata) {
        const struct idle *idle = userdata;

        return idle->n_keepalives >= ENOUGH || relay_n_ended(s->rig->proxies[0].relay) > 0;
}

/* Nobody asks for anything for longer than the proxy's idle limit. */
enum rule_verdict rule_keepalive(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct idle idle = {};
        struct scene s;
        bool ended;

        o.n_proxies = 1;
        o.settings = "\"connections\":1,";
        o.proxy_settings = "\"idle-limit\":\"4s\",";
        scene_prepare(&s, &o, rules_off);
        relay_set_filter(s.rig->proxies[0].relay, count_keepalives, &idle);
        scene_start_all(&s);
        scene_wait(&s, idle_is_over, &idle, "the idle connection was kept, or not");
        ended = relay_n_ended(s.rig->proxies[0].relay) > 0;
        scene_end(&s);
        return ended ? RULE_IS_BROKEN : RULE_HOLDS;
}

/* The active proxy says nothing more; another one would do. Nothing is ever reset, so only the worker's own patience can end it:
 * a second connection, silenced while it logs in, would end the first one with itself. */
enum rule_verdict rule_dead_time(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct scene s;
        unsigned io;
        bool answered;

        o.n_proxies = 2;
        o.settings = "\"connections\":1,\"login-timeout\":\"60s\",\"dead-time\":\"500ms\",";
        scene_begin(&s, &o, rules_off);
        scene_write(&s, 0, 0, 1);
        relay_set_silent(s.rig->proxies[rig_active(s.rig)].relay, true);
        io = scene_start(&s, NBD_CMD_READ, 0, 0, 1);
        /* 500 ms are promised; to wait longer for the other verdict would prove no more. */
        answered = scene_try(&s, scene_io_is_done, s.ios + io, 10 * SEC) && s.ios[io].done && s.ios[io].error == 0;
        scene_end(&s);
        return answered ? RULE_HOLDS : RULE_IS_BROKEN;
}
