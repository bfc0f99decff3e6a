/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The added payloads, one encoder and one decoder each, in the order of the header. Decoders check what a value must be, never only that the bytes
 * are there: whoever gets a decoded struct may rely on it. Reserved fields are written as zero and not looked at. */

#include <errno.h>

#include "bytes.h"
#include "cleanup.h"
#include "ivbs-hello.h"

static void put_uuid(uint8_t *p, const uint8_t uuid[static IVBS_UUID_SIZE]) {
        memcpy(p, uuid, IVBS_UUID_SIZE);
}

static void get_uuid(const uint8_t *p, uint8_t ret[static IVBS_UUID_SIZE]) {
        memcpy(ret, p, IVBS_UUID_SIZE);
}

/* Host names are shown to people: anything but graphic ASCII becomes '?'. */
static void put_host(uint8_t *p, const char *host) {
        memset(p, 0, IVBS_HOST_SIZE);
        memcpy(p, host, strnlen(host, IVBS_HOST_SIZE));
}

static void get_host(const uint8_t *p, char ret[static IVBS_HOST_SIZE + 1]) {
        size_t n = strnlen((const char *) p, IVBS_HOST_SIZE);

        for (size_t i = 0; i < n; i++)
                ret[i] = p[i] > 0x20 && p[i] < 0x7f ? (char) p[i] : '?';
        ret[n] = 0;
}

static bool image_size_is_valid(uint64_t size) {
        return size > 0 && size <= IVBS_IMAGE_SIZE_MAX;
}

void ivbs_greeting_encode(const struct ivbs_greeting *greeting, uint8_t ret[static IVBS_GREETING_SIZE]) {
        memset(ret, 0, IVBS_GREETING_SIZE);
        memcpy(ret, IVBS_CAPS_MAGIC, 8);
        put_be64(ret + 8, greeting->caps);
        put_be32(ret + 16, greeting->max_length);
        put_be32(ret + 20, greeting->idle_limit_ms);
        put_be32(ret + 24, IVBS_GREETING_SIZE);
        put_uuid(ret + 32, greeting->boot_id);
        put_uuid(ret + 48, greeting->instance_id);
}

int ivbs_greeting_decode(const uint8_t *data, size_t n, struct ivbs_greeting *ret) {
        if (n < IVBS_GREETING_SIZE || memcmp(data, IVBS_CAPS_MAGIC, 8) != 0)
                return 0;
        /* A server that takes less than one write of a block cannot be used; such a number is damage. */
        if (get_be32(data + 24) < IVBS_GREETING_SIZE || get_be32(data + 16) < 4096 + IVBS_WRITE_PREFIX_SIZE)
                return 0;

        ret->caps = get_be64(data + 8);
        ret->max_length = get_be32(data + 16);
        ret->idle_limit_ms = get_be32(data + 20);
        get_uuid(data + 32, ret->boot_id);
        get_uuid(data + 48, ret->instance_id);
        return 1;
}

void ivbs_hello_encode(const struct ivbs_hello *hello, uint8_t ret[static IVBS_HELLO_SIZE]) {
        put_be64(ret, hello->caps);
        put_be32(ret + 8, hello->max_length);
        put_be32(ret + 12, 0);
        put_uuid(ret + 16, hello->machine_id);
        put_uuid(ret + 32, hello->boot_id);
        put_host(ret + 48, hello->host);
}

int ivbs_hello_decode(const uint8_t *data, size_t n, struct ivbs_hello *ret) {
        if (n < IVBS_HELLO_SIZE)
                return -EBADMSG;

        ret->caps = get_be64(data);
        ret->max_length = get_be32(data + 8);
        get_uuid(data + 16, ret->machine_id);
        get_uuid(data + 32, ret->boot_id);
        get_host(data + 48, ret->host);
        return 0;
}

void ivbs_hello_reply_encode(const struct ivbs_hello_reply *reply, uint8_t ret[static IVBS_HELLO_REPLY_SIZE]) {
        put_be64(ret, reply->caps);
        put_be32(ret + 8, reply->flags);
        put_be32(ret + 12, 0);
}

int ivbs_hello_reply_decode(const uint8_t *data, size_t n, struct ivbs_hello_reply *ret) {
        if (n < IVBS_HELLO_REPLY_SIZE)
                return -EBADMSG;

        ret->caps = get_be64(data);
        ret->flags = get_be32(data + 8);
        return 0;
}

void ivbs_identity_encode(const struct ivbs_identity *identity, uint8_t ret[static IVBS_IDENTITY_SIZE]) {
        put_uuid(ret, identity->boot_id);
        put_uuid(ret + 16, identity->store_uuid);
        put_be64(ret + 32, identity->mount_instance);
        put_be64(ret + 40, identity->error_epoch);
}

int ivbs_identity_decode(const uint8_t *data, size_t n, struct ivbs_identity *ret) {
        if (n < IVBS_IDENTITY_SIZE)
                return -EBADMSG;

        get_uuid(data, ret->boot_id);
        get_uuid(data + 16, ret->store_uuid);
        ret->mount_instance = get_be64(data + 32);
        ret->error_epoch = get_be64(data + 40);
        return 0;
}

int ivbs_lease_encode(const struct ivbs_lease *lease, uint8_t ret[static IVBS_LEASE_SIZE]) {
        put_be32(ret, lease->flags);
        put_be32(ret + 4, 0);
        return ivbs_image_name_encode(lease->name, ret + 8);
}

int ivbs_lease_decode(const uint8_t *data, size_t n, struct ivbs_lease *ret) {
        char name[IVBS_IMAGE_NAME_SIZE];

        if (n < IVBS_LEASE_SIZE || ivbs_image_name_decode(data + 8, name) < 0)
                return -EBADMSG;

        ret->flags = get_be32(data);
        memcpy(ret->name, name, sizeof(name));
        return 0;
}

int ivbs_resume_encode(const struct ivbs_resume *resume, uint8_t ret[static IVBS_RESUME_SIZE]) {
        put_be32(ret, resume->flags);
        put_be32(ret + 4, 0);
        put_uuid(ret + 8, resume->token);
        put_be64(ret + 24, resume->generation);
        put_be64(ret + 32, 0);
        return ivbs_image_name_encode(resume->name, ret + 40);
}

int ivbs_resume_decode(const uint8_t *data, size_t n, struct ivbs_resume *ret) {
        char name[IVBS_IMAGE_NAME_SIZE];

        if (n < IVBS_RESUME_SIZE || ivbs_image_name_decode(data + 40, name) < 0)
                return -EBADMSG;

        ret->flags = get_be32(data);
        get_uuid(data + 8, ret->token);
        ret->generation = get_be64(data + 24);
        memcpy(ret->name, name, sizeof(name));
        return 0;
}

void ivbs_lease_reply_encode(const struct ivbs_lease_reply *reply, uint8_t ret[static IVBS_LEASE_REPLY_SIZE]) {
        put_be64(ret, reply->size);
        put_be32(ret + 8, reply->flags);
        put_be32(ret + 12, reply->block_size);
        put_uuid(ret + 16, reply->uuid);
        put_uuid(ret + 32, reply->token);
        put_be64(ret + 48, reply->generation);
        put_be64(ret + 56, reply->size_epoch);
        ivbs_identity_encode(&reply->identity, ret + 64);
}

int ivbs_lease_reply_decode(const uint8_t *data, size_t n, struct ivbs_lease_reply *ret) {
        uint64_t size;
        uint32_t block_size;

        if (n < IVBS_LEASE_REPLY_SIZE)
                return -EBADMSG;

        size = get_be64(data);
        block_size = get_be32(data + 12);
        if (!image_size_is_valid(size) || block_size < 512 || block_size > 65536 ||
                (block_size & (block_size - 1)) != 0)
                return -ERANGE;

        ret->size = size;
        ret->flags = get_be32(data + 8);
        ret->block_size = block_size;
        get_uuid(data + 16, ret->uuid);
        get_uuid(data + 32, ret->token);
        ret->generation = get_be64(data + 48);
        ret->size_epoch = get_be64(data + 56);
        return ivbs_identity_decode(data + 64, n - 64, &ret->identity);
}

void ivbs_holder_encode(const struct ivbs_holder *holder, uint8_t ret[static IVBS_HOLDER_SIZE]) {
        put_uuid(ret, holder->machine_id);
        put_uuid(ret + 16, holder->boot_id);
        put_be64(ret + 32, holder->since_usec);
        put_host(ret + 40, holder->host);
}

int ivbs_holder_decode(const uint8_t *data, size_t n, struct ivbs_holder *ret) {
        if (n < IVBS_HOLDER_SIZE)
                return -EBADMSG;

        get_uuid(data, ret->machine_id);
        get_uuid(data + 16, ret->boot_id);
        ret->since_usec = get_be64(data + 32);
        get_host(data + 40, ret->host);
        return 0;
}

int ivbs_list_images_encode(const char *after, uint32_t limit, uint8_t ret[static IVBS_LIST_IMAGES_SIZE]) {
        put_be32(ret, limit);
        put_be32(ret + 4, 0);
        if (after)
                return ivbs_image_name_encode(after, ret + 8);

        memset(ret + 8, 0, IVBS_IMAGE_NAME_SIZE);
        return 0;
}

int ivbs_list_images_decode(
        const uint8_t *data, size_t n, char ret_after[static IVBS_IMAGE_NAME_SIZE], uint32_t *ret_limit) {
        char after[IVBS_IMAGE_NAME_SIZE] = "";
        uint32_t limit;

        if (n < IVBS_LIST_IMAGES_SIZE)
                return -EBADMSG;

        limit = get_be32(data);
        if (limit == 0 || limit > IVBS_IMAGES_PER_LIST)
                return -EBADMSG;
        if (data[8] != 0 && ivbs_image_name_decode(data + 8, after) < 0)
                return -EBADMSG;

        memcpy(ret_after, after, sizeof(after));
        *ret_limit = limit;
        return 0;
}

void ivbs_list_reply_start_encode(uint32_t count, bool more, uint8_t ret[static 8]) {
        put_be32(ret, count);
        put_be32(ret + 4, more);
}

size_t ivbs_listed_image_encode(const struct ivbs_listed_image *image, uint8_t *ret) {
        size_t n = strnlen(image->name, IVBS_IMAGE_NAME_SIZE - 1);

        put_uuid(ret, image->uuid);
        put_be64(ret + 16, image->size);
        put_be64(ret + 24, image->used);
        put_be32(ret + 32, image->flags);
        put_be16(ret + 36, (uint16_t) n);
        put_be16(ret + 38, 0);
        memcpy(ret + 40, image->name, n);
        return 40 + n;
}

int ivbs_list_reply_start_decode(const uint8_t *data, size_t n, uint32_t *ret_count, bool *ret_more) {
        if (n < 8 || get_be32(data) > IVBS_IMAGES_PER_LIST)
                return -EBADMSG;

        *ret_count = get_be32(data);
        *ret_more = get_be32(data + 4) != 0;
        return 0;
}

int ivbs_listed_image_decode(const uint8_t *data, size_t n, size_t *offset, struct ivbs_listed_image *ret) {
        struct ivbs_listed_image image = {};
        const uint8_t *p;
        size_t len;

        if (*offset > n || n - *offset < 40)
                return -EBADMSG;

        p = data + *offset;
        len = get_be16(p + 36);
        if (len >= IVBS_IMAGE_NAME_SIZE || n - *offset - 40 < len)
                return -EBADMSG;

        memcpy(image.name, p + 40, len);
        if (strlen(image.name) != len || !image_store_name_is_valid(image.name))
                return -EBADMSG;

        get_uuid(p, image.uuid);
        image.size = get_be64(p + 16);
        image.used = get_be64(p + 24);
        image.flags = get_be32(p + 32);
        *ret = image;
        *offset += 40 + len;
        return 0;
}

int ivbs_create_image_encode(const struct ivbs_create_image *create, uint8_t ret[static IVBS_CREATE_IMAGE_SIZE]) {
        put_be64(ret, create->size);
        put_be32(ret + 8, create->flags);
        put_be32(ret + 12, 0);
        return ivbs_image_name_encode(create->name, ret + 16);
}

int ivbs_create_image_decode(const uint8_t *data, size_t n, struct ivbs_create_image *ret) {
        char name[IVBS_IMAGE_NAME_SIZE];

        if (n < IVBS_CREATE_IMAGE_SIZE || ivbs_image_name_decode(data + 16, name) < 0)
                return -EBADMSG;
        if (!image_size_is_valid(get_be64(data)))
                return -ERANGE;

        ret->size = get_be64(data);
        ret->flags = get_be32(data + 8);
        memcpy(ret->name, name, sizeof(name));
        return 0;
}

int ivbs_remove_image_encode(const struct ivbs_remove_image *remove, uint8_t ret[static IVBS_REMOVE_IMAGE_SIZE]) {
        put_be32(ret, remove->flags);
        put_be32(ret + 4, 0);
        put_uuid(ret + 8, remove->uuid);
        return ivbs_image_name_encode(remove->name, ret + 24);
}

int ivbs_remove_image_decode(const uint8_t *data, size_t n, struct ivbs_remove_image *ret) {
        char name[IVBS_IMAGE_NAME_SIZE];

        if (n < IVBS_REMOVE_IMAGE_SIZE || ivbs_image_name_decode(data + 24, name) < 0)
                return -EBADMSG;

        ret->flags = get_be32(data);
        get_uuid(data + 8, ret->uuid);
        memcpy(ret->name, name, sizeof(name));
        return 0;
}

int ivbs_resize_image_encode(const struct ivbs_resize_image *resize, uint8_t ret[static IVBS_RESIZE_IMAGE_SIZE]) {
        put_be64(ret, resize->size);
        put_be32(ret + 8, resize->flags);
        put_be32(ret + 12, 0);
        put_uuid(ret + 16, resize->uuid);
        return ivbs_image_name_encode(resize->name, ret + 32);
}

int ivbs_resize_image_decode(const uint8_t *data, size_t n, struct ivbs_resize_image *ret) {
        char name[IVBS_IMAGE_NAME_SIZE];

        if (n < IVBS_RESIZE_IMAGE_SIZE || ivbs_image_name_decode(data + 32, name) < 0)
                return -EBADMSG;
        if (!image_size_is_valid(get_be64(data)))
                return -ERANGE;

        ret->size = get_be64(data);
        ret->flags = get_be32(data + 8);
        get_uuid(data + 16, ret->uuid);
        memcpy(ret->name, name, sizeof(name));
        return 0;
}

void ivbs_resize_reply_encode(const struct ivbs_resize_reply *reply, uint8_t ret[static IVBS_RESIZE_REPLY_SIZE]) {
        put_be64(ret, reply->size);
        put_be64(ret + 8, reply->size_epoch);
}

int ivbs_resize_reply_decode(const uint8_t *data, size_t n, struct ivbs_resize_reply *ret) {
        if (n < IVBS_RESIZE_REPLY_SIZE)
                return -EBADMSG;
        if (!image_size_is_valid(get_be64(data)))
                return -ERANGE;

        ret->size = get_be64(data);
        ret->size_epoch = get_be64(data + 8);
        return 0;
}

void ivbs_zeroes_encode(const struct ivbs_zeroes *zeroes, uint8_t ret[static IVBS_ZEROES_SIZE]) {
        ivbs_range_encode(zeroes->offset, zeroes->length, ret);
        put_be32(ret + 16, zeroes->flags);
        put_be32(ret + 20, 0);
}

int ivbs_zeroes_decode(const uint8_t *data, size_t n, struct ivbs_zeroes *ret) {
        if (n < IVBS_ZEROES_SIZE)
                return -EBADMSG;

        ivbs_range_decode(data, &ret->offset, &ret->length);
        ret->flags = get_be32(data + 16);
        return 0;
}

void ivbs_fence_encode(
        const uint8_t token[static IVBS_UUID_SIZE], uint64_t generation, uint8_t ret[static IVBS_FENCE_SIZE]) {
        put_uuid(ret, token);
        put_be64(ret + 16, generation);
}

int ivbs_fence_decode(
        const uint8_t *data, size_t n, uint8_t ret_token[static IVBS_UUID_SIZE], uint64_t *ret_generation) {
        if (n < IVBS_FENCE_SIZE)
                return -EBADMSG;

        get_uuid(data, ret_token);
        *ret_generation = get_be64(data + 16);
        return 0;
}

void ivbs_fence_reply_encode(uint64_t generation, uint8_t ret[static IVBS_FENCE_REPLY_SIZE]) {
        put_be64(ret, generation);
}

int ivbs_fence_reply_decode(const uint8_t *data, size_t n, uint64_t *ret_generation) {
        if (n < IVBS_FENCE_REPLY_SIZE)
                return -EBADMSG;
        if (get_be64(data) == 0)
                return -ERANGE;

        *ret_generation = get_be64(data);
        return 0;
}

void ivbs_drain_encode(uint32_t flags, uint8_t ret[static IVBS_DRAIN_SIZE]) {
        put_be32(ret, flags);
        put_be32(ret + 4, 0);
}

int ivbs_drain_decode(const uint8_t *data, size_t n, uint32_t *ret_flags) {
        if (n < IVBS_DRAIN_SIZE)
                return -EBADMSG;

        *ret_flags = get_be32(data);
        return 0;
}

void ivbs_notice_encode(const struct ivbs_notice *notice, uint8_t ret[static IVBS_NOTICE_LENGTH]) {
        put_be32(ret, notice->kind);
        put_be32(ret + 4, 0);
        put_be64(ret + 8, notice->value);
}

void ivbs_notice_size_encode(const struct ivbs_notice *notice, uint8_t ret[static IVBS_NOTICE_SIZE_LENGTH]) {
        ivbs_notice_encode(notice, ret);
        put_be64(ret + IVBS_NOTICE_LENGTH, notice->size_epoch);
}

int ivbs_notice_decode(const uint8_t *data, size_t n, struct ivbs_notice *ret) {
        if (n < IVBS_NOTICE_LENGTH)
                return -EBADMSG;

        ret->kind = get_be32(data);
        ret->value = get_be64(data + 8);
        ret->size_epoch = n >= IVBS_NOTICE_SIZE_LENGTH ? get_be64(data + IVBS_NOTICE_LENGTH) : 0;
        return 0;
}

size_t ivbs_proxies_encode(const struct ivbs_proxy *proxies, size_t n_proxies, uint8_t *ret) {
        uint8_t *p = ret + 16;

        if (n_proxies > IVBS_PROXIES_MAX)
                n_proxies = IVBS_PROXIES_MAX;

        memcpy(ret, IVBS_PROXIES_MAGIC, 8);
        put_be32(ret + 8, (uint32_t) n_proxies);
        put_be32(ret + 12, 0);

        for (size_t i = 0; i < n_proxies; i++) {
                size_t n = strnlen(proxies[i].address, IVBS_PROXY_ADDRESS_MAX);

                put_be16(p, (uint16_t) n);
                put_be16(p + 2, proxies[i].priority);
                put_be32(p + 4, proxies[i].flags);
                memcpy(p + 8, proxies[i].address, n);
                p += 8 + n;
        }

        return (size_t) (p - ret);
}

static bool proxy_address_is_plausible(const uint8_t *p, size_t n) {
        if (n == 0 || n > IVBS_PROXY_ADDRESS_MAX)
                return false;
        for (size_t i = 0; i < n; i++)
                if (p[i] <= 0x20 || p[i] >= 0x7f)
                        return false;
        return true;
}

size_t ivbs_proxies_decode(const uint8_t *data, size_t n, struct ivbs_proxy *ret, size_t max) {
        size_t found = 0, offset = 16;
        uint32_t count;

        if (n < 16 || memcmp(data, IVBS_PROXIES_MAGIC, 8) != 0)
                return 0;

        count = get_be32(data + 8);
        if (count > IVBS_PROXIES_MAX)
                count = IVBS_PROXIES_MAX;
        if (max > count)
                max = count;

        for (uint32_t i = 0; i < count && found < max && n - offset >= 8; i++) {
                const uint8_t *p = data + offset;
                size_t len = get_be16(p);

                if (n - offset - 8 < len)
                        break;
                offset += 8 + len;

                if (!proxy_address_is_plausible(p + 8, len))
                        continue;

                ret[found] = (struct ivbs_proxy){ .priority = get_be16(p + 2), .flags = get_be32(p + 4) };
                memcpy(ret[found].address, p + 8, len);
                found++;
        }

        return found;
}
