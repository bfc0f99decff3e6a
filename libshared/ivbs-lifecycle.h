/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The part of IVBS about an image's life besides create and remove: other names, snapshots, copies, and the jobs that make them (capability SNAPSHOTS). Layouts stand in
 * docs/protocol.md. Pure, as ivbs-hello.h, and with its rules: a longer payload is accepted, and the rest of it ignored. */

#include "ivbs-hello.h"

#define IVBS_IMAGE_CHANGE_SIZE        792U
#define IVBS_CHANGE_REPLY_SIZE        32U
#define IVBS_LIST_SNAPSHOTS_SIZE      520U
#define IVBS_JOB_SIZE                 16U
#define IVBS_JOB_REPLY_SIZE           48U
#define IVBS_SNAPSHOTS_PER_LIST       256U
#define IVBS_LISTED_SNAPSHOT_SIZE_MAX (48U + IVBS_IMAGE_NAME_SIZE)
#define IVBS_SNAPSHOTS_REPLY_SIZE_MAX (8U + IVBS_SNAPSHOTS_PER_LIST * IVBS_LISTED_SNAPSHOT_SIZE_MAX)
#define IVBS_SNAPSHOT_SEPARATOR       '@'

/* RENAME_IMAGE, SNAPSHOT, REMOVE_SNAPSHOT, CLONE_IMAGE, ROLL_BACK: 0 flags u32, 4 reserved u32, 8 uuid[16], 24 name[256], 280 snapshot[256],
 * 536 new_name[256]. What an op has no use for is zero. */
struct ivbs_image_change {
        uint32_t flags; /* 0 */
        uint8_t uuid
                [IVBS_UUID_SIZE]; /* of the image, for REMOVE_SNAPSHOT of the snapshot; all zero: whichever has the name */
        char name[IVBS_IMAGE_NAME_SIZE];     /* of the image */
        char snapshot[IVBS_IMAGE_NAME_SIZE]; /* "": none */
        char new_name[IVBS_IMAGE_NAME_SIZE]; /* "": none */
};

/* The reply to SNAPSHOT, CLONE_IMAGE, ROLL_BACK: 0 job[16], 16 uuid[16]. */
struct ivbs_change_reply {
        uint8_t job[IVBS_UUID_SIZE];  /* all zero: it is done; else the job that does it */
        uint8_t uuid[IVBS_UUID_SIZE]; /* of what was made; all zero while the job runs */
};

/* LIST_SNAPSHOTS: 0 limit u32 (1-256), 4 reserved u32, 8 name[256], 264 after[256] (those behind that name in byte order; all zero: from the
 * first). Reply: 0 count u32, 4 more u32, then per snapshot: 0 uuid[16], 16 size u64, 24 used u64, 32 created u64, 40 flags u32,
 * 44 name length u16, 46 reserved u16, 48 name. */
struct ivbs_list_snapshots {
        uint32_t limit;
        char name[IVBS_IMAGE_NAME_SIZE];
        char after[IVBS_IMAGE_NAME_SIZE]; /* "": from the first */
};

struct ivbs_listed_snapshot {
        uint8_t uuid[IVBS_UUID_SIZE];
        uint64_t size;         /* bytes */
        uint64_t used;         /* bytes of storage, those that it shares with others included */
        uint64_t created_usec; /* CLOCK_REALTIME */
        uint32_t flags;        /* IVBS_LISTED_ATTACHED */
        char name[IVBS_IMAGE_NAME_SIZE];
};

enum ivbs_job_state {
        IVBS_JOB_RUNNING = 1,
        IVBS_JOB_DONE = 2,
        IVBS_JOB_FAILED = 3,
        IVBS_JOB_CANCELLED = 4,
};

/* JOB_STATUS, JOB_CANCEL: job[16]. The reply to JOB_STATUS: 0 state u32, 4 status u32, 8 done u64, 16 total u64, 24 uuid[16], 40 elapsed u64. */
struct ivbs_job_reply {
        uint32_t state;               /* enum ivbs_job_state; what is unknown is taken for failed */
        uint32_t status;              /* enum ivbs_status, when it failed */
        uint64_t done, total;         /* bytes of the image */
        uint8_t uuid[IVBS_UUID_SIZE]; /* of what was made, when it is done */
        uint64_t elapsed_usec;        /* since it began; of one that is over: until its end */
};

/* What "image@snapshot" means: an image's name without '@' is returned with ret_snapshot empty. The last '@' counts, so that an image of former days whose name has one keeps
 * its snapshots. Returns 0, or -EINVAL when one of the two cannot be a name. */
int ivbs_snapshot_name_split(
        const char *text, char ret_name[static IVBS_IMAGE_NAME_SIZE], char ret_snapshot[static IVBS_IMAGE_NAME_SIZE]);
/* Whether something new may be called so: a name as image_store_name_is_valid() has it, without '@'. */
bool ivbs_new_name_is_valid(const char *name);
/* Whether name@snapshot fits where an image's name does. */
bool ivbs_snapshot_name_fits(const char *name, const char *snapshot);

/* Encoders return 0 or -EINVAL (a name that cannot be one). Decoders as in ivbs-hello.h. */
int ivbs_image_change_encode(const struct ivbs_image_change *change, uint8_t ret[static IVBS_IMAGE_CHANGE_SIZE]);
int ivbs_image_change_decode(const uint8_t *data, size_t n, struct ivbs_image_change *ret);
void ivbs_change_reply_encode(const struct ivbs_change_reply *reply, uint8_t ret[static IVBS_CHANGE_REPLY_SIZE]);
int ivbs_change_reply_decode(const uint8_t *data, size_t n, struct ivbs_change_reply *ret);

int ivbs_list_snapshots_encode(const struct ivbs_list_snapshots *list, uint8_t ret[static IVBS_LIST_SNAPSHOTS_SIZE]);
int ivbs_list_snapshots_decode(const uint8_t *data, size_t n, struct ivbs_list_snapshots *ret);
/* The reply begins as that of LIST_IMAGES does: ivbs_list_reply_start_encode() and _decode(). Returns the bytes written, at most IVBS_LISTED_SNAPSHOT_SIZE_MAX. */
size_t ivbs_listed_snapshot_encode(const struct ivbs_listed_snapshot *snapshot, uint8_t *ret);
/* Decodes the snapshot at *offset and moves it on; start at 8. */
int ivbs_listed_snapshot_decode(const uint8_t *data, size_t n, size_t *offset, struct ivbs_listed_snapshot *ret);

void ivbs_job_reply_encode(const struct ivbs_job_reply *reply, uint8_t ret[static IVBS_JOB_REPLY_SIZE]);
int ivbs_job_reply_decode(const uint8_t *data, size_t n, struct ivbs_job_reply *ret);
