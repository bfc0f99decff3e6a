/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "ivbs-lifecycle.h"

static void put_uuid(uint8_t *p, const uint8_t uuid[static IVBS_UUID_SIZE]) {
        memcpy(p, uuid, IVBS_UUID_SIZE);
}

static void get_uuid(const uint8_t *p, uint8_t ret[static IVBS_UUID_SIZE]) {
        memcpy(ret, p, IVBS_UUID_SIZE);
}

/* A name, or nothing where there may be none. */
static int put_optional_name(uint8_t *p, const char *name) {
        memset(p, 0, IVBS_IMAGE_NAME_SIZE);
        return *name ? ivbs_image_name_encode(name, p) : 0;
}

static int get_optional_name(const uint8_t *p, char ret[static IVBS_IMAGE_NAME_SIZE]) {
        memset(ret, 0, IVBS_IMAGE_NAME_SIZE);
        return p[0] ? ivbs_image_name_decode(p, ret) : 0;
}

bool ivbs_new_name_is_valid(const char *name) {
        return image_store_name_is_valid(name) && !strchr(name, IVBS_SNAPSHOT_SEPARATOR);
}

bool ivbs_snapshot_name_fits(const char *name, const char *snapshot) {
        return strlen(name) + 1 + strlen(snapshot) < IVBS_IMAGE_NAME_SIZE;
}

int ivbs_snapshot_name_split(
        const char *text, char ret_name[static IVBS_IMAGE_NAME_SIZE], char ret_snapshot[static IVBS_IMAGE_NAME_SIZE]) {
        char name[IVBS_IMAGE_NAME_SIZE] = "", snapshot[IVBS_IMAGE_NAME_SIZE] = "";
        const char *at;

        if (!image_store_name_is_valid(text))
                return -EINVAL;

        at = strrchr(text, IVBS_SNAPSHOT_SEPARATOR);
        if (at) {
                memcpy(name, text, (size_t) (at - text));
                strcpy(snapshot, at + 1);
                if (!image_store_name_is_valid(name) || !image_store_name_is_valid(snapshot))
                        return -EINVAL;
        } else
                strcpy(name, text);

        memcpy(ret_name, name, sizeof(name));
        memcpy(ret_snapshot, snapshot, sizeof(snapshot));
        return 0;
}

int ivbs_image_change_encode(const struct ivbs_image_change *change, uint8_t ret[static IVBS_IMAGE_CHANGE_SIZE]) {
        int r;

        put_be32(ret, change->flags);
        put_be32(ret + 4, 0);
        put_uuid(ret + 8, change->uuid);
        r = ivbs_image_name_encode(change->name, ret + 24);
        if (r >= 0)
                r = put_optional_name(ret + 280, change->snapshot);
        if (r >= 0)
                r = put_optional_name(ret + 536, change->new_name);
        return r;
}

int ivbs_image_change_decode(const uint8_t *data, size_t n, struct ivbs_image_change *ret) {
        struct ivbs_image_change change = {};

        if (n < IVBS_IMAGE_CHANGE_SIZE || ivbs_image_name_decode(data + 24, change.name) < 0 ||
                get_optional_name(data + 280, change.snapshot) < 0 ||
                get_optional_name(data + 536, change.new_name) < 0)
                return -EBADMSG;

        change.flags = get_be32(data);
        get_uuid(data + 8, change.uuid);
        *ret = change;
        return 0;
}

void ivbs_change_reply_encode(const struct ivbs_change_reply *reply, uint8_t ret[static IVBS_CHANGE_REPLY_SIZE]) {
        put_uuid(ret, reply->job);
        put_uuid(ret + 16, reply->uuid);
}

int ivbs_change_reply_decode(const uint8_t *data, size_t n, struct ivbs_change_reply *ret) {
        if (n < IVBS_CHANGE_REPLY_SIZE)
                return -EBADMSG;

        get_uuid(data, ret->job);
        get_uuid(data + 16, ret->uuid);
        return 0;
}

int ivbs_list_snapshots_encode(const struct ivbs_list_snapshots *list, uint8_t ret[static IVBS_LIST_SNAPSHOTS_SIZE]) {
        int r;

        put_be32(ret, list->limit);
        put_be32(ret + 4, 0);
        r = ivbs_image_name_encode(list->name, ret + 8);
        return r < 0 ? r : put_optional_name(ret + 264, list->after);
}

int ivbs_list_snapshots_decode(const uint8_t *data, size_t n, struct ivbs_list_snapshots *ret) {
        struct ivbs_list_snapshots list = {};

        if (n < IVBS_LIST_SNAPSHOTS_SIZE)
                return -EBADMSG;

        list.limit = get_be32(data);
        if (list.limit == 0 || list.limit > IVBS_SNAPSHOTS_PER_LIST ||
                ivbs_image_name_decode(data + 8, list.name) < 0 || get_optional_name(data + 264, list.after) < 0)
                return -EBADMSG;

        *ret = list;
        return 0;
}

size_t ivbs_listed_snapshot_encode(const struct ivbs_listed_snapshot *snapshot, uint8_t *ret) {
        size_t n = strnlen(snapshot->name, IVBS_IMAGE_NAME_SIZE - 1);

        put_uuid(ret, snapshot->uuid);
        put_be64(ret + 16, snapshot->size);
        put_be64(ret + 24, snapshot->used);
        put_be64(ret + 32, snapshot->created_usec);
        put_be32(ret + 40, snapshot->flags);
        put_be16(ret + 44, (uint16_t) n);
        put_be16(ret + 46, 0);
        memcpy(ret + 48, snapshot->name, n);
        return 48 + n;
}

int ivbs_listed_snapshot_decode(const uint8_t *data, size_t n, size_t *offset, struct ivbs_listed_snapshot *ret) {
        struct ivbs_listed_snapshot snapshot = {};
        const uint8_t *p;
        size_t len;

        if (*offset > n || n - *offset < 48)
                return -EBADMSG;

        p = data + *offset;
        len = get_be16(p + 44);
        if (len >= IVBS_IMAGE_NAME_SIZE || n - *offset - 48 < len)
                return -EBADMSG;

        memcpy(snapshot.name, p + 48, len);
        if (strlen(snapshot.name) != len || !image_store_name_is_valid(snapshot.name))
                return -EBADMSG;

        get_uuid(p, snapshot.uuid);
        snapshot.size = get_be64(p + 16);
        snapshot.used = get_be64(p + 24);
        snapshot.created_usec = get_be64(p + 32);
        snapshot.flags = get_be32(p + 40);
        *ret = snapshot;
        *offset += 48 + len;
        return 0;
}

void ivbs_job_reply_encode(const struct ivbs_job_reply *reply, uint8_t ret[static IVBS_JOB_REPLY_SIZE]) {
        put_be32(ret, reply->state);
        put_be32(ret + 4, reply->status);
        put_be64(ret + 8, reply->done);
        put_be64(ret + 16, reply->total);
        put_uuid(ret + 24, reply->uuid);
        put_be64(ret + 40, reply->elapsed_usec);
}

int ivbs_job_reply_decode(const uint8_t *data, size_t n, struct ivbs_job_reply *ret) {
        if (n < IVBS_JOB_REPLY_SIZE)
                return -EBADMSG;

        ret->state = get_be32(data);
        ret->status = get_be32(data + 4);
        ret->done = get_be64(data + 8);
        ret->total = get_be64(data + 16);
        get_uuid(data + 24, ret->uuid);
        ret->elapsed_usec = get_be64(data + 40);
        if (ret->state < IVBS_JOB_RUNNING || ret->state > IVBS_JOB_CANCELLED)
                ret->state = IVBS_JOB_FAILED;
        return 0;
}
