/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Faults of the network between the worker and a proxy: cut, silent, slow, and a proxy that lies. */

#include "fault.h"

bool fault_cut_one(struct schedule *s) {
        (void) relay_cut_one(fault_target(s)->relay, dice_next(&s->dice));
        return true;
}

bool fault_cut_all(struct schedule *s) {
        for (unsigned i = 0; i < s->rig->options.n_proxies; i++)
                (void) relay_cut(s->rig->proxies[i].relay);
        return true;
}

/* The network comes back: with all that was on its way, or without. */
static void end_silence(struct schedule *s) {
        if (dice_percent(&s->dice, 50))
                (void) relay_cut(fault_target(s)->relay);
        relay_set_silent(fault_target(s)->relay, false);
}

bool fault_black_hole(struct schedule *s) {
        if (s->step == 0) {
                relay_set_silent(fault_target(s)->relay, true);
                return fault_go_on(s, s->options.dead_time_usec + 200 * MSEC + dice_below(&s->dice, 1500 * MSEC));
        }
        end_silence(s);
        return true;
}

bool fault_slow(struct schedule *s) {
        if (s->step == 0) {
                relay_set_delay(fault_target(s)->relay, dice_between(&s->dice, 5 * MSEC, 150 * MSEC));
                return fault_go_on(s, dice_between(&s->dice, 300 * MSEC, 1500 * MSEC));
        }
        relay_set_delay(fault_target(s)->relay, 0);
        return true;
}

static enum relay_verdict half_of_one(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct schedule *s = userdata;

        if (s->lies_left == 0 || direction != (enum relay_direction) s->parameter || !relay_packet_is_io(packet))
                return RELAY_PASS;
        s->lies_left--;
        return RELAY_HALF;
}

bool fault_half_packet(struct schedule *s) {
        switch (s->step) {
        case 0:
                s->parameter = dice_below(&s->dice, 2);
                s->lies_left = 1;
                relay_set_filter(fault_target(s)->relay, half_of_one, s);
                return fault_go_on(s, FAULT_TICK);
        case 1:
                if (s->lies_left > 0)
                        return fault_wait_more(s, "a packet had passed");
                relay_set_filter(fault_target(s)->relay, NULL, NULL);
                return fault_go_on(s, s->options.dead_time_usec + 200 * MSEC + dice_below(&s->dice, SEC));
        default:
                end_silence(s);
                return true;
        }
}

/* ------ lies ------ */

static enum relay_verdict lie_about_status(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct schedule *s = userdata;

        if (s->lies_left == 0 || direction != TO_WORKER || !relay_packet_is_io(packet) ||
                packet->header.status != IVBS_STATUS_OK)
                return RELAY_PASS;
        s->lies_left--;
        packet->header.status = (uint32_t) s->parameter;
        packet->header.length = 0;
        packet->size = IVBS_HEADER_SIZE;
        return RELAY_PASS;
}

static bool lie_until_told(struct schedule *s, relay_filter_t filter) {
        if (s->step == 0) {
                relay_set_filter(fault_target(s)->relay, filter, s);
                return fault_go_on(s, FAULT_TICK);
        }
        /* The first lie may drive the worker away, and then there is nobody to tell the others to. */
        if (s->lies_left > 0 && now_usec() - s->step_began_usec < SEC)
                return fault_wait_more(s, "all lies were told");
        relay_set_filter(fault_target(s)->relay, NULL, NULL);
        return true;
}

/* "It was not executed", though it was. */
bool fault_lie_status(struct schedule *s) {
        static const enum ivbs_status lies[] = { IVBS_STATUS_TEMPORARY_ERROR, IVBS_STATUS_USE_ANOTHER_PROXY,
                IVBS_STATUS_NOT_READY };

        if (s->step == 0) {
                s->parameter = lies[dice_below(&s->dice, ELEMENTSOF(lies))];
                s->lies_left = (unsigned) dice_between(&s->dice, 1, 8);
        }
        return lie_until_told(s, lie_about_status);
}

/* Where nothing is retained, an image rightly fails with its flush. */
static enum relay_verdict lie_about_error(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct schedule *s = userdata;

        if (packet->header.op == IVBS_OP_FLUSH && !s->options.retained)
                return RELAY_PASS;
        return lie_about_status(userdata, link, direction, packet);
}

/* "It has failed for good": that is told to whoever asked. */
bool fault_lie_error(struct schedule *s) {
        if (s->step == 0) {
                s->parameter = IVBS_STATUS_PERMANENT_ERROR;
                s->lies_left = (unsigned) dice_between(&s->dice, 1, 3);
                workload_excuse(s->workload, s->lies_left);
        }
        return lie_until_told(s, lie_about_error);
}

enum { LIE_SEQUENCE, LIE_TWICE, LIE_OP, _LIE_MAX };

static enum relay_verdict lie_about_header(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct schedule *s = userdata;
        struct relay_packet *again;

        if (s->lies_left == 0 || direction != TO_WORKER || !relay_packet_is_io(packet))
                return RELAY_PASS;
        s->lies_left--;
        switch (s->parameter) {
        case LIE_TWICE:
                again = relay_packet_copy(packet);
                relay_send(link, direction, packet);
                if (again)
                        relay_send(link, direction, again);
                return RELAY_KEEP;
        case LIE_OP:
                packet->header.op = packet->header.op == IVBS_OP_READ ? IVBS_OP_WRITE : IVBS_OP_READ;
                return RELAY_PASS;
        case LIE_SEQUENCE:
        default:
                packet->header.sequence ^= 0x55000000;
                return RELAY_PASS;
        }
}

bool fault_lie_header(struct schedule *s) {
        if (s->step == 0) {
                s->parameter = dice_below(&s->dice, _LIE_MAX);
                s->lies_left = 1;
        }
        return lie_until_told(s, lie_about_header);
}
