/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Of the mock: the images' objects. They are what the test has said, and stay so. */

#include <stddef.h>

#include "mock.h"

#define IMAGE_PREFIX MOCK_PATH "/image"
#define IMAGE        "org.blockstore.Image"

struct image {
        char *name, *image_name, *uuid, *state, *state_reason, *failure, *device, *unit, *active_proxy, *standby_proxy,
                *missing;
        uint64_t size, state_since, retained, failovers, reads, writes, flushes, read_bytes, written_bytes, errors,
                latency, stalls, longest_stall, stalled, reconnects;
        uint32_t in_flight, sessions;
        int read_only, configured;
};

static struct image *images[MOCK_ENTRIES_MAX];
static size_t n_images;

static struct image *find(const char *name) {
        for (size_t i = 0; i < n_images; i++)
                if (strcmp(images[i]->name, name) == 0)
                        return images[i];

        return NULL;
}

static char *copy(const char *text) {
        char *c = strdup(text);

        ASSERT_TRUE(c);
        return c;
}

static void replace(char **field, const char *text) {
        free(*field);
        *field = copy(text);
}

char *mock_image_path(const char *name) {
        char *path;

        ASSERT_OK(sd_bus_path_encode(IMAGE_PREFIX, name, &path));
        return path;
}

static struct image *add(const char *name) {
        struct image *image = calloc(1, sizeof *image);
        char *path = mock_image_path(name);

        ASSERT_TRUE(image);
        ASSERT_TRUE(n_images < MOCK_ENTRIES_MAX);
        image->name = copy(name);
        image->image_name = copy(name);
        image->uuid = copy("");
        image->state = copy("inactive");
        image->state_reason = copy("");
        image->failure = copy("");
        image->device = copy("");
        image->active_proxy = copy("");
        image->standby_proxy = copy("");
        image->missing = copy("");
        ASSERT_OK(asprintf(&image->unit, "image@%s.service", name));
        images[n_images++] = image;

        ASSERT_OK(sd_bus_emit_object_added(mock_bus, path));
        free(path);
        return image;
}

static void image_free(struct image *image) {
        free(image->name);
        free(image->image_name);
        free(image->uuid);
        free(image->state);
        free(image->state_reason);
        free(image->failure);
        free(image->device);
        free(image->unit);
        free(image->active_proxy);
        free(image->standby_proxy);
        free(image->missing);
        free(image);
}

bool mock_image_exists(const char *name) {
        return find(name);
}

void mock_image_attach(const char *name, const char *state) {
        struct image *image = find(name) ?: add(name);

        if (strcmp(state, "attached") == 0) {
                replace(&image->device, "/dev/nbd0");
                image->size = 1073741824;
        }
        mock_image_set(name, "State", state);
}

static void drop(const char *name) {
        char *path = mock_image_path(name);

        ASSERT_OK(sd_bus_emit_object_removed(mock_bus, path));
        free(path);
        for (size_t i = 0; i < n_images; i++)
                if (strcmp(images[i]->name, name) == 0) {
                        image_free(images[i]);
                        images[i] = images[--n_images];
                }
}

void mock_image_set(const char *name, const char *property, const char *value) {
        struct image *image = find(name);
        uint64_t sessions = UINT64_MAX;
        char *path = mock_image_path(name);
        const struct {
                const char *property;
                char **text;
                uint64_t *number;
                int *flag;
        } fields[] = {
                { "ImageName", &image->image_name, NULL, NULL },
                { "UUID", &image->uuid, NULL, NULL },
                { "State", &image->state, NULL, NULL },
                { "StateReason", &image->state_reason, NULL, NULL },
                { "Failure", &image->failure, NULL, NULL },
                { "Device", &image->device, NULL, NULL },
                { "ActiveProxy", &image->active_proxy, NULL, NULL },
                { "StandbyProxy", &image->standby_proxy, NULL, NULL },
                { "MissingFeatures", &image->missing, NULL, NULL }, /* words */
                { "StateSince", NULL, &image->state_since, NULL },
                { "RetainedBytes", NULL, &image->retained, NULL },
                { "Sessions", NULL, &sessions, NULL },
                { "Size", NULL, &image->size, NULL },
                { "Failovers", NULL, &image->failovers, NULL },
                { "ReadOperations", NULL, &image->reads, NULL },
                { "ReadBytes", NULL, &image->read_bytes, NULL },
                { "LatencyUSec", NULL, &image->latency, NULL },
                { "Stalls", NULL, &image->stalls, NULL },
                { "LongestStallUSec", NULL, &image->longest_stall, NULL },
                { "StalledUSec", NULL, &image->stalled, NULL },
                { "Reconnects", NULL, &image->reconnects, NULL },
                { "ReadOnly", NULL, NULL, &image->read_only },
                { "Configured", NULL, NULL, &image->configured },
        };
        bool known = false, counter = strncmp(property, "Read", 4) == 0 && strcmp(property, "ReadOnly") != 0;

        counter = counter || strstr(property, "Stall") || strcmp(property, "Reconnects") == 0;
        counter = counter || strcmp(property, "LatencyUSec") == 0 || strcmp(property, "RetainedBytes") == 0;
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
                if (strcmp(fields[i].property, property) != 0)
                        continue;
                known = true;
                if (fields[i].text)
                        replace(fields[i].text, value);
                else if (fields[i].number)
                        *fields[i].number = strtoull(value, NULL, 10);
                else if (fields[i].flag)
                        *fields[i].flag = (int) strtoull(value, NULL, 10);
        }
        ASSERT_TRUE(known);
        if (image && sessions != UINT64_MAX)
                image->sessions = (uint32_t) sessions;

        /* Counters announce nothing. */
        if (!counter)
                ASSERT_OK(sd_bus_emit_properties_changed(mock_bus, path, IMAGE, property, NULL));
        free(path);
}

static int get_missing(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        char *words = copy(((struct image *) userdata)->missing), *rest = words, *w;

        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "s"));
        while ((w = strsep(&rest, " ")))
                if (*w)
                        ASSERT_OK(sd_bus_message_append(reply, "s", w));
        free(words);
        return sd_bus_message_close_container(reply);
}

/* Of 100 reads 60 took up to 50 µs, 39 up to 20 ms, and one longer than all bounds. */
static int get_latency(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        const struct image *image = userdata;

        if (strcmp(image->state, "attached") != 0)
                return sd_bus_message_append(reply, "(ta(tt))", UINT64_C(0), 0);
        return sd_bus_message_append(reply, "(ta(tt))", UINT64_C(60500000), 4, UINT64_C(50), UINT64_C(60),
                UINT64_C(20000), UINT64_C(39), UINT64_C(1000000), UINT64_C(0), UINT64_MAX, UINT64_C(1));
}

static int get_no_latency(sd_bus *b, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "(ta(tt))", UINT64_C(0), 0);
}

/* An attached image is read in its first quarter and written in one place. */
static int heat_map(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const struct image *image = userdata;
        double reads[1024] = {}, writes[1024] = {};
        sd_bus_message *reply;
        int r;

        if (strcmp(image->state, "attached") != 0)
                return sd_bus_error_set(error, "org.blockstore.Error.NotAttached", "There is no worker.");
        for (size_t i = 0; i < 256; i++)
                reads[i] = 10;
        writes[512] = 2.5;

        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_append(reply, "tt", image->size, UINT64_C(60000000)));
        ASSERT_OK(sd_bus_message_append_array(reply, 'd', reads, sizeof reads));
        ASSERT_OK(sd_bus_message_append_array(reply, 'd', writes, sizeof writes));
        r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable image_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("HeatMap", NULL, "ttadad", heat_map, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Name", "s", NULL, offsetof(struct image, name), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("ImageName", "s", NULL, offsetof(struct image, image_name), CHANGES),
        SD_BUS_PROPERTY("UUID", "s", NULL, offsetof(struct image, uuid), CHANGES),
        SD_BUS_PROPERTY("Size", "t", NULL, offsetof(struct image, size), CHANGES),
        SD_BUS_PROPERTY("ReadOnly", "b", NULL, offsetof(struct image, read_only), CHANGES),
        SD_BUS_PROPERTY("State", "s", NULL, offsetof(struct image, state), CHANGES),
        SD_BUS_PROPERTY("StateReason", "s", NULL, offsetof(struct image, state_reason), CHANGES),
        SD_BUS_PROPERTY("Failure", "s", NULL, offsetof(struct image, failure), CHANGES),
        SD_BUS_PROPERTY("Device", "s", NULL, offsetof(struct image, device), CHANGES),
        SD_BUS_PROPERTY("Unit", "s", NULL, offsetof(struct image, unit), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("ActiveProxy", "s", NULL, offsetof(struct image, active_proxy), CHANGES),
        SD_BUS_PROPERTY("Proxies", "a(susts)", mock_get_proxies, 0, CHANGES),
        SD_BUS_PROPERTY("ProxyHealth", "a(sus)", mock_get_health, 0, CHANGES),
        SD_BUS_PROPERTY("StandbyProxy", "s", NULL, offsetof(struct image, standby_proxy), CHANGES),
        SD_BUS_PROPERTY("Sessions", "u", NULL, offsetof(struct image, sessions), CHANGES),
        SD_BUS_PROPERTY("MissingFeatures", "as", get_missing, 0, CHANGES),
        SD_BUS_PROPERTY("StateSince", "t", NULL, offsetof(struct image, state_since), CHANGES),
        SD_BUS_PROPERTY("RetainedBytes", "t", NULL, offsetof(struct image, retained), 0),
        SD_BUS_PROPERTY("Configured", "b", NULL, offsetof(struct image, configured), CHANGES),
        SD_BUS_PROPERTY("Failovers", "t", NULL, offsetof(struct image, failovers), CHANGES),
        SD_BUS_PROPERTY("ReadOperations", "t", NULL, offsetof(struct image, reads), 0),
        SD_BUS_PROPERTY("WriteOperations", "t", NULL, offsetof(struct image, writes), 0),
        SD_BUS_PROPERTY("FlushOperations", "t", NULL, offsetof(struct image, flushes), 0),
        SD_BUS_PROPERTY("ReadBytes", "t", NULL, offsetof(struct image, read_bytes), 0),
        SD_BUS_PROPERTY("WrittenBytes", "t", NULL, offsetof(struct image, written_bytes), 0),
        SD_BUS_PROPERTY("Errors", "t", NULL, offsetof(struct image, errors), 0),
        SD_BUS_PROPERTY("InFlight", "u", NULL, offsetof(struct image, in_flight), 0),
        SD_BUS_PROPERTY("LatencyUSec", "t", NULL, offsetof(struct image, latency), 0),
        SD_BUS_PROPERTY("ReadLatency", "(ta(tt))", get_latency, 0, 0),
        SD_BUS_PROPERTY("WriteLatency", "(ta(tt))", get_no_latency, 0, 0),
        SD_BUS_PROPERTY("FlushLatency", "(ta(tt))", get_no_latency, 0, 0),
        SD_BUS_PROPERTY("Reconnects", "t", NULL, offsetof(struct image, reconnects), 0),
        SD_BUS_PROPERTY("Stalls", "t", NULL, offsetof(struct image, stalls), 0),
        SD_BUS_PROPERTY("LongestStallUSec", "t", NULL, offsetof(struct image, longest_stall), 0),
        SD_BUS_PROPERTY("StalledUSec", "t", NULL, offsetof(struct image, stalled), 0),
        SD_BUS_VTABLE_END,
};

static int find_object(
        sd_bus *b, const char *path, const char *interface, void *userdata, void **ret_found, sd_bus_error *error) {
        char *name;

        if (sd_bus_path_decode(path, IMAGE_PREFIX, &name) <= 0)
                return 0;
        *ret_found = find(name);
        free(name);
        return *ret_found ? 1 : 0;
}

static int enumerate(sd_bus *b, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
        char **nodes = calloc(n_images + 1, sizeof *nodes);

        ASSERT_TRUE(nodes);
        for (size_t i = 0; i < n_images; i++)
                nodes[i] = mock_image_path(images[i]->name);
        *ret_nodes = nodes;
        return 1;
}

bool mock_image_command(const char *verb, char *rest) {
        const char *name, *property;

        if (strcmp(verb, "add") == 0)
                add(mock_word(&rest));
        else if (strcmp(verb, "drop") == 0)
                drop(mock_word(&rest));
        else if (strcmp(verb, "set") == 0) {
                name = mock_word(&rest);
                property = mock_word(&rest);
                ASSERT_TRUE(find(name));
                mock_image_set(name, property, rest ? rest : "");
        } else
                return false;
        return true;
}

void mock_image_serve(void) {
        ASSERT_OK(sd_bus_add_fallback_vtable(mock_bus, NULL, IMAGE_PREFIX, IMAGE, image_vtable, find_object, NULL));
        ASSERT_OK(sd_bus_add_node_enumerator(mock_bus, NULL, IMAGE_PREFIX, enumerate, NULL));
}

void mock_image_end(void) {
        while (n_images > 0)
                image_free(images[--n_images]);
}
