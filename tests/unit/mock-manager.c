/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Of the mock: org.blockstore.Manager, and the store that it asks. Each call is printed before it is answered or, if the test wants that, refused. */

#include "mock.h"

struct stored {
        char name[256], uuid[64];
        uint64_t size, used;
        int attached;
};

#define STORE_MAX 512

static struct stored store[STORE_MAX];
static size_t n_store;
static char outcome[32] = "attached";
static char failing[64], failing_error[128], failing_message[512];

static struct stored *find_stored(const char *name) {
        for (size_t i = 0; i < n_store; i++)
                if (strcmp(store[i].name, name) == 0)
                        return store + i;

        return NULL;
}

/* Whether this method shall fail: then the error has been set. */
int mock_refuse(sd_bus_message *m, sd_bus_error *error) {
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
        mock_say("call", text);
}

/* Of a call with a name and options. Returns a negative errno when it is to be refused. */
static int take_name(sd_bus_message *m, const char **ret, sd_bus_error *error) {
        ASSERT_OK(sd_bus_message_read(m, "s", ret));
        print_call(m, *ret, "");
        return mock_refuse(m, error);
}

static int refuse_unknown(const char *name, sd_bus_error *error) {
        return sd_bus_error_setf(error, "org.blockstore.Error.NoSuchImage", "The store has no image \"%s\".", name);
}

/* The object of an image is the answer. */
static int reply_path(sd_bus_message *m, const char *name) {
        char *path = mock_image_path(name);
        int r = sd_bus_reply_method_return(m, "o", path);

        free(path);
        return r;
}

static int attach_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r;

        r = take_name(m, &name, error);
        if (r < 0)
                return r;
        if (!mock_image_exists(name) && !find_stored(name))
                return refuse_unknown(name, error);

        mock_image_attach(name, outcome);

        return reply_path(m, name);
}

static int detach_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r;

        r = take_name(m, &name, error);
        if (r < 0)
                return r;
        if (!mock_image_exists(name))
                return sd_bus_error_setf(error, "org.blockstore.Error.NotAttached", "\"%s\" is not attached.", name);

        mock_image_set(name, "State", "inactive");
        return sd_bus_reply_method_return(m, NULL);
}

static int get_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        r = mock_refuse(m, error);
        if (r < 0)
                return r;
        if (!mock_image_exists(name))
                return sd_bus_error_setf(
                        error, "org.blockstore.Error.NoSuchImage", "This host knows no image \"%s\".", name);

        return reply_path(m, name);
}

static int list_store_images(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *reply;
        int r;

        r = mock_refuse(m, error);
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
        r = mock_refuse(m, error);
        if (r < 0)
                return r;
        if (!job)
                return sd_bus_reply_method_return(m, NULL);
        mock_job_begin();
        return sd_bus_reply_method_return(m, "s", strcmp(name, "slow") == 0 ? "0a6f3c1e8f2b4f6e9a592f4c7d1b8e03" : "");
}

static int list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        if (strcmp(name, "vm1") != 0)
                return refuse_unknown(name, error);
        return sd_bus_reply_method_return(m, "a(stttsb)", 1, "monday", UINT64_C(1) << 30, UINT64_C(1) << 20,
                UINT64_C(1700000000000000), "1d0a4f0e-0000-4000-8000-000000000003", 1);
}

/* Of the image "slow" it takes a job. */
static int preallocate(sd_bus_message *m, const char *name, uint64_t size) {
        struct stored *s = store + n_store++;

        ASSERT_TRUE(n_store <= STORE_MAX);
        *s = (struct stored){ .size = size, .used = size, .uuid = "0a6f3c1e-8f2b-4f6e-9a59-2f4c7d1b8e03" };
        snprintf(s->name, sizeof s->name, "%s", name);
        mock_job_begin();
        return sd_bus_reply_method_return(m, "s", strcmp(name, "slow") == 0 ? "0a6f3c1e8f2b4f6e9a592f4c7d1b8e03" : "");
}

static int create_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        char more[32];
        const char *name;
        uint64_t size;
        int r;

        ASSERT_OK(sd_bus_message_read(m, "st", &name, &size));
        snprintf(more, sizeof more, " %" PRIu64, size);
        print_call(m, name, more);
        r = mock_refuse(m, error);
        if (r < 0)
                return r;
        if (find_stored(name))
                return sd_bus_error_setf(
                        error, "org.blockstore.Error.AlreadyExists", "The store has an image \"%s\" already.", name);
        if (strcmp(sd_bus_message_get_member(m), "PreallocateImage") == 0)
                return preallocate(m, name, size);

        return sd_bus_reply_method_return(m, "s", "0a6f3c1e-8f2b-4f6e-9a59-2f4c7d1b8e03");
}

/* Of an image "sums..." checksums; "ceph..." is in a store that needs none. */
static int get_image_care(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        if (strcmp(name, "gone") == 0)
                return sd_bus_error_set(error, "org.blockstore.Error.NoSuchImage", "It was removed.");
        return sd_bus_reply_method_return(m, "a{sv}", 4, "Checksums", "b", strncmp(name, "sums", 4) == 0,
                "CheckedByStore", "b", strncmp(name, "ceph", 4) == 0, "ScrubState", "s", "never", "DamagedOffsets",
                "at", 0);
}

static int get_store_status(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(m, "ttua(ssssbbt)", UINT64_C(1) << 40, UINT64_C(1) << 39, (uint32_t) 1, 0);
}

static int scrub_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        mock_say("call ScrubImage", name);
        return sd_bus_reply_method_return(m, "s", "");
}

static int remove_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r;

        r = take_name(m, &name, error);
        if (r < 0)
                return r;
        if (!find_stored(name))
                return refuse_unknown(name, error);

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
        r = mock_refuse(m, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int get_version(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "0.1.0-mock");
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("AttachImage", "sa{sv}", "o", attach_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DetachImage", "sa{sv}", NULL, detach_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("GetImage", "s", "o", get_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListStoreImages", NULL, "a(sttsb)", list_store_images, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CreateImage", "sta{sv}", "s", create_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("PreallocateImage", "sta{sv}", "s", create_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("GetImageCare", "s", "a{sv}", get_image_care, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("GetStoreStatus", NULL, "ttua(ssssbbt)", get_store_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ScrubImage", "s", "s", scrub_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ResizeImage", "sta{sv}", NULL, resize_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RemoveImage", "sa{sv}", NULL, remove_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RenameImage", "ssa{sv}", NULL, change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CreateSnapshot", "ssa{sv}", "s", change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RemoveSnapshot", "ssa{sv}", NULL, change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CloneImage", "sssa{sv}", "s", change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RollBackImage", "ssa{sv}", "s", change_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListSnapshots", "s", "a(stttsb)", list_snapshots, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("FollowStoreJob", "s", "o", mock_follow_store_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListProxies", NULL, "a(susts)", mock_list_proxies, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ProbeProxies", NULL, "a(sustsus)", mock_probe_proxies, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("DrainProxy", "sb", NULL, mock_drain_proxy, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

bool mock_manager_command(const char *verb, char *rest) {
        if (strcmp(verb, "outcome") == 0)
                snprintf(outcome, sizeof outcome, "%s", mock_word(&rest));
        else if (strcmp(verb, "store") == 0) {
                struct stored *s = store + n_store++;

                ASSERT_TRUE(n_store <= STORE_MAX);
                snprintf(s->name, sizeof s->name, "%s", mock_word(&rest));
                s->size = strtoull(mock_word(&rest), NULL, 10);
                s->used = strtoull(mock_word(&rest), NULL, 10);
                snprintf(s->uuid, sizeof s->uuid, "%s", mock_word(&rest));
                s->attached = (int) strtoull(mock_word(&rest), NULL, 10);
        } else if (strcmp(verb, "fail") == 0) {
                snprintf(failing, sizeof failing, "%s", mock_word(&rest));
                snprintf(failing_error, sizeof failing_error, "%s", rest ? mock_word(&rest) : "");
                snprintf(failing_message, sizeof failing_message, "%s", rest ? rest : "");
        } else
                return false;
        return true;
}

void mock_manager_serve(void) {
        ASSERT_OK(sd_bus_add_object_vtable(mock_bus, NULL, MOCK_PATH, "org.blockstore.Manager", manager_vtable, NULL));
}
