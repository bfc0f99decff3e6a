/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is kept with an image is kept in the header that RBD has for it, the object rbd_header.ID, under a key of ours in its omap: it goes when the image goes, whoever removes it, and a look at it
 * is a look at the image's size as well. It is replaced by compare and swap, which the OSD does as one step, so that proxies need no lock among each other. RBD's own keys of that object, rbd_id.NAME, which
 * leads from a name to an id, and the directory that leads back have been the same since format 2 of images came; they are read here, never written. */

#include <endian.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "store-rbd.h"

#define RECORD_KEY       "blockstore.record"
#define SIZE_KEY         "size"
#define ORDER_KEY        "order"
#define DIRECTORY_OBJECT "rbd_directory"

/* An object map: the length of its header (4 bytes) and the header (14), then two bits for each object, then checksums. */
#define MAP_START     18U
#define MAP_PER_BYTE  4U
#define MAP_BYTES_MAX (UINT64_C(16) * 1024U * 1024U)

void store_rbd_header_name(const char *id, char ret[static RBD_HEADER_SIZE]) {
        (void) snprintf(ret, RBD_HEADER_SIZE, "rbd_header.%s", id);
}

/* A string as Ceph encodes it: how long it is (4 bytes), and the string. */
static int take_string(const char *data, size_t n, char *ret, size_t size) {
        uint32_t length;

        if (n < 4)
                return -EUCLEAN;
        memcpy(&length, data, sizeof(length));
        length = le32toh(length);
        if (length == 0 || length >= size || length > n - 4)
                return -EUCLEAN;
        memcpy(ret, data + 4, length);
        ret[length] = '\0';
        return 0;
}

/* Whether RBD's directory has the image under that name. */
static int check_directory(struct rbd_store *store, const char *id, const char *name) {
        char key[RBD_ID_SIZE + 4], found[IVBS_IMAGE_NAME_SIZE], *got, *value;
        const char *keys[] = { key };
        rados_omap_iter_t values = NULL;
        int r, result = 0;
        rados_read_op_t op;
        size_t n;

        (void) snprintf(key, sizeof(key), "id_%s", id);
        op = rados_create_read_op();
        if (!op)
                return -ENOMEM;
        rados_read_op_omap_get_vals_by_keys(op, keys, ELEMENTSOF(keys), &values, &result);
        r = rados_read_op_operate(op, store->control_io, DIRECTORY_OBJECT, 0);
        if (r >= 0)
                r = result;
        if (r >= 0)
                r = rados_omap_get_next(values, &got, &value, &n);
        if (r >= 0)
                r = got ? take_string(value, n, found, sizeof(found)) : -ENOENT;
        if (values)
                rados_omap_get_end(values);
        rados_release_read_op(op);
        return r < 0 ? r : strcmp(found, name) == 0 ? 0 : -ENOENT;
}

int store_rbd_find(struct rbd_store *store, const char *name, char ret[static RBD_ID_SIZE]) {
        char object[IVBS_IMAGE_NAME_SIZE + 16], data[4 + RBD_ID_SIZE], id[RBD_ID_SIZE];
        int r;

        (void) snprintf(object, sizeof(object), "rbd_id.%s", name);
        r = rados_read(store->control_io, object, data, sizeof(data), 0);
        if (r >= 0)
                r = take_string(data, (size_t) r, id, sizeof(id));
        /* A rename that was cut short has left the way from one of the names, and it is the other one's. */
        if (r >= 0)
                r = check_directory(store, id, name);
        if (r >= 0)
                strcpy(ret, id);
        return r;
}

/* Made of what identifies it in all of the cluster, so that it needs no place: whatever RBD image there is has one, and it stays the same under another name. */
sd_id128_t store_rbd_uuid(const struct rbd_store *store, const char *id, uint64_t snapshot) {
        uint8_t hash[EVP_MAX_MD_SIZE];
        sd_id128_t uuid = SD_ID128_NULL;
        char text[512];
        int n;

        n = snprintf(text, sizeof(text), "blockstore-rbd %s %jd %s %s %ju", store->fsid, (intmax_t) store->pool,
                store->how.ceph.name_space ? store->how.ceph.name_space : "", id, (uintmax_t) snapshot);
        if (n < 0 || EVP_Digest(text, (size_t) n < sizeof(text) ? (size_t) n : sizeof(text) - 1, hash, NULL,
                             EVP_sha256(), NULL) != 1)
                return uuid;

        memcpy(uuid.bytes, hash, sizeof(uuid.bytes));
        uuid.bytes[6] = (uuid.bytes[6] & 0x0f) | 0x80;
        uuid.bytes[8] = (uuid.bytes[8] & 0x3f) | 0x80;
        return uuid;
}

static int take(struct rbd_header *header, const char *key, const char *value, size_t n) {
        uint64_t size;

        if (strcmp(key, SIZE_KEY) == 0) {
                if (n != sizeof(size))
                        return -EUCLEAN;
                memcpy(&size, value, sizeof(size));
                header->size = le64toh(size);
        } else if (strcmp(key, ORDER_KEY) == 0) {
                if (n != 1 || (uint8_t) value[0] < 9 || (uint8_t) value[0] > 32)
                        return -EUCLEAN;
                header->order = (uint8_t) value[0];
        } else if (strcmp(key, RECORD_KEY) == 0) {
                if (n > sizeof(header->raw))
                        return -EUCLEAN;
                memcpy(header->raw, value, n);
                header->n = n;
        }
        return 0;
}

int store_rbd_load(struct rbd_store *store, const char *name, struct rbd_header *ret) {
        static const char *const keys[] = { SIZE_KEY, ORDER_KEY, RECORD_KEY };
        struct rbd_header header = {};
        rados_omap_iter_t values = NULL;
        char *key, *value;
        rados_read_op_t op;
        int r, result = 0;
        size_t n;

        op = rados_create_read_op();
        if (!op)
                return -ENOMEM;
        rados_read_op_omap_get_vals_by_keys(op, keys, ELEMENTSOF(keys), &values, &result);
        r = rados_read_op_operate(op, store->control_io, name, 0);
        if (r >= 0)
                r = result;

        while (r >= 0 && (r = rados_omap_get_next(values, &key, &value, &n)) >= 0 && key)
                r = take(&header, key, value, n);
        if (values)
                rados_omap_get_end(values);
        rados_release_read_op(op);
        if (r < 0)
                return r;

        /* A header without a size is of an image that is being removed. */
        if (header.size == 0 || header.order == 0)
                return -ENOENT;
        r = rbd_record_decode(header.raw, header.n, &header.record);
        if (r < 0)
                return r;
        *ret = header;
        return 0;
}

int store_rbd_save(
        struct rbd_store *store, const char *name, struct rbd_header *loaded, const struct rbd_record *record) {
        static const char *const key = RECORD_KEY;
        const char *old = (const char *) loaded->raw;
        uint8_t raw[RBD_RECORD_SIZE_MAX];
        const char *value = (const char *) raw;
        size_t n = rbd_record_encode(record, raw);
        rados_write_op_t op;
        int r, result = 0;

        op = rados_create_write_op();
        if (!op)
                return -ENOMEM;
        /* One that is not there compares as an empty one. */
        rados_write_op_assert_exists(op);
        rados_write_op_omap_cmp(op, key, LIBRADOS_CMPXATTR_OP_EQ, old, loaded->n, &result);
        rados_write_op_omap_set(op, &key, &value, &n, 1);
        r = rados_write_op_operate(op, store->control_io, name, NULL, 0);
        rados_release_write_op(op);
        if (r == -ECANCELED)
                return -EAGAIN;
        if (r < 0)
                return r;

        memcpy(loaded->raw, raw, n);
        loaded->n = n;
        loaded->record = *record;
        return 0;
}

int store_rbd_get_random(struct rbd_store *store, const char *object, uint8_t *ret, size_t n) {
        char data[64];
        rados_write_op_t op;
        int r;

        if (n > sizeof(data))
                return -EINVAL;
        r = rados_read(store->control_io, object, data, n, 0);
        if (r == -ENOENT) {
                if (getrandom(data, n, 0) != (ssize_t) n)
                        return -EIO;
                op = rados_create_write_op();
                if (!op)
                        return -ENOMEM;
                rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
                rados_write_op_write_full(op, data, n);
                r = rados_write_op_operate(op, store->control_io, object, NULL, 0);
                rados_release_write_op(op);
                /* Perhaps somebody was faster. */
                if (r >= 0 || r == -EEXIST)
                        r = rados_read(store->control_io, object, data, n, 0);
        }
        if (r >= 0 && (size_t) r != n)
                r = -EUCLEAN;
        if (r >= 0)
                memcpy(ret, data, n);
        explicit_bzero(data, sizeof(data));
        return r < 0 ? r : 0;
}

uint64_t store_rbd_used(struct rbd_store *store, const char *id, const struct rbd_header *header) {
        uint64_t n_objects =
                (header->size >> header->order) + ((header->size & ((UINT64_C(1) << header->order) - 1)) != 0);
        uint64_t n_bytes = (n_objects + MAP_PER_BYTE - 1) / MAP_PER_BYTE, used = 0;
        _cleanup_free_ uint8_t *map = NULL;
        char object[RBD_ID_SIZE + 24];
        int n;

        if (n_bytes > MAP_BYTES_MAX)
                return 0;
        map = malloc(n_bytes);
        if (!map)
                return 0;
        (void) snprintf(object, sizeof(object), "rbd_object_map.%s", id);
        n = rados_read(store->control_io, object, (char *) map, n_bytes, MAP_START);
        for (int i = 0; i < n; i++)
                for (unsigned k = 0; k < MAP_PER_BYTE; k++) {
                        /* 0: none; 1, 3: there is one; 2: it is being removed */
                        unsigned state = map[i] >> 2 * k & 3;

                        used += state == 1 || state == 3;
                }
        return used << header->order < header->size ? used << header->order : header->size;
}
