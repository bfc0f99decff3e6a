/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What attachment.c and image-hold.c share. */

#include "attachment.h"

TAILQ_HEAD(image_list, image);
TAILQ_HEAD(taking_list, taking);

struct images {
        struct store *store;
        struct jobs *jobs;
        unsigned n;
        struct image_list images;

        struct ring *ring;
        struct hand_over *hand_over; /* NULL: nothing is shared */
        struct taking_list takings;
        bool draining;
};

/* Something that the hold was needed for may be over. */
void image_review_hold(struct image *image);
/* At the end. */
void images_abandon_takings(struct images *images);
