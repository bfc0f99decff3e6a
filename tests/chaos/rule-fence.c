/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ghost write: W1 is stuck somewhere; the worker gives up that session, repeats W1 elsewhere and gets on; W2 to the same block is acknowledged; then the stuck W1 is let
 * go. If it lands, W2 is gone. Where it is stuck makes the three tests: in a frozen proxy, on the network, in the hand of the very proxy that goes on serving. */

#include <signal.h>

#include "rules.h"

#define W1 1U
#define W2 2U

struct stuck {
        struct relay *relay;
        uint64_t link;
        struct relay_packet *packet;
        bool answered; /* the proxy has answered it over the old connection */
        unsigned n_attached, n_fences, n_fenced;
};

/* Jobs of the store's one thread: what the proxy had given to that thread before is done when the first is answered, and what came of that with the second. */
static int create_others(void *userdata) {
        const struct rig *rig = userdata;
        struct control control;

        if (control_open(&control, rig->proxies[0].port, 202, RIG_USER, RIG_PASSWORD) < 0)
                return 1;
        if (control_create_image(&control, "second", 1U << 20) != 0)
                return 2;
        return control_create_image(&control, "third", 1U << 20) == 0 ? 0 : 3;
}

static bool target_has_stopped(struct scene *s, void *userdata) {
        return child_has_stopped(userdata);
}

/* Keeps the link to the frozen proxy, and sees what comes of it in the end. */
static enum relay_verdict watch_frozen(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct stuck *stuck = userdata;

        if (packet->header.op == IVBS_OP_WRITE && direction == TO_PROXY)
                relay_pin(link);
        if (packet->header.op == IVBS_OP_WRITE && direction == TO_WORKER)
                stuck->answered = true;
        return RELAY_PASS;
}

static bool frozen_is_over(struct scene *s, void *userdata) {
        const struct stuck *stuck = userdata;

        return stuck->answered || s->rig->proxies[0].child.pid == 0;
}

enum rule_verdict rule_hold(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct stuck stuck = {};
        struct scene s;
        uint64_t found;
        unsigned w1;

        o.n_proxies = 2;
        o.settings = "\"connections\":1,\"dead-time\":\"500ms\",";
        scene_prepare(&s, &o, rules_off);
        rig_set_proxy_point(s.rig, 0, "write-received=stop");
        relay_set_filter(s.rig->proxies[0].relay, watch_frozen, &stuck);
        scene_start_all(&s);
        s.rig->proxies[0].wanted = false; /* whoever takes over may kill it */
        /* ... but not for a lock on the record: having changed it, the proxy looks at it, and perhaps again. Frozen over that it would be killed with or without the rule. */
        if (scene_control(&s, create_others, s.rig) != 0)
                scene_give_up("A second host cannot create images");

        w1 = scene_start(&s, NBD_CMD_WRITE, 0, 0, W1);
        scene_wait(&s, target_has_stopped, &s.rig->proxies[0].child, "the proxy had W1 and was frozen");
        if (scene_finish(&s, w1) != 0)
                scene_give_up("W1 has failed");
        scene_write(&s, 0, 0, W2);

        (void) child_signal(&s.rig->proxies[0].child, SIGCONT);
        scene_wait(&s, frozen_is_over, &stuck, "the frozen proxy had done W1 or was gone");
        found = scene_read(&s, 0);
        scene_end(&s);
        return found == W2 ? RULE_HOLDS : RULE_IS_BROKEN;
}

/* Keeps the first W1 on the network. */
static enum relay_verdict keep_write(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct stuck *stuck = userdata;

        if (packet->header.op != IVBS_OP_WRITE)
                return RELAY_PASS;
        if (direction == TO_WORKER) {
                stuck->answered = stuck->answered || relay_link_id(link) == stuck->link;
                return RELAY_PASS;
        }
        if (stuck->packet)
                return RELAY_PASS;
        stuck->packet = packet;
        stuck->link = relay_link_id(link);
        relay_pin(link);
        return RELAY_KEEP;
}

static bool is_kept(struct scene *s, void *userdata) {
        return ((struct stuck *) userdata)->packet;
}

static bool is_answered_or_refused(struct scene *s, void *userdata) {
        const struct stuck *stuck = userdata;

        return stuck->answered || !relay_find(stuck->relay, stuck->link);
}

enum rule_verdict rule_fence(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct stuck stuck = {};
        struct relay_link *link;
        struct scene s;
        uint64_t found;
        unsigned w1;

        o.n_proxies = 1;
        o.settings = "\"connections\":1,";
        scene_prepare(&s, &o, rules_off);
        stuck.relay = s.rig->proxies[0].relay;
        relay_set_filter(stuck.relay, keep_write, &stuck);
        scene_start_all(&s);

        w1 = scene_start(&s, NBD_CMD_WRITE, 0, 0, W1);
        scene_wait(&s, is_kept, &stuck, "W1 was on the network");
        relay_hang_up_on_worker(relay_find(stuck.relay, stuck.link));
        if (scene_finish(&s, w1) != 0)
                scene_give_up("W1 has failed");
        scene_write(&s, 0, 0, W2);

        /* A proxy that has ended the old connection by now has refused all that could still come over it. */
        link = relay_find(stuck.relay, stuck.link);
        if (link)
                relay_send(link, TO_PROXY, stuck.packet);
        else
                free(stuck.packet);
        scene_wait(&s, is_answered_or_refused, &stuck, "the proxy had answered the late W1");
        found = scene_read(&s, 0);
        scene_end(&s);
        return found == W2 ? RULE_HOLDS : RULE_IS_BROKEN;
}

static enum relay_verdict count_fences(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct stuck *stuck = userdata;

        if ((packet->header.op == IVBS_OP_RESUME || packet->header.op == IVBS_OP_ATTACH_LEASE) &&
                direction == TO_WORKER)
                stuck->n_attached++;
        if (packet->header.op == IVBS_OP_WRITE && direction == TO_PROXY)
                stuck->link = relay_link_id(link);
        if (packet->header.op == IVBS_OP_FENCE && direction == TO_PROXY)
                stuck->n_fences++;
        if (packet->header.op == IVBS_OP_FENCE && direction == TO_WORKER)
                stuck->n_fenced++;
        return RELAY_PASS;
}

static bool both_are_attached(struct scene *s, void *userdata) {
        return ((struct stuck *) userdata)->n_attached >= 2;
}

static bool write_has_arrived(struct scene *s, void *userdata) {
        return ((struct stuck *) userdata)->link > 0;
}

static bool fence_has_arrived(struct scene *s, void *userdata) {
        return ((struct stuck *) userdata)->n_fences > 0;
}

/* A log-in takes a hash of the password: what was sent before it has been read long since. */
static int log_in_and_out(void *userdata) {
        const struct rig *rig = userdata;
        struct control control;

        for (unsigned i = 0; i < 8; i++) {
                if (control_open(&control, rig->proxies[0].port, 202, RIG_USER, RIG_PASSWORD) < 0)
                        return 1;
                control_close(&control);
        }
        return 0;
}

static bool ghost_is_there(struct scene *s, void *userdata) {
        if (s->n_ios + 1 >= SCENE_IOS)
                return true;
        return scene_read(s, 0) == W1;
}

enum rule_verdict rule_fence_settle(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct stuck stuck = {};
        enum rule_verdict verdict = RULE_HOLDS;
        struct scene s;
        unsigned w1;

        o.n_proxies = 1;
        o.volatile_store = true;
        o.settings = "\"connections\":2,\"dead-time\":\"20s\",";
        scene_prepare(&s, &o, rules_off);
        stuck.relay = s.rig->proxies[0].relay;
        relay_set_filter(stuck.relay, count_fences, &stuck);
        scene_start_all(&s);
        scene_wait(&s, both_are_attached, &stuck, "the worker had two sessions");

        /* W1 stays in the store's hand, what comes later for the same block does not. A log-in that began after W1 was sent is over: so W1 is there. */
        scene_store_file(&s, "hold-writes", "0 512\n");
        w1 = scene_start(&s, NBD_CMD_WRITE, 0, 0, W1);
        scene_wait(&s, write_has_arrived, &stuck, "W1 was sent");
        if (scene_control(&s, log_in_and_out, s.rig) != 0)
                scene_give_up("A second host cannot log in");
        scene_store_file(&s, "hold-writes", "1048576 512\n");

        /* The other connection is there, and fences this one. */
        relay_cut_link(relay_find(stuck.relay, stuck.link));
        /* A FENCE that need not wait for changes is answered after its job for the store's thread. */
        scene_wait(&s, fence_has_arrived, &stuck, "the worker had sent FENCE");
        if (scene_control(&s, create_others, s.rig) != 0)
                scene_give_up("A second host cannot create images");

        if (stuck.n_fenced > 0) {
                /* Too early: the way is free for the ghost. */
                if (scene_finish(&s, w1) != 0)
                        scene_give_up("W1 has failed");
                scene_write(&s, 0, 0, W2);
                scene_store_file(&s, "hold-writes", NULL);
                if (scene_try(&s, ghost_is_there, NULL, 10 * SEC))
                        verdict = RULE_IS_BROKEN;
        } else {
                scene_store_file(&s, "hold-writes", NULL);
                if (scene_finish(&s, w1) != 0)
                        scene_give_up("W1 has failed");
                scene_write(&s, 0, 0, W2);
                if (scene_read(&s, 0) != W2 || stuck.n_fenced == 0)
                        verdict = RULE_IS_BROKEN;
        }
        scene_end(&s);
        return verdict;
}
