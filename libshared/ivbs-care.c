/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "ivbs-care.h"

int ivbs_get_care_encode(const char *name, uint8_t ret[static IVBS_GET_CARE_SIZE]) {
        memset(ret, 0, 8);
        return ivbs_image_name_encode(name, ret + 8);
}

int ivbs_get_care_decode(const uint8_t *data, size_t n, char ret_name[static IVBS_IMAGE_NAME_SIZE]) {
        return n < IVBS_GET_CARE_SIZE || ivbs_image_name_decode(data + 8, ret_name) < 0 ? -EBADMSG : 0;
}

void ivbs_care_encode(const struct ivbs_care *care, uint8_t ret[static IVBS_CARE_REPLY_SIZE]) {
        memset(ret, 0, IVBS_CARE_REPLY_SIZE);
        put_be32(ret, care->flags);
        put_be32(ret + 4, care->scrub_state);
        put_be64(ret + 8, care->iops);
        put_be64(ret + 16, care->bandwidth);
        put_be64(ret + 24, care->burst_usec);
        put_be64(ret + 32, care->began_usec);
        put_be64(ret + 40, care->updated_usec);
        put_be64(ret + 48, care->done);
        put_be64(ret + 56, care->size);
        put_be64(ret + 64, care->damaged);
        put_be64(ret + 72, care->unknown);
        put_be32(ret + 80, care->n_offsets);
        for (size_t i = 0; i < care->n_offsets && i < IVBS_CARE_OFFSETS; i++)
                put_be64(ret + 88 + 8 * i, care->offsets[i]);
}

int ivbs_care_decode(const uint8_t *data, size_t n, struct ivbs_care *ret) {
        struct ivbs_care care;

        if (n < IVBS_CARE_REPLY_SIZE || get_be32(data + 80) > IVBS_CARE_OFFSETS ||
                get_be32(data + 4) > IVBS_SCRUB_CANCELLED)
                return -EBADMSG;

        care = (struct ivbs_care){
                .flags = get_be32(data),
                .scrub_state = get_be32(data + 4),
                .iops = get_be64(data + 8),
                .bandwidth = get_be64(data + 16),
                .burst_usec = get_be64(data + 24),
                .began_usec = get_be64(data + 32),
                .updated_usec = get_be64(data + 40),
                .done = get_be64(data + 48),
                .size = get_be64(data + 56),
                .damaged = get_be64(data + 64),
                .unknown = get_be64(data + 72),
                .n_offsets = get_be32(data + 80),
        };
        for (size_t i = 0; i < care.n_offsets; i++)
                care.offsets[i] = get_be64(data + 88 + 8 * i);
        *ret = care;
        return 0;
}

int ivbs_limits_encode(const struct ivbs_limits *limits, uint8_t ret[static IVBS_SET_LIMITS_SIZE]) {
        memset(ret, 0, 8);
        memcpy(ret + 8, limits->uuid, IVBS_UUID_SIZE);
        put_be64(ret + 280, limits->iops);
        put_be64(ret + 288, limits->bandwidth);
        put_be64(ret + 296, limits->burst_usec);
        return ivbs_image_name_encode(limits->name, ret + 24);
}

int ivbs_limits_decode(const uint8_t *data, size_t n, struct ivbs_limits *ret) {
        struct ivbs_limits limits = {};

        if (n < IVBS_SET_LIMITS_SIZE || ivbs_image_name_decode(data + 24, limits.name) < 0)
                return -EBADMSG;

        limits.iops = get_be64(data + 280);
        limits.bandwidth = get_be64(data + 288);
        limits.burst_usec = get_be64(data + 296);
        if (limits.iops > IVBS_LIMIT_MAX || limits.bandwidth > IVBS_LIMIT_MAX ||
                limits.burst_usec > IVBS_BURST_USEC_MAX)
                return -ERANGE;
        memcpy(limits.uuid, data + 8, IVBS_UUID_SIZE);
        *ret = limits;
        return 0;
}
