/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What attachment.c, image-hold.c and image-take.c share. */

#include <stdio.h>

#include "attachment.h"

TAILQ_HEAD(image_list, image);
TAILQ_HEAD(taking_list, taking);

struct images {
        struct store *store;
        struct jobs *jobs;
        unsigned n;
        struct image_list images;
        void (*resized)(struct image *image, void *userdata);
        void *resized_userdata;

        struct ring *ring;
        bool shared;                 /* other proxies may hold an image */
        struct hand_over *hand_over; /* NULL: the store itself asks them, or nothing is shared */
        struct taking_list takings;
        bool draining;
};

/* Something that the hold was needed for may be over. */
void image_review_hold(struct image *image);
/* Somebody waits, and the image is loose: begins to take it; image_answer_hold() follows. */
void image_take(struct image *image);
/* It is being taken, and that is to end soon, with -ESHUTDOWN. */
void image_stop_taking(struct image *image);
/* Tells those who wait and have at most that weight; who is told 0 has it pinned. */
void image_answer_hold(struct image *image, int error, enum hand_over_why up_to);
/* At the end. */
void images_abandon_takings(struct images *images);

/* --- what is said about hand-overs --- */

#define PID_SIZE 24U

static inline const char *print_pid(uint64_t pid, char ret[static PID_SIZE]) {
        (void) snprintf(ret, PID_SIZE, "%ju", (uintmax_t) pid);
        return ret;
}

/* Fields for what is said about a hand-over with another process; text: room for its pid. */
#define PEER_FIELDS(image, pid, text)                                                \
        LOG_FIELDS({ "IMAGE", (image)->name }, { "PEER_PID", print_pid(pid, text) }, \
                { "STATE", image_hold_state_to_string((image)->hold_state) })
