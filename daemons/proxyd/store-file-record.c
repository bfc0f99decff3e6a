/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the records of a file store hold; how they are kept is store-file-json.c's. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "ivbs.h"
#include "store-file-json.h"
#include "store-file-record.h"

/* --- values --- */

static int handle_number(struct config_context *context, struct json_object *value, void *userdata) {
        int64_t number;

        if (!json_object_is_type(value, json_type_int) || (number = json_object_get_int64(value)) < 0)
                return config_refuse(context, value, "a whole number");

        *(uint64_t *) userdata = (uint64_t) number;
        return 0;
}

static int handle_format(struct config_context *context, struct json_object *value, void *userdata) {
        if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) != STORE_FORMAT)
                return config_refuse(context, value, "%u, the format that this version knows", STORE_FORMAT);
        return 0;
}

static int handle_id(struct config_context *context, struct json_object *value, void *userdata) {
        sd_id128_t *id = userdata;

        if (!json_object_is_type(value, json_type_string) ||
                sd_id128_from_string(json_object_get_string(value), id) < 0 || sd_id128_is_null(*id))
                return config_refuse(context, value, "an id of 32 hex digits");
        return 0;
}

static int take_hex(const char *text, uint8_t *ret, size_t n) {
        for (size_t i = 0; i < n; i++) {
                unsigned byte = 0;

                for (unsigned k = 0; k < 2; k++) {
                        char c = text[2 * i + k];

                        if (c >= '0' && c <= '9')
                                byte = byte * 16 + (unsigned) (c - '0');
                        else if (c >= 'a' && c <= 'f')
                                byte = byte * 16 + (unsigned) (c - 'a') + 10;
                        else
                                return -EINVAL;
                }
                ret[i] = (uint8_t) byte;
        }
        return text[2 * n] == 0 ? 0 : -EINVAL;
}

static struct json_object *hex_to_json(const uint8_t *data, size_t n) {
        static const char digits[] = "0123456789abcdef";
        char text[2 * LEASE_HASH_SIZE];

        for (size_t i = 0; i < n; i++) {
                text[2 * i] = digits[data[i] >> 4];
                text[2 * i + 1] = digits[data[i] & 15];
        }
        return json_object_new_string_len(text, (int) (2 * n));
}

static int handle_limits(struct config_context *context, struct json_object *value, void *userdata) {
        static const struct config_key keys[] = {
                { "iops", handle_number, offsetof(struct store_limits, iops), false },
                { "bandwidth", handle_number, offsetof(struct store_limits, bandwidth), false },
                { "burst", handle_number, offsetof(struct store_limits, burst_usec), false },
                {},
        };

        return config_apply_object(context, value, keys, userdata);
}

/* Whoever does not know the kind must not write there. */
static int handle_checksums(struct config_context *context, struct json_object *value, void *userdata) {
        if (!json_object_is_type(value, json_type_string) || strcmp(json_object_get_string(value), "crc32c") != 0)
                return config_refuse(context, value, "\"crc32c\"");

        *(bool *) userdata = true;
        return 0;
}

static int handle_hash(struct config_context *context, struct json_object *value, void *userdata) {
        if (!json_object_is_type(value, json_type_string) ||
                take_hex(json_object_get_string(value), userdata, LEASE_HASH_SIZE) < 0)
                return config_refuse(context, value, "64 hex digits");
        return 0;
}

/* As an id, but may be zero: a client may have told nothing. */
static int handle_bytes(struct config_context *context, struct json_object *value, void *userdata) {
        if (!json_object_is_type(value, json_type_string) ||
                take_hex(json_object_get_string(value), userdata, LEASE_ID_SIZE) < 0)
                return config_refuse(context, value, "32 hex digits");
        return 0;
}

static int handle_host(struct config_context *context, struct json_object *value, void *userdata) {
        if (!json_object_is_type(value, json_type_string) ||
                json_object_get_string_len(value) >= (int) LEASE_HOST_SIZE)
                return config_refuse(context, value, "a host's name of at most %u bytes", LEASE_HOST_SIZE - 1);

        strcpy(userdata, json_object_get_string(value));
        return 0;
}

/* One component of a path, and no way out of the directory. */
static int handle_socket(struct config_context *context, struct json_object *value, void *userdata) {
        const char *name = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!name || json_object_get_string_len(value) >= (int) STORE_SOCKET_NAME_SIZE || name[0] == '.' ||
                strchr(name, '/') || strlen(name) != (size_t) json_object_get_string_len(value))
                return config_refuse(context, value, "a file's name of at most %u bytes", STORE_SOCKET_NAME_SIZE - 1);

        strcpy(userdata, name);
        return 0;
}

/* A hidden name in the same directory, as store_file_hidden_name() makes them. */
static int handle_hidden(struct config_context *context, struct json_object *value, void *userdata) {
        const char *name = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!name || json_object_get_string_len(value) >= (int) INTENT_DATA_SIZE || name[0] != '.' || !name[1] ||
                name[1] == '.' || strchr(name, '/') || strlen(name) != (size_t) json_object_get_string_len(value))
                return config_refuse(context, value, "a hidden file's name of at most %u bytes", INTENT_DATA_SIZE - 1);

        strcpy(userdata, name);
        return 0;
}

static int handle_lease(struct config_context *context, struct json_object *value, void *userdata) {
        static const struct config_key keys[] = {
                { "token-hash", handle_hash, offsetof(struct lease, token_hash), true },
                { "machine-id", handle_bytes, offsetof(struct lease, holder.machine_id), true },
                { "boot-id", handle_bytes, offsetof(struct lease, holder.boot_id), true },
                { "host", handle_host, offsetof(struct lease, holder.host), true },
                { "since", handle_number, offsetof(struct lease, holder.since_usec), true },
                {},
        };
        struct lease *lease = userdata;

        lease->live = true;
        return config_apply_object(context, value, keys, lease);
}

/* --- records --- */

int store_record_load(int directory_fd, const char *shown, struct store_record *ret, char **ret_message) {
        static const struct config_key keys[] = {
                { "format", handle_format, 0, true },
                { "uuid", handle_id, offsetof(struct store_record, uuid), true },
                { "machine-id", handle_id, offsetof(struct store_record, machine_id), true },
                { "error-epoch", handle_number, offsetof(struct store_record, error_epoch), true },
                { "directory-inode", handle_number, offsetof(struct store_record, directory_inode), false },
                { "directory-born", handle_number, offsetof(struct store_record, directory_born_nsec), false },
                {},
        };
        struct store_record record = {};
        int r;

        r = store_json_load(directory_fd, shown, STORE_RECORD_NAME, keys, &record, ret_message);
        if (r >= 0)
                *ret = record;
        return r;
}

int image_record_load(int directory_fd, const char *shown, struct image_record *ret, char **ret_message) {
        static const struct config_key keys[] = {
                { "format", handle_format, 0, true },
                { "uuid", handle_id, offsetof(struct image_record, uuid), true },
                { "size", handle_number, offsetof(struct image_record, size), true },
                { "size-epoch", handle_number, offsetof(struct image_record, size_epoch), false },
                { "created", handle_number, offsetof(struct image_record, created_usec), true },
                { "limits", handle_limits, offsetof(struct image_record, limits), false },
                { "checksums", handle_checksums, offsetof(struct image_record, checksums), false },
                { "generation", handle_number, offsetof(struct image_record, lease.generation), true },
                { "lease", handle_lease, offsetof(struct image_record, lease), false },
                {},
        };
        struct image_record record = {};
        int r;

        r = store_json_load(directory_fd, shown, IMAGE_RECORD_NAME, keys, &record, ret_message);
        if (r < 0)
                return r;

        if (record.size == 0 || record.size > IVBS_IMAGE_SIZE_MAX) {
                if (asprintf(ret_message, "%s/" IMAGE_RECORD_NAME ": size: expected 1 or more bytes, found %ju", shown,
                            (uintmax_t) record.size) < 0)
                        *ret_message = NULL;
                return -EUCLEAN;
        }

        *ret = record;
        return 0;
}

int image_intent_load(int directory_fd, const char *shown, struct image_intent *ret, char **ret_message) {
        static const struct config_key keys[] = {
                { "format", handle_format, 0, true },
                { "roll-back-to", handle_hidden, offsetof(struct image_intent, data), true },
                { "size", handle_number, offsetof(struct image_intent, size), true },
                {},
        };
        struct image_intent intent = {};
        int r;

        r = store_json_load(directory_fd, shown, INTENT_NAME, keys, &intent, ret_message);
        if (r < 0)
                return r;
        if (intent.size == 0 || intent.size > IVBS_IMAGE_SIZE_MAX)
                return -EUCLEAN;
        *ret = intent;
        return 0;
}

int holder_record_load(int directory_fd, const char *shown, struct store_holder *ret, char **ret_message) {
        static const struct config_key keys[] = {
                { "pid", handle_number, offsetof(struct store_holder, pid), true },
                { "start-time", handle_number, offsetof(struct store_holder, start_time), true },
                { "boot-id", handle_id, offsetof(struct store_holder, boot_id), true },
                { "socket", handle_socket, offsetof(struct store_holder, socket), true },
                {},
        };
        struct store_holder holder = {};
        int r;

        r = store_json_load(directory_fd, shown, HOLDER_NAME, keys, &holder, ret_message);
        if (r >= 0)
                *ret = holder;
        return r;
}

static int add(struct json_object *object, const char *key, struct json_object *value) {
        if (value && json_object_object_add(object, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int add_id(struct json_object *object, const char *key, sd_id128_t id) {
        char text[SD_ID128_STRING_MAX];

        return add(object, key, json_object_new_string(sd_id128_to_string(id, text)));
}

static int add_number(struct json_object *object, const char *key, uint64_t number) {
        return add(object, key, json_object_new_int64((int64_t) number));
}

int store_record_save(int directory_fd, const struct store_record *record) {
        struct json_object *object = json_object_new_object();
        int r;

        if (!object)
                return -ENOMEM;

        r = add_number(object, "format", STORE_FORMAT);
        if (r >= 0)
                r = add_id(object, "uuid", record->uuid);
        if (r >= 0)
                r = add_id(object, "machine-id", record->machine_id);
        if (r >= 0)
                r = add_number(object, "error-epoch", record->error_epoch);
        if (r >= 0)
                r = add_number(object, "directory-inode", record->directory_inode);
        if (r >= 0)
                r = add_number(object, "directory-born", record->directory_born_nsec);
        if (r >= 0)
                r = store_json_replace(directory_fd, STORE_RECORD_NAME, object);

        json_object_put(object);
        return r;
}

static int add_lease(struct json_object *object, const struct lease *lease) {
        struct json_object *inner = json_object_new_object();
        int r;

        r = add(object, "lease", inner);
        if (r >= 0)
                r = add(inner, "token-hash", hex_to_json(lease->token_hash, LEASE_HASH_SIZE));
        if (r >= 0)
                r = add(inner, "machine-id", hex_to_json(lease->holder.machine_id, LEASE_ID_SIZE));
        if (r >= 0)
                r = add(inner, "boot-id", hex_to_json(lease->holder.boot_id, LEASE_ID_SIZE));
        if (r >= 0)
                r = add(inner, "host", json_object_new_string(lease->holder.host));
        if (r >= 0)
                r = add_number(inner, "since", lease->holder.since_usec);
        return r;
}

static int add_limits(struct json_object *object, const struct store_limits *limits) {
        struct json_object *inner = json_object_new_object();
        int r;

        r = add(object, "limits", inner);
        if (r >= 0)
                r = add_number(inner, "iops", limits->iops);
        if (r >= 0)
                r = add_number(inner, "bandwidth", limits->bandwidth);
        if (r >= 0)
                r = add_number(inner, "burst", limits->burst_usec);
        return r;
}

int image_record_save(int directory_fd, const struct image_record *record) {
        struct json_object *object = json_object_new_object();
        int r;

        if (!object)
                return -ENOMEM;

        r = add_number(object, "format", STORE_FORMAT);
        if (r >= 0)
                r = add_id(object, "uuid", record->uuid);
        if (r >= 0)
                r = add_number(object, "size", record->size);
        /* Versions that know no other size than the first can read what was never resized. */
        if (r >= 0 && record->size_epoch > 0)
                r = add_number(object, "size-epoch", record->size_epoch);
        if (r >= 0)
                r = add_number(object, "created", record->created_usec);
        if (r >= 0 && record->checksums)
                r = add(object, "checksums", json_object_new_string("crc32c"));
        if (r >= 0)
                r = add_number(object, "generation", record->lease.generation);
        if (r >= 0 && (record->limits.iops > 0 || record->limits.bandwidth > 0))
                r = add_limits(object, &record->limits);
        if (r >= 0 && record->lease.live)
                r = add_lease(object, &record->lease);
        if (r >= 0)
                r = store_json_replace(directory_fd, IMAGE_RECORD_NAME, object);

        json_object_put(object);
        return r;
}

int image_intent_save(int directory_fd, const struct image_intent *intent) {
        struct json_object *object = json_object_new_object();
        int r;

        if (!object)
                return -ENOMEM;

        r = add_number(object, "format", STORE_FORMAT);
        if (r >= 0)
                r = add(object, "roll-back-to", json_object_new_string(intent->data));
        if (r >= 0)
                r = add_number(object, "size", intent->size);
        if (r >= 0)
                r = store_json_replace(directory_fd, INTENT_NAME, object);

        json_object_put(object);
        return r;
}

int holder_record_save(int directory_fd, const struct store_holder *holder) {
        struct json_object *object = json_object_new_object();
        _cleanup_close_ int fd = -EBADF;
        char text[STORE_JSON_SIZE];
        int r;

        if (!object)
                return -ENOMEM;

        r = add_number(object, "pid", holder->pid);
        if (r >= 0)
                r = add_number(object, "start-time", holder->start_time);
        if (r >= 0)
                r = add_id(object, "boot-id", holder->boot_id);
        if (r >= 0)
                r = add(object, "socket", json_object_new_string(holder->socket));
        if (r >= 0)
                r = store_json_print(object, text);
        json_object_put(object);
        if (r < 0)
                return r;

        fd = openat(directory_fd, HOLDER_NAME, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        return store_json_write(fd, text);
}
