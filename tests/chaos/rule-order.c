/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two writes of one block, the second sent before the first is answered, and a network that delivers the second one first. */

#include "rules.h"

#define W1 1U
#define W2 2U

struct reordered {
        struct relay_link *link;
        struct relay_packet *first;
        unsigned n_later; /* further writes of the block */
};

static enum relay_verdict keep_first(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct reordered *r = userdata;

        if (direction != TO_PROXY || packet->header.op != IVBS_OP_WRITE ||
                ivbs_offset_decode(packet->bytes + IVBS_HEADER_SIZE) != 0)
                return RELAY_PASS;
        if (r->first) {
                r->n_later++;
                return RELAY_PASS;
        }
        r->link = link;
        r->first = packet;
        return RELAY_KEEP;
}

static bool first_is_kept(struct scene *s, void *userdata) {
        return ((struct reordered *) userdata)->first;
}

enum rule_verdict rule_ordering(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct reordered reordered = {};
        unsigned w1, w2, other;
        uint64_t found;
        struct scene s;

        o.n_proxies = 1;
        o.settings = "\"dead-time\":\"20s\",";
        scene_prepare(&s, &o, rules_off);
        relay_set_filter(s.rig->proxies[0].relay, keep_first, &reordered);
        scene_start_all(&s);

        w1 = scene_start(&s, NBD_CMD_WRITE, 0, 0, W1);
        w2 = scene_start(&s, NBD_CMD_WRITE, 0, 0, W2);
        scene_wait(&s, first_is_kept, &reordered, "W1 was on the network");

        /* What comes behind W2 and touches neither is answered: so the worker has had its chance to send W2. */
        other = scene_start(&s, NBD_CMD_WRITE, 0, 1048576, W1);
        if (scene_finish(&s, other) != 0)
                scene_give_up("A write has failed");
        if (reordered.n_later > 0 && scene_finish(&s, w2) != 0)
                scene_give_up("W2 has failed");

        relay_send(reordered.link, TO_PROXY, reordered.first);
        if (scene_finish(&s, w1) != 0 || scene_finish(&s, w2) != 0)
                scene_give_up("A write has failed");
        found = scene_read(&s, 0);
        scene_end(&s);
        return found == W2 ? RULE_HOLDS : RULE_IS_BROKEN;
}
