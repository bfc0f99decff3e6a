/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What people write: the first byte of the input says as what the rest is read. Configuration files go through the same files on disk as everywhere, in a
 * directory of this process.
 *
 * The rules: a refusal says where in one printable line, what is taken is within its range, and what is normalised stays as it is when that is
 * done again. */

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"
#include "host-config.h"

static char directory[] = "/tmp/fuzz-config-XXXXXX";
static const char *const names[] = { "blockstore.json", "images.d/x.json", "options/x.json" };

static void in_directory(const char *name, char ret[static 64]) {
        REQUIRE(snprintf(ret, 64, "%s/%s", directory, name) < 64);
}

static void remove_directory(void) {
        static const char *const parts[] = { "images.d", "options", "" };
        char path[64];

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                in_directory(names[i], path);
                (void) unlink(path);
        }
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
                in_directory(parts[i], path);
                (void) rmdir(path);
        }
}

static void make_directory(void) {
        static int made;
        char path[64];

        if (made++)
                return;
        REQUIRE(mkdtemp(directory));
        in_directory("images.d", path);
        REQUIRE(mkdir(path, 0700) >= 0);
        in_directory("options", path);
        REQUIRE(mkdir(path, 0700) >= 0);
        REQUIRE(setenv("BLOCKSTORE_CONFIG_DIRECTORY", directory, 1) >= 0);
        REQUIRE(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", directory, 1) >= 0);
        REQUIRE(atexit(remove_directory) == 0);
}

static void require_complaint(const char *message, const char *name) {
        REQUIRE(message && strncmp(message, name, strlen(name)) == 0 && message[strlen(name)] == ':');
        REQUIRE(strlen(message) < 4096);
        for (const char *p = message; *p; p++)
                REQUIRE((uint8_t) *p >= 0x20 && *p != 0x7f && !((uint8_t) p[0] == 0xc2 && (uint8_t) p[1] < 0xa0));
}

static int count_value(struct config_context *context, struct json_object *value, void *userdata) {
        unsigned *count = userdata;

        REQUIRE(context->line > 0 && context->path);
        (*count)++;
        return 0;
}

static int count_values(struct config_context *context, struct json_object *value, void *userdata) {
        return config_apply_array(context, value, 100, count_value, userdata);
}

/* Each kind of handler once. */
static void try_keys(const char *text, size_t n) {
        struct all {
                char *string;
                bool on;
                unsigned number, count;
                uint64_t time, size;
        } all = {};
        static const struct config_key keys[] = {
                { "s", config_handle_string, offsetof(struct all, string), false },
                { "b", config_handle_bool, offsetof(struct all, on), false },
                { "n", config_handle_unsigned, offsetof(struct all, number), false },
                { "t", config_handle_time, offsetof(struct all, time), false },
                { "z", config_handle_size, offsetof(struct all, size), false },
                { "a", count_values, offsetof(struct all, count), false },
                { "r", count_value, offsetof(struct all, count), true },
                {},
        };
        struct config_file *file = NULL;
        char *message = NULL;
        int r;

        r = config_file_parse("name", text, n, &file, &message);
        if (r >= 0) {
                REQUIRE(!message && file);
                r = config_apply(file, keys, &all, &message);
        }
        if (r < 0)
                require_complaint(message, "name");
        else {
                REQUIRE(!message && all.count >= 1 && all.count <= 101);
                REQUIRE(!all.string || strlen(all.string) <= 4096);
        }

        free(all.string);
        free(message);
        config_file_free(file);
}

static void require_ranges(const struct host_config *config) {
        REQUIRE(config->n_proxies <= HOST_PROXIES_MAX);
        for (size_t i = 0; i < config->n_proxies; i++) {
                char *again = NULL;

                REQUIRE(address_normalise(config->proxies[i].address, &again) == 0);
                REQUIRE(strcmp(again, config->proxies[i].address) == 0);
                free(again);
                for (size_t k = 0; k < i; k++)
                        REQUIRE(strcmp(config->proxies[i].address, config->proxies[k].address) != 0);
        }

        REQUIRE(!config->user || (strlen(config->user) >= 1 && strlen(config->user) <= IVBS_USER_SIZE));
        REQUIRE(!config->image || image_store_name_is_valid(config->image));
        REQUIRE(config->device == DEVICE_NBD || config->device == DEVICE_NONE);
        REQUIRE(config->nbd_access == NBD_ACCESS_EXCLUSIVE || config->nbd_access == NBD_ACCESS_SHARED);
        REQUIRE(config->connections >= 1 && config->connections <= 16);
        REQUIRE(config->attach_timeout_usec >= 1000000 && config->io_timeout_usec >= 1000000);
        REQUIRE(config->connect_timeout_usec >= 100000 && config->connect_timeout_usec <= 600000000);
        REQUIRE(config->login_timeout_usec >= 100000 && config->login_timeout_usec <= 600000000);
        REQUIRE(config->dead_time_usec >= 100000 && config->dead_time_usec <= 600000000);
}

static void try_host_file(const char *name, const char *text, size_t n) {
        struct host_config *config = NULL;
        char path[64], *message = NULL;
        FILE *f;

        make_directory();
        in_directory(name, path);
        f = fopen(path, "we");
        REQUIRE(f && fwrite(text, 1, n, f) == n);
        REQUIRE(fclose(f) == 0);

        if (host_config_load("x", &config, &message) < 0) {
                REQUIRE(!config);
                require_complaint(message, path);
        } else {
                REQUIRE(!message);
                require_ranges(config);
        }

        REQUIRE(unlink(path) >= 0);
        host_config_free(config);
        free(message);
}

static void try_address(const char *text) {
        char *normal = NULL, *again = NULL, *host = NULL;
        uint16_t port;

        if (address_normalise(text, &normal) < 0) {
                REQUIRE(!normal);
                return;
        }
        REQUIRE(strlen(normal) <= 255 && strlen(normal) >= 3);
        REQUIRE(address_is_tls(normal) == address_is_tls(text));
        for (const char *p = normal + (address_is_tls(normal) ? strlen(ADDRESS_TLS) : 0); *p; p++)
                REQUIRE((uint8_t) *p > 0x20 && (uint8_t) *p < 0x7f && *p != '/');
        REQUIRE(address_normalise(normal, &again) == 0 && strcmp(normal, again) == 0);
        REQUIRE(address_split(text, &host, &port) == 0 && port > 0 && *host);
        free(normal);
        free(again);
        free(host);
}

static void try_time(const char *text) {
        char again[32];
        uint64_t usec, parsed;

        if (time_parse(text, &usec) < 0 || usec == UINT64_MAX)
                return;
        snprintf(again, sizeof(again), "%" PRIu64 "us", usec);
        REQUIRE(time_parse(again, &parsed) == 0 && parsed == usec);
}

static void try_size(const char *text) {
        char again[32];
        uint64_t size, parsed;

        if (size_parse(text, &size) < 0)
                return;
        snprintf(again, sizeof(again), "%" PRIu64, size);
        REQUIRE(size_parse(again, &parsed) == 0 && parsed == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *text;

        if (size == 0)
                return 0;

        text = strndup((const char *) data + 1, size - 1);
        REQUIRE(text);

        switch (data[0]) {
        case 'h':
                try_host_file(names[0], (const char *) data + 1, size - 1);
                break;
        case 'i':
                try_host_file(names[1], (const char *) data + 1, size - 1);
                break;
        case 'o':
                try_host_file(names[2], (const char *) data + 1, size - 1);
                break;
        case 'a':
                try_address(text);
                break;
        case 't':
                try_time(text);
                break;
        case 's':
                try_size(text);
                break;
        default:
                try_keys((const char *) data + 1, size - 1);
        }

        free(text);
        return 0;
}
