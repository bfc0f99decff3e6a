/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A classic server names no UUID, so one is derived from the image's name: the device's identity must not change between two attaches of the same image.
 *
 * The file is written before the device is told, and only by this worker. It is JSON in the one directory that is this image's, and what cannot be read there counts as
 * absent: the consequence is a new attach, which the store may refuse, never a wrong resume. The token is a secret among hosts, hence the mode. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>
#include <openssl/evp.h>
#include <systemd/sd-id128.h>

#include "attachment.h"
#include "cleanup.h"

/* What a device is promised once, and must have for as long as it lives. */
#define ATTACHMENT_CAPS                                                                                            \
        (IVBS_CAP_FLUSH | IVBS_CAP_FUA | IVBS_CAP_TRIM | IVBS_CAP_WRITE_ZEROES | IVBS_CAP_LEASE | IVBS_CAP_FENCE | \
                IVBS_CAP_DURABILITY)

#define ATTACHMENT_FILE     "attachment.json"
#define ATTACHMENT_FILE_TMP "attachment.json.new"

static int refuse(char *ret_reason, size_t n_reason, const char *reason) {
        snprintf(ret_reason, n_reason, "%s", reason);
        return -ESTALE;
}

int attachment_check_modern(const struct attachment *a, uint64_t caps, const struct ivbs_lease_reply *reply,
        char *ret_reason, size_t n_reason) {
        if (!a->attached)
                return 0;
        if (!a->modern)
                return refuse(ret_reason, n_reason, "the image was attached to a classic server, and this one is not");
        if ((a->caps & ~caps) != 0)
                return refuse(ret_reason, n_reason, "this proxy cannot do what the device was promised");
        if (memcmp(a->uuid, reply->uuid, sizeof(a->uuid)) != 0)
                return refuse(ret_reason, n_reason, "this proxy has another image under the same name");
        if (a->size != reply->size && reply->size_epoch <= a->size_epoch)
                return refuse(ret_reason, n_reason, "this proxy has the image with another size");
        return 0;
}

int attachment_check_classic(const struct attachment *a, uint64_t size, char *ret_reason, size_t n_reason) {
        if (!a->attached)
                return 0;
        if (a->modern)
                return refuse(ret_reason, n_reason,
                        "this is a classic server, which cannot continue an attachment with a lease");
        if (a->size != size)
                return refuse(ret_reason, n_reason, "this proxy has the image with another size");
        return 0;
}

void attachment_set_modern(struct attachment *a, uint64_t caps, const struct ivbs_lease_reply *reply) {
        /* Overtaken by a FENCE on another connection: what it says of the generation is past. */
        if (a->attached && reply->generation < a->generation)
                return;

        if (!a->attached)
                a->caps = caps & ATTACHMENT_CAPS;
        /* A FENCE from generation g can only ever make it g + 1; until that has been seen, a frozen proxy may still do it. */
        if (reply->generation > a->generation)
                a->fencing = false;
        a->attached = a->modern = true;
        a->steal = false;
        if (reply->size_epoch >= a->size_epoch) {
                a->size = reply->size;
                a->size_epoch = reply->size_epoch;
        }
        a->block_size = reply->block_size;
        a->generation = reply->generation;
        a->refuses_writes = (reply->flags & IVBS_IMAGE_READ_ONLY) != 0;
        memcpy(a->uuid, reply->uuid, sizeof(a->uuid));
        memcpy(a->token, reply->token, sizeof(a->token));
}

void attachment_set_classic(struct attachment *a, uint64_t size) {
        static const char domain[] = "blockstore classic image ";
        char text[sizeof(domain) + IVBS_IMAGE_NAME_SIZE];
        uint8_t digest[64];
        int n;

        n = snprintf(text, sizeof(text), "%s%s", domain, a->name);
        if (EVP_Digest(text, (size_t) n, digest, NULL, EVP_sha512(), NULL) != 1)
                memset(digest, 0, sizeof(digest));
        /* Version 8 of RFC 9562: what follows is the maker's own business. */
        digest[6] = (uint8_t) ((digest[6] & 0x0f) | 0x80);
        digest[8] = (uint8_t) ((digest[8] & 0x3f) | 0x80);

        a->attached = true;
        a->modern = a->steal = false;
        a->caps = 0;
        a->size = size;
        a->block_size = 4096;
        memcpy(a->uuid, digest, sizeof(a->uuid));
}

static struct json_object *new_id(const uint8_t id[static IVBS_UUID_SIZE]) {
        char text[SD_ID128_STRING_MAX];
        sd_id128_t value;

        memcpy(value.bytes, id, sizeof(value.bytes));
        return json_object_new_string(sd_id128_to_string(value, text));
}

static int get_id(struct json_object *object, const char *key, uint8_t ret[static IVBS_UUID_SIZE]) {
        struct json_object *value;
        sd_id128_t id;

        if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_string) ||
                sd_id128_from_string(json_object_get_string(value), &id) < 0)
                return -EBADMSG;

        memcpy(ret, id.bytes, sizeof(id.bytes));
        return 0;
}

static int get_u64(struct json_object *object, const char *key, uint64_t *ret) {
        struct json_object *value;

        if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_int))
                return -EBADMSG;

        *ret = json_object_get_uint64(value);
        return 0;
}

int attachment_save(const struct attachment *a) {
        _cleanup_close_ int dir = -EBADF, fd = -EBADF;
        struct json_object *object;
        const char *text;
        size_t n;
        int r = 0;

        if (!a->directory)
                return 0;
        /* A classic server gave no lease that could be resumed. */
        if (!a->modern)
                return attachment_remove(a);

        dir = open(a->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return -errno;

        object = json_object_new_object();
        if (!object)
                return -ENOMEM;
        json_object_object_add(object, "image", json_object_new_string(a->name));
        json_object_object_add(object, "read-only", json_object_new_boolean(a->read_only));
        json_object_object_add(object, "refuses-writes", json_object_new_boolean(a->refuses_writes));
        json_object_object_add(object, "caps", json_object_new_uint64(a->caps));
        json_object_object_add(object, "size", json_object_new_uint64(a->size));
        json_object_object_add(object, "size-epoch", json_object_new_uint64(a->size_epoch));
        json_object_object_add(object, "block-size", json_object_new_uint64(a->block_size));
        json_object_object_add(object, "generation", json_object_new_uint64(a->generation));
        json_object_object_add(object, "fencing", json_object_new_boolean(a->fencing));
        json_object_object_add(object, "uuid", new_id(a->uuid));
        json_object_object_add(object, "token", new_id(a->token));
        text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
        n = text ? strlen(text) : 0;

        fd = openat(dir, ATTACHMENT_FILE_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (!text)
                r = -ENOMEM;
        else if (fd < 0)
                r = -errno;
        else if (write(fd, text, n) != (ssize_t) n)
                r = -EIO;
        else if (renameat(dir, ATTACHMENT_FILE_TMP, dir, ATTACHMENT_FILE) < 0)
                r = -errno;

        json_object_put(object);
        return r;
}

static int fill(struct attachment *a, struct json_object *object) {
        struct attachment loaded = *a;
        struct json_object *name, *read_only, *refuses_writes, *fencing;
        uint64_t block_size;

        if (!json_object_object_get_ex(object, "image", &name) ||
                !json_object_object_get_ex(object, "read-only", &read_only) ||
                !json_object_object_get_ex(object, "refuses-writes", &refuses_writes) ||
                !json_object_object_get_ex(object, "fencing", &fencing) || get_u64(object, "caps", &loaded.caps) < 0 ||
                get_u64(object, "size", &loaded.size) < 0 || get_u64(object, "block-size", &block_size) < 0 ||
                get_u64(object, "generation", &loaded.generation) < 0 || get_id(object, "uuid", loaded.uuid) < 0 ||
                get_id(object, "token", loaded.token) < 0)
                return 0;

        if (!json_object_is_type(name, json_type_string) || strcmp(json_object_get_string(name), a->name) != 0 ||
                !json_object_is_type(read_only, json_type_boolean) ||
                json_object_get_boolean(read_only) != a->read_only || loaded.size == 0 ||
                loaded.size > IVBS_IMAGE_SIZE_MAX || block_size < 512 || block_size > 65536)
                return 0;

        /* Not there in a file that an earlier version wrote. */
        if (get_u64(object, "size-epoch", &loaded.size_epoch) < 0)
                loaded.size_epoch = 0;
        loaded.refuses_writes = json_object_get_boolean(refuses_writes);
        loaded.block_size = (uint32_t) block_size;
        loaded.fencing = json_object_get_boolean(fencing);
        loaded.attached = loaded.modern = loaded.inherited = true;
        loaded.steal = false;
        *a = loaded;
        return 1;
}

int attachment_load(struct attachment *a) {
        _cleanup_free_ char *path = NULL;
        struct json_object *object;
        int r;

        if (!a->directory)
                return 0;
        if (asprintf(&path, "%s/%s", a->directory, ATTACHMENT_FILE) < 0)
                return -ENOMEM;

        object = json_object_from_file(path);
        if (!object)
                return 0;

        r = json_object_is_type(object, json_type_object) ? fill(a, object) : 0;
        json_object_put(object);
        return r;
}

int attachment_remove(const struct attachment *a) {
        _cleanup_free_ char *path = NULL;

        if (!a->directory)
                return 0;
        if (asprintf(&path, "%s/%s", a->directory, ATTACHMENT_FILE) < 0)
                return -ENOMEM;

        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
