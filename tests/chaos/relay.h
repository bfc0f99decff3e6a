/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stands between the worker and one proxy, packet by packet: the network as a fault. Each connection of the worker is a link with two directions; what comes in
 * is cut into IVBS packets, which a filter may look at, change, keep back, swallow, or let through by half. Whole relays and single links can be cut or made silent. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <systemd/sd-event.h>

#include "cleanup.h"
#include "ivbs.h"

struct relay;
struct relay_link;

enum relay_direction {
        TO_PROXY,
        TO_WORKER,
};

struct relay_packet {
        STAILQ_ENTRY(relay_packet) entry;
        struct ivbs_header header; /* written into the bytes again when the packet is sent */
        uint64_t due_usec;
        size_t size, sent, half; /* half: where the link goes silent, 0: nowhere */
        uint8_t bytes[];         /* header and payload */
};

enum relay_verdict {
        RELAY_PASS,
        RELAY_KEEP, /* the packet is the filter's now: relay_send() it later, or free() it */
        RELAY_DROP,
        RELAY_HALF, /* half of it, then the link is silent */
};

typedef enum relay_verdict (*relay_filter_t)(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet);

/* Listens on a port of 127.0.0.1 that the kernel chooses. */
int relay_new(struct relay **ret, sd_event *event);
struct relay *relay_free(struct relay *relay);
DEFINE_CLEANUP(struct relay *, relay_free);
uint16_t relay_port(const struct relay *relay);
/* Where the proxy listens; 0: connections are refused. Links that are there stay. */
void relay_set_backend(struct relay *relay, uint16_t port);

void relay_set_filter(struct relay *relay, relay_filter_t filter, void *userdata); /* NULL: all pass */
/* Each packet, either way, is late by so much. */
void relay_set_delay(struct relay *relay, uint64_t usec);
/* Nothing moves, on present links and on new ones, which are not connected to the proxy yet. Ending the silence lets everything go on that was held up, links that went silent by
 * RELAY_HALF too: as a network that comes back. */
void relay_set_silent(struct relay *relay, bool silent);
/* Resets all links, or one of those that carry I/O, chosen by index modulo their number. Returns how many were cut. */
unsigned relay_cut(struct relay *relay);
unsigned relay_cut_one(struct relay *relay, uint64_t index);

/* CLOCK_MONOTONIC of the last reply to an I/O request; 0: none yet. The relay with the latest leads to the active proxy. */
uint64_t relay_last_io_usec(const struct relay *relay);
unsigned relay_n_links(const struct relay *relay);
/* How many links have ended or were cut so far. */
unsigned relay_n_ended(const struct relay *relay);

/* For filters that keep packets: a link's number is never used twice. */
uint64_t relay_link_id(const struct relay_link *link);
struct relay_link *relay_find(struct relay *relay, uint64_t id); /* NULL: gone */
void relay_send(struct relay_link *link, enum relay_direction direction, struct relay_packet *packet);
void relay_cut_link(struct relay_link *link);
/* The link stays connected to the proxy when the worker has hung up, or is made to believe that the proxy has: as packets stay in a network. */
void relay_pin(struct relay_link *link);
void relay_hang_up_on_worker(struct relay_link *link);
/* Another one of the same bytes. NULL: out of memory. */
struct relay_packet *relay_packet_copy(const struct relay_packet *packet);
/* READ, WRITE, FLUSH, TRIM, WRITE_ZEROES or WRITE_FUA: request or reply. */
bool relay_packet_is_io(const struct relay_packet *packet);
