/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A MOCK of org.blockstore for the test of blockstorectl, used because the real daemon needs root and systemd; the
 * integration tests run the command line against the real one. It keeps no device and asks no store: it holds the
 * D-Bus objects and does what it is told on stdin, one command a line, each answered by "ok" on stdout; every method
 * call it gets is printed there too
 * ("call MEMBER ARGUMENTS"), so that a test can wait for a call and see what was passed. It ends with stdin.
 *
 *     add NAME | drop NAME                            an image's object comes or goes
 *     set NAME PROPERTY VALUE...                      and PropertiesChanged says so
 *     outcome STATE                                   the State in which AttachImage returns ("attached" unless told)
 *     store NAME SIZE USED UUID ATTACHED(0|1)         an image in the store
 *     proxy ADDRESS PRIORITY STATE USEC ORIGIN        a proxy, of the manager and of every image
 *     health ADDRESS FAILURES REASON...              of that proxy
 *     fail METHOD ERROR MESSAGE...                    from now on; "fail none" ends it
 *     own | disown                                    the bus name */

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "test.h"

#define BUS_NAME     "org.blockstore"
#define BUS_PATH     "/org/blockstore"
#define IMAGE_PREFIX "/org/blockstore/image"
#define IMAGE        "org.blockstore.Image"
#define ENTRIES_MAX  16

struct image {
        char *name, *image_name, *uuid, *state, *state_reason, *failure, *device, *unit, *active_proxy, *standby_proxy,
                *missing;
        uint64_t size, state_since, retained, failovers, reads, writes, flushes, read_bytes, written_bytes, errors,
                latency, stalls, longest_stall, stalled, reconnects;
        uint32_t in_flight, sessions;
        int read_only, configured;
};

struct stored {
        char name[256], uuid[64];
        uint64_t size, used;
        int attached;
};

struct proxy {
        char address[128], state[32], origin[32];
        uint16_t priority;
        uint64_t round_trip;
        uint32_t failures;
        char reason[128];
};

static sd_bus *bus;
static sd_event *event;
static struct image *images[ENTRIES_MAX];
static struct stored store[ENTRIES_MAX];
static struct proxy proxies[ENTRIES_MAX];
static size_t n_images, n_store, n_proxies;
static char outcome[32] = "attached";
static char failing[64], failing_error[128], failing_message[512];
static char line[4096];
static size_t n_line;

static void say(const char *what, const char *rest) {
        printf("%s%s%s\n", what, rest && *rest ? " " : "", rest ? rest : "");
        fflush(stdout);
}

static struct image *find(const char *name) {
        for (size_t i = 0; i < n_images; i++)
                if (strcmp(images[i]->name, name) == 0)
                        return images[i];

        return NULL;
}

static struct stored *find_stored(const char *name) {
        for (size_t i = 0; i < n_store; i++)
                if (strcmp(store[i].name, name) == 0)
                        return store + i;

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

static char *path_of(const char *name) {
        char *path;

        ASSERT_OK(sd_bus_path_encode(IMAGE_PREFIX, name, &path));
        return path;
}

static struct image *add(const char *name) {
        struct image *image = calloc(1, sizeof *image);
        char *path = path_of(name);

        ASSERT_TRUE(image);
        ASSERT_TRUE(n_images < ENTRIES_MAX);
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

        ASSERT_OK(sd_bus_emit_object_added(bus, path));
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

static void drop(const char *name) {
        char *path = path_of(name);

        ASSERT_OK(sd_bus_emit_object_removed(bus, path));
        free(path);
        for (size_t i = 0; i < n_images; i++)
                if (strcmp(images[i]->name, name) == 0) {
                        image_free(images[i]);
                        images[i] = images[--n_images];
                }
}

static void set(const char *name, const char *property, const char *value) {
        struct image *image = find(name);
        uint64_t sessions = UINT64_MAX;
        char *path = path_of(name);
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
                ASSERT_OK(sd_bus_emit_properties_changed(bus, path, IMAGE, property, NULL));
        free(path);
}

/* Whether this method shall fail: then the error has been set. */
static int refuse(sd_bus_message *m, sd_bus_error *error) {
        if (strcmp(failing, sd_bus_message_get_member(m)) != 0)
                return 0;

        return sd_bus_error_set(error, failing_error, failing_message);
}

/* Prints the call, its name argument and the options that follow. */
static void print_call(sd_bus_message *m, const char *name, const char *more) {
        const char *interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0 ? " interactive" : "";
        char text[1024];
        size_t n;

        n = (size_t) snprintf(text, sizeof text, "%s %s%s%s", sd_bus_message_get_member(m), name, more, interactive);
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "{sv}"));
        while (ASSERT_OK(sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *key, *contents, *s;
                int b;

                ASSERT_OK(sd_bus_message_read(m, "s", &key));
                ASSERT_OK(sd_bus_message_peek_type(m, NULL, &contents));
                n += (size_t) snprintf(text + n, sizeof text - n, " %s=", key);
                if (strcmp(contents, "b") == 0) {
                        ASSERT_OK(sd_bus_message_read(m, "v", "b", &b));
                        n += (size_t) snprintf(text + n, sizeof text - n, "%s", b ? "true" : "false");
                } else if (strcmp(contents, "s") == 0) {
                        ASSERT_OK(sd_bus_message_read(m, "v", "s", &s));
                        n += (size_t) snprintf(text + n, sizeof text - n, "%s", s);
                } else {
                        ASSERT_OK(sd_bus_message_enter_container(m, 'v', "as"));
                        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "s"));
                        while (ASSERT_OK(sd_bus_message_read(m, "s", &s)) > 0)
                                n += (size_t) snprintf(text + n, sizeof text - n, "%s,", s);
                        ASSERT_OK(sd_bus_message_exit_container(m));
                        ASSERT_OK(sd_bus_message_exit_container(m));
                }
                ASSERT_OK(sd_bus_message_exit_container(m));
                ASSERT_TRUE(n < sizeof text);
        }
        ASSERT_OK(sd_bus_message_exit_container(m));
        say("call", text);
}

static int attach_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct image *image;
        const char *name;
        char *path;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        print_call(m, name, "");
        r = refuse(m, error);
        if (r < 0)
                return r;
        if (!find(name) && !find_stored(name))
                return sd_bus_error_setf(
                        error, "org.blockstore.Error.NoSuchImage", "The store has no image \"%s\".", name);

        image = find(name) ?: add(name);
        if (strcmp(outcome, "attached") == 0) {
                replace(&image->device, "/dev/nbd0");
                image->size = 1073741824;
        }
        set(name, "State", outcome);

        path = path_of(name);
        r = sd_bus_reply_method_return(m, "o", path);
        free(path);
        return r;
}

static int detach_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        print_call(m, name, "");
        r = refuse(m, error);
        if (r < 0)
                return r;
        if (!find(name))
                return sd_bus_error_setf(error, "org.blockstore.Error.NotAttached", "\"%s\" is not attached.", name);

        set(name, "State", "inactive");
        return sd_bus_reply_method_return(m, NULL);
}

static int get_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        char *path;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        r = refuse(m, error);
        if (r < 0)
                return r;
        if (!find(name))
                return sd_bus_error_setf(
                        error, "org.blockstore.Error.NoSuchImage", "This host knows no image \"%s\".", name);

        path = path_of(name);
        r = sd_bus_reply_method_return(m, "o", path);
        free(path);
        return r;
}

static int list_store_images(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *reply;
        int r;

        r = refuse(m, error);
        if (r < 0)
                return r;

        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(sttsb)"));
        for (size_t i = 0; i < n_store; i++)
                ASSERT_OK(sd_bus_message_append(reply, "(sttsb)", store[i].name, store[i].size, store[i].used,
                        store[i].uuid, store[i].attached));
        ASSERT_OK(sd_bus_message_close_container(reply));
        r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int append_proxies(sd_bus_message *reply) {
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(susts)"));
        for (size_t i = 0; i < n_proxies; i++)
                ASSERT_OK(sd_bus_message_append(reply, "(susts)", proxies[i].address, (uint32_t) proxies[i].priority,
                        proxies[i].state, proxies[i].round_trip, proxies[i].origin));
        return sd_bus_message_close_container(reply);
}

static int probe_proxies(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *reply;
        int r;

        r = refuse(m, error);
        if (r < 0)
                return r;

        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(sustsus)"));
        for (size_t i = 0; i < n_proxies; i++)
                ASSERT_OK(sd_bus_message_append(reply, "(sustsus)", proxies[i].address, (uint32_t) proxies[i].priority,
                        proxies[i].state, proxies[i].round_trip, proxies[i].origin, proxies[i].failures,
                        proxies[i].reason));
        ASSERT_OK(sd_bus_message_close_container(reply));
        r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int drain_proxy(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0 ? " interactive" : "";
        const char *address;
        char text[256];
        int undo, r;

        ASSERT_OK(sd_bus_message_read(m, "sb", &address, &undo));
        snprintf(text, sizeof text, "DrainProxy %s %s%s", address, undo ? "undo" : "drain", interactive);
        say("call", text);
        r = refuse(m, error);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, NULL);
}

/* --- an image's life --- */

static unsigned n_looks;
static bool job_cancelled;

/* RenameImage, CreateSnapshot ...: the names are the arguments before the options. Of the image "slow" it takes a job. */
static int change_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(m), *name, *other, *third;
        bool job = strcmp(member, "RenameImage") != 0 && strcmp(member, "RemoveSnapshot") != 0;
        char more[300];
        int r;

        ASSERT_OK(sd_bus_message_read(m, "ss", &name, &other));
        snprintf(more, sizeof more, " %s", other);
        if (strcmp(member, "CloneImage") == 0) {
                ASSERT_OK(sd_bus_message_read(m, "s", &third));
                snprintf(more, sizeof more, " %s %s", other, third);
        }
        print_call(m, name, more);
        r = refuse(m, error);
        if (r < 0)
                return r;
        if (!job)
                return sd_bus_reply_method_return(m, NULL);
        n_looks = 0;
        job_cancelled = false;
        return sd_bus_reply_method_return(m, "s", strcmp(name, "slow") == 0 ? "0a6f3c1e8f2b4f6e9a592f4c7d1b8e03" : "");
}

static int list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        if (strcmp(name, "vm1") != 0)
                return sd_bus_error_setf(
                        error, "org.blockstore.Error.NoSuchImage", "The store has no image \"%s\".", name);
        return sd_bus_reply_method_return(m, "a(stttsb)", 1, "monday", UINT64_C(1) << 30, UINT64_C(1) << 20,
                UINT64_C(1700000000000000), "1d0a4f0e-0000-4000-8000-000000000003", 1);
}

/* The job as an object of the bus. The first time it is lost, as when the supervisor is restarted. */
#define JOB_PREFIX "/org/blockstore/job"
#define JOB_PATH   JOB_PREFIX "/7"

/* Who knows its path finds it. It is in no list, for nobody would see it begin or end. */
static int find_job(
        sd_bus *b, const char *path, const char *interface, void *userdata, void **ret_found, sd_bus_error *error) {
        *ret_found = NULL;
        return strcmp(path, JOB_PATH) == 0;
}

static int follow_store_job(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static unsigned n_calls;
        const char *id;

        ASSERT_OK(sd_bus_message_read(m, "s", &id));
        return sd_bus_reply_method_return(m, "o", n_calls++ == 0 ? "/org/blockstore/job/6" : JOB_PATH);
}

static int get_job_state(sd_bus *b, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", job_cancelled ? "cancelled" : ++n_looks < 3 ? "running" : "done");
}

static int get_job_text(sd_bus *b, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "");
}

static int get_job_number(sd_bus *b, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        uint64_t done = UINT64_C(1048576) * n_looks, total = UINT64_C(3145728);

        return sd_bus_message_append(reply, "t",
                strcmp(property, "Progress") == 0 ? done
                : strcmp(property, "Total") == 0  ? total
                : strcmp(property, "Rate") == 0   ? UINT64_C(1048576)
                                                  : UINT64_C(1000000) * (3 - n_looks));
}

static int cancel_job(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        say("call", "Job.Cancel");
        job_cancelled = true;
        return sd_bus_reply_method_return(m, NULL);
}

/* In this order, for the first counts the looks. */
static const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("State", "s", get_job_state, 0, 0),
        SD_BUS_PROPERTY("Progress", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Total", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Rate", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Remaining", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Step", "s", get_job_text, 0, 0),
        SD_BUS_PROPERTY("Checksum", "s", get_job_text, 0, 0),
        SD_BUS_PROPERTY("Error", "s", get_job_text, 0, 0),
        SD_BUS_PROPERTY("Message", "s", get_job_text, 0, 0),
        SD_BUS_METHOD("Cancel", NULL, NULL, cancel_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static int list_proxies(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *reply;
        int r;

        r = refuse(m, error);
        if (r < 0)
                return r;

        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(append_proxies(reply));
        r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int create_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        char more[32];
        const char *name;
        uint64_t size;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "st", &name, &size));
        snprintf(more, sizeof more, " %" PRIu64, size);
        print_call(m, name, more);
        r = refuse(m, error);
        if (r < 0)
                return r;
        if (find_stored(name))
                return sd_bus_error_setf(
                        error, "org.blockstore.Error.AlreadyExists", "The store has an image \"%s\" already.", name);

        return sd_bus_reply_method_return(m, "s", "0a6f3c1e-8f2b-4f6e-9a59-2f4c7d1b8e03");
}

static int remove_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        print_call(m, name, "");
        r = refuse(m, error);
        if (r < 0)
                return r;
        if (!find_stored(name))
                return sd_bus_error_setf(
                        error, "org.blockstore.Error.NoSuchImage", "The store has no image \"%s\".", name);

        return sd_bus_reply_method_return(m, NULL);
}

static int resize_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        char words[64];
        const char *name;
        uint64_t size;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "st", &name, &size));
        snprintf(words, sizeof words, " %ju", (uintmax_t) size);
        print_call(m, name, words);
        r = refuse(m, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int get_version(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "0.1.0-mock");
}

static int get_proxies(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        return append_proxies(reply);
}

static int get_health(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(sus)"));
        for (size_t i = 0; i < n_proxies; i++)
                ASSERT_OK(sd_bus_message_append(
                        reply, "(sus)", proxies[i].address, proxies[i].failures, proxies[i].reason));
        return sd_bus_message_close_container(reply);
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

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("AttachImage", "sa{sv}", "o", attach_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DetachImage", "sa{sv}", NULL, detach_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("GetImage", "s", "o", get_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListStoreImages", NULL, "a(sttsb)", list_store_images, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CreateImage", "sta{sv}", "s", create_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ResizeImage", "sta{sv}", NULL, resize_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RemoveImage", "sa{sv}", NULL, remove_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RenameImage", "ssa{sv}", NULL, change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CreateSnapshot", "ssa{sv}", "s", change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RemoveSnapshot", "ssa{sv}", NULL, change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CloneImage", "sssa{sv}", "s", change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RollBackImage", "ssa{sv}", "s", change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListSnapshots", "s", "a(stttsb)", list_snapshots, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("FollowStoreJob", "s", "o", follow_store_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListProxies", NULL, "a(susts)", list_proxies, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ProbeProxies", NULL, "a(sustsus)", probe_proxies, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DrainProxy", "sb", NULL, drain_proxy, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

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
        SD_BUS_PROPERTY("Proxies", "a(susts)", get_proxies, 0, CHANGES),
        SD_BUS_PROPERTY("ProxyHealth", "a(sus)", get_health, 0, CHANGES),
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
                nodes[i] = path_of(images[i]->name);
        *ret_nodes = nodes;
        return 1;
}

/* Reads are printed here; the handlers of changes print theirs with the arguments. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const char *const reads[] = { "GetAll", "GetManagedObjects", "GetImage", "ListStoreImages",
                "ListProxies", "ProbeProxies" };
        const char *member = sd_bus_message_get_member(m);

        for (size_t i = 0; member && i < sizeof reads / sizeof reads[0]; i++)
                if (strcmp(member, reads[i]) == 0)
                        say("call", member);

        return 0;
}

static const char *word(char **rest) {
        const char *w = strsep(rest, " ");

        ASSERT_TRUE(w);
        return w;
}

static void command(char *text) {
        char *rest = text;
        const char *verb = word(&rest), *name, *property;

        if (strcmp(verb, "add") == 0)
                add(word(&rest));
        else if (strcmp(verb, "drop") == 0)
                drop(word(&rest));
        else if (strcmp(verb, "set") == 0) {
                name = word(&rest);
                property = word(&rest);
                ASSERT_TRUE(find(name));
                set(name, property, rest ? rest : "");
        } else if (strcmp(verb, "outcome") == 0)
                snprintf(outcome, sizeof outcome, "%s", word(&rest));
        else if (strcmp(verb, "store") == 0) {
                struct stored *s = store + n_store++;

                ASSERT_TRUE(n_store <= ENTRIES_MAX);
                snprintf(s->name, sizeof s->name, "%s", word(&rest));
                s->size = strtoull(word(&rest), NULL, 10);
                s->used = strtoull(word(&rest), NULL, 10);
                snprintf(s->uuid, sizeof s->uuid, "%s", word(&rest));
                s->attached = (int) strtoull(word(&rest), NULL, 10);
        } else if (strcmp(verb, "proxy") == 0) {
                struct proxy *p = proxies + n_proxies++;

                ASSERT_TRUE(n_proxies <= ENTRIES_MAX);
                snprintf(p->address, sizeof p->address, "%s", word(&rest));
                p->priority = (uint16_t) strtoull(word(&rest), NULL, 10);
                snprintf(p->state, sizeof p->state, "%s", word(&rest));
                p->round_trip = strtoull(word(&rest), NULL, 10);
                snprintf(p->origin, sizeof p->origin, "%s", word(&rest));
        } else if (strcmp(verb, "health") == 0) {
                const char *address = word(&rest);

                for (size_t i = 0; i < n_proxies; i++)
                        if (strcmp(proxies[i].address, address) == 0) {
                                proxies[i].failures = (uint32_t) strtoull(word(&rest), NULL, 10);
                                snprintf(proxies[i].reason, sizeof proxies[i].reason, "%s", rest ? rest : "");
                        }
        } else if (strcmp(verb, "fail") == 0) {
                snprintf(failing, sizeof failing, "%s", word(&rest));
                snprintf(failing_error, sizeof failing_error, "%s", rest ? word(&rest) : "");
                snprintf(failing_message, sizeof failing_message, "%s", rest ? rest : "");
        } else if (strcmp(verb, "own") == 0)
                ASSERT_OK(sd_bus_request_name(bus, BUS_NAME, 0));
        else if (strcmp(verb, "disown") == 0)
                ASSERT_OK(sd_bus_release_name(bus, BUS_NAME));
        else
                TEST_FAIL("no such command: %s", verb);

        ASSERT_OK(sd_bus_flush(bus));
        say("ok", NULL);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        ssize_t n = read(fd, line + n_line, sizeof line - n_line - 1);
        char *end;

        if (n <= 0)
                return sd_event_exit(event, 0);
        n_line += (size_t) n;
        line[n_line] = 0;

        while ((end = strchr(line, '\n'))) {
                *end = 0;
                command(line);
                n_line -= (size_t) (end + 1 - line);
                memmove(line, end + 1, n_line + 1);
        }
        return 0;
}

int main(void) {
        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(sd_bus_open_system(&bus));
        ASSERT_OK(sd_bus_attach_event(bus, event, 0));
        ASSERT_OK(sd_bus_add_filter(bus, NULL, on_message, NULL));
        ASSERT_OK(sd_bus_add_object_manager(bus, NULL, BUS_PATH));
        ASSERT_OK(sd_bus_add_object_vtable(bus, NULL, BUS_PATH, "org.blockstore.Manager", manager_vtable, NULL));
        ASSERT_OK(sd_bus_add_fallback_vtable(bus, NULL, JOB_PREFIX, "org.blockstore.Job", job_vtable, find_job, NULL));
        ASSERT_OK(sd_bus_add_fallback_vtable(bus, NULL, IMAGE_PREFIX, IMAGE, image_vtable, find_object, NULL));
        ASSERT_OK(sd_bus_add_node_enumerator(bus, NULL, IMAGE_PREFIX, enumerate, NULL));
        ASSERT_OK(sd_bus_request_name(bus, BUS_NAME, 0));
        ASSERT_OK(sd_event_add_io(event, NULL, STDIN_FILENO, 1 /* EPOLLIN */, on_input, NULL));
        say("ready", NULL);

        ASSERT_OK(sd_event_loop(event));

        while (n_images > 0)
                image_free(images[--n_images]);
        sd_bus_flush_close_unref(bus);
        sd_event_unref(event);
        return EXIT_SUCCESS;
}
