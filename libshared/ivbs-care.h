/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The part of IVBS about looking after an image: its checksums, scrubs and limits (capability CARE). Layouts stand in docs/protocol.md. Pure, as ivbs-hello.h, and with its rules. */

#include "ivbs-hello.h"

#define IVBS_SCRUB_SIZE      280U /* as struct ivbs_remove_image */
#define IVBS_GET_CARE_SIZE   264U
#define IVBS_CARE_REPLY_SIZE 160U
#define IVBS_SET_LIMITS_SIZE 304U
#define IVBS_CARE_OFFSETS    8U

#define IVBS_LIMIT_MAX       (UINT64_C(1) << 50) /* requests or bytes a second */
#define IVBS_BURST_USEC_MAX  (UINT64_C(3600) * 1000000U)

enum ivbs_scrub_state {
        IVBS_SCRUB_NEVER = 0,
        IVBS_SCRUB_RUNNING = 1,
        IVBS_SCRUB_DONE = 2,
        IVBS_SCRUB_FAILED = 3,
        IVBS_SCRUB_CANCELLED = 4,
};

#define IVBS_CARE_CHECKSUMS (UINT32_C(1) << 0)
#define IVBS_CARE_CHECKED_BY_STORE \
        (UINT32_C(1) << 1) /* the store checks all its data itself: no image can have checksums of its own */

/* The reply to GET_CARE: 0 flags u32, 4 scrub state u32, 8 iops u64, 16 bandwidth u64, 24 burst u64, 32 began u64, 40 updated u64, 48 done u64, 56 size u64, 64 damaged u64, 72 unknown u64, 80 count of offsets u32,
 * 84 reserved u32, 88 eight offsets u64, 152 reserved u64. */
struct ivbs_care {
        uint32_t flags;
        uint32_t scrub_state;     /* enum ivbs_scrub_state */
        uint64_t iops, bandwidth; /* a second; 0: no limit */
        uint64_t burst_usec;
        uint64_t began_usec, updated_usec; /* CLOCK_REALTIME */
        uint64_t done, size;               /* bytes */
        uint64_t damaged, unknown;         /* blocks of 4 KiB */
        uint64_t offsets[IVBS_CARE_OFFSETS];
        uint32_t n_offsets;
};

/* SET_LIMITS: 0 flags u32, 4 reserved u32, 8 uuid[16] (all zero: whichever has the name), 24 name[256], 280 iops u64, 288 bandwidth u64, 296 burst u64. */
struct ivbs_limits {
        uint8_t uuid[IVBS_UUID_SIZE];
        char name[IVBS_IMAGE_NAME_SIZE];
        uint64_t iops, bandwidth, burst_usec;
};

/* GET_CARE: 0 flags u32, 4 reserved u32, 8 name[256]. Encoders return 0 or -EINVAL (a name that cannot be one), decoders 0, -EBADMSG or -ERANGE. */
int ivbs_get_care_encode(const char *name, uint8_t ret[static IVBS_GET_CARE_SIZE]);
int ivbs_get_care_decode(const uint8_t *data, size_t n, char ret_name[static IVBS_IMAGE_NAME_SIZE]);
void ivbs_care_encode(const struct ivbs_care *care, uint8_t ret[static IVBS_CARE_REPLY_SIZE]);
int ivbs_care_decode(const uint8_t *data, size_t n, struct ivbs_care *ret);
int ivbs_limits_encode(const struct ivbs_limits *limits, uint8_t ret[static IVBS_SET_LIMITS_SIZE]);
int ivbs_limits_decode(const uint8_t *data, size_t n, struct ivbs_limits *ret);
