/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What this host holds of an image: whether it has been attached, as what, and the proof of it (token, generation). All sessions of a worker share one. Kept in a file below
 * /run, so that a restarted worker resumes its attachment instead of taking the lease anew. */

#include <stdbool.h>
#include <stdint.h>

#include "ivbs-hello.h"

struct attachment {
        char name[IVBS_IMAGE_NAME_SIZE]; /* the store's name */
        bool read_only;
        bool steal;            /* for the first attach only */
        const char *directory; /* where the file is kept; NULL: nowhere */

        bool attached; /* the rest is valid */
        bool modern;
        uint64_t caps;       /* that sessions must have: what the device was promised */
        uint64_t size;       /* bytes */
        uint64_t size_epoch; /* which of its sizes that is; 0: the first, or the server tells none */
        uint32_t block_size;
        bool refuses_writes; /* the store allows only reads, whatever was asked for */
        uint8_t uuid[IVBS_UUID_SIZE];
        uint8_t token[IVBS_UUID_SIZE];
        uint64_t generation;
        bool fencing;   /* a FENCE was sent and not answered: generation + 1 may be what holds */
        bool inherited; /* loaded from the file: another process may have left writes behind */
};

/* A greeting's or an attach's facts against what is attached already. 0, or -ESTALE with a sentence in ret_reason when the image behind the name is another one, has
 * another size than it can have, or the server is less than the device was promised. A size of a later epoch is news; any other difference means that this is not the image as it was. */
int attachment_check_modern(const struct attachment *attachment, uint64_t caps, const struct ivbs_lease_reply *reply,
        char *ret_reason, size_t n_reason);
int attachment_check_classic(const struct attachment *attachment, uint64_t size, char *ret_reason, size_t n_reason);

void attachment_set_modern(struct attachment *attachment, uint64_t caps, const struct ivbs_lease_reply *reply);
void attachment_set_classic(struct attachment *attachment, uint64_t size);

/* The file. save: replaced atomically, mode 0600; of a classic attachment nothing is kept. load: fills an attachment with the name and mode given if the file is of the same image and mode. Returns 1 when one was loaded,
 * 0 when there is none that fits, or a negative errno. Without a directory nothing is kept. */
int attachment_save(const struct attachment *attachment);
int attachment_load(struct attachment *attachment);
int attachment_remove(const struct attachment *attachment);
