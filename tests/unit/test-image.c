/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image's model: which events move it where, what a worker may say, and that changes are announced once and only when they are some. */

#include "image.h"
#include "test.h"

static uint32_t announced;
static unsigned n_announced;

static void on_changed(struct image *image, uint32_t mask) {
        announced |= mask;
        n_announced++;
}

static struct image *new_image(void) {
        struct image *image;

        ASSERT_OK(image_new("vm1", &image));
        image->changed = on_changed;
        announced = 0;
        n_announced = 0;
        return image;
}

static struct image_status nothing_said(void) {
        return (struct image_status){ .state = _IMAGE_STATE_INVALID };
}

static void names(void) {
        for (int i = 0; i < _IMAGE_STATE_MAX; i++)
                ASSERT_EQ((int) image_state_from_string(image_state_to_string((enum image_state) i)), i);
        ASSERT_EQ((int) image_state_from_string("levitating"), (int) _IMAGE_STATE_INVALID);
        ASSERT_EQ((int) image_state_from_string(NULL), (int) _IMAGE_STATE_INVALID);
        ASSERT_TRUE(!image_state_to_string(_IMAGE_STATE_MAX));
        ASSERT_TRUE(!image_state_to_string(_IMAGE_STATE_INVALID));
}

static void fresh(void) {
        struct image *image = new_image();

        ASSERT_STREQ(image->name, "vm1");
        ASSERT_STREQ(image->image_name, "vm1");
        ASSERT_STREQ(image->uuid, "");
        ASSERT_EQ(image->state, IMAGE_INACTIVE);
        ASSERT_TRUE(image_is_forgettable(image));
        image_free(image);
        ASSERT_TRUE(!image_free(NULL));
}

static void life(void) {
        static const struct {
                enum image_event event;
                enum image_state state;
        } steps[] = {
                { IMAGE_EVENT_LINK_LOST, IMAGE_INACTIVE },
                { IMAGE_EVENT_STOP, IMAGE_INACTIVE },
                { IMAGE_EVENT_START, IMAGE_ATTACHING },
                { IMAGE_EVENT_LINKED, IMAGE_ATTACHING },
                { IMAGE_EVENT_UNIT_FAILED, IMAGE_FAILED },
                { IMAGE_EVENT_LINK_LOST, IMAGE_FAILED },
                { IMAGE_EVENT_START, IMAGE_ATTACHING },
                { IMAGE_EVENT_STOP, IMAGE_DETACHING },
                { IMAGE_EVENT_LINK_LOST, IMAGE_DETACHING },
                { IMAGE_EVENT_UNIT_GONE, IMAGE_INACTIVE },
                { IMAGE_EVENT_DEVICE_FOUND, IMAGE_RECONNECTING },
                { IMAGE_EVENT_STOP, IMAGE_DETACHING },
                { IMAGE_EVENT_STOP_REFUSED, IMAGE_ATTACHED },
                { IMAGE_EVENT_LINK_LOST, IMAGE_RECONNECTING },
                { IMAGE_EVENT_LINKED, IMAGE_RECONNECTING },
                { IMAGE_EVENT_UNIT_GONE, IMAGE_INACTIVE },
        };
        struct image *image = new_image();

        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
                enum image_state before = image->state;

                ASSERT_EQ(image_handle_event(image, steps[i].event, NULL), before != steps[i].state);
                ASSERT_EQ(image->state, steps[i].state);
        }
        image_free(image);
}

static void reasons(void) {
        struct image *image = new_image();

        image_handle_event(image, IMAGE_EVENT_START, NULL);
        ASSERT_EQ(announced, IMAGE_STATE | IMAGE_STATE_SINCE);
        announced = 0;
        ASSERT_TRUE(image_fail(image, FAILURE_NO_PROXY, "no proxy answers"));
        ASSERT_EQ(announced, IMAGE_STATE | IMAGE_STATE_SINCE | IMAGE_STATE_REASON | IMAGE_FAILURE);
        ASSERT_EQ(image_shown_failure(image), FAILURE_NO_PROXY);
        announced = 0;
        /* The same again is no news. */
        ASSERT_FALSE(image_fail(image, FAILURE_NO_PROXY, "no proxy answers"));
        ASSERT_EQ(announced, 0U);
        /* A new state takes the old reason along. */
        image_handle_event(image, IMAGE_EVENT_START, NULL);
        ASSERT_EQ(announced, IMAGE_STATE | IMAGE_STATE_SINCE | IMAGE_STATE_REASON | IMAGE_FAILURE);
        ASSERT_STREQ(image->state_reason, "");
        ASSERT_EQ(image_shown_failure(image), FAILURE_NONE);
        image_free(image);
}

static void statuses(void) {
        struct image_proxy proxies[] = {
                { .address = (char *) "127.0.0.1:11417",
                        .state = (char *) "active",
                        .origin = (char *) "configured",
                        .priority = 1 },
        };
        struct image_status status = nothing_said();
        struct image *image = new_image();

        image_handle_event(image, IMAGE_EVENT_LINKED, NULL);
        announced = 0;

        status.state = IMAGE_ATTACHED;
        status.uuid = "6e6b5a2e-2a53-4b0e-9d0b-3d3e1a3c9a11";
        status.size = 4096;
        status.proxies = proxies;
        status.n_proxies = 1;
        status.mask = IMAGE_SIZE | IMAGE_PROXIES;
        status.counters.read_bytes = 7;
        n_announced = 0;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, IMAGE_STATE | IMAGE_STATE_SINCE | IMAGE_UUID | IMAGE_SIZE | IMAGE_PROXIES);
        ASSERT_EQ(n_announced, 1U);
        ASSERT_EQ(image->counters.read_bytes, 7U);

        /* Counters alone are never announced, and what is the same is not told again. */
        announced = 0;
        status.counters.read_bytes = 8;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, 0U);
        ASSERT_EQ(image->counters.read_bytes, 8U);

        proxies[0].round_trip_usec = 80;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, IMAGE_PROXIES);

        /* While a first attach goes on, having the device already is no step back. */
        image_handle_event(image, IMAGE_EVENT_UNIT_GONE, NULL);
        image_handle_event(image, IMAGE_EVENT_LINKED, NULL);
        ASSERT_OK(image_set_device(image, "/dev/nbd0"));
        status.state = IMAGE_ATTACHING;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(image->state, IMAGE_ATTACHING);
        status.state = IMAGE_ATTACHED;
        ASSERT_OK(image_apply_status(image, &status));

        /* A restarted worker attaches anew; for the user of the device the image is on its way back. */
        image_handle_event(image, IMAGE_EVENT_LINK_LOST, NULL);
        image_handle_event(image, IMAGE_EVENT_LINKED, NULL);
        status.state = IMAGE_ATTACHING;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(image->state, IMAGE_RECONNECTING);

        image_forget_worker(image);
        ASSERT_EQ(image->n_proxies, 0U);
        ASSERT_EQ(image->size, 0U);
        ASSERT_STREQ(image->uuid, "");
        image_free(image);
}

static void limits_of_a_worker(void) {
        static char long_text[IMAGE_STRING_MAX + 2];
        struct image_proxy many[IMAGE_PROXIES_MAX + 1];
        struct image_status status = nothing_said();
        struct image *image = new_image();

        memset(long_text, 'x', sizeof(long_text) - 1);
        for (size_t i = 0; i < IMAGE_PROXIES_MAX + 1; i++)
                many[i] =
                        (struct image_proxy){ .address = (char *) "a", .state = (char *) "s", .origin = (char *) "o" };

        image_handle_event(image, IMAGE_EVENT_LINKED, NULL);
        announced = 0;

        status.size = 4096;
        status.mask = IMAGE_SIZE;
        status.state_reason = long_text;
        ASSERT_ERROR(image_apply_status(image, &status), EINVAL);
        ASSERT_EQ(image->size, 0U); /* nothing of it is taken over */
        ASSERT_EQ(announced, 0U);

        status.state_reason = NULL;
        status.uuid = "not a UUID";
        ASSERT_ERROR(image_apply_status(image, &status), EINVAL);

        status = nothing_said();
        status.proxies = many;
        status.n_proxies = IMAGE_PROXIES_MAX + 1;
        status.mask = IMAGE_PROXIES;
        ASSERT_ERROR(image_apply_status(image, &status), EINVAL);
        status.n_proxies = IMAGE_PROXIES_MAX;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(image->n_proxies, (size_t) IMAGE_PROXIES_MAX);

        /* It does not make itself inactive, nor undo that it is being detached. */
        status = nothing_said();
        status.state = IMAGE_INACTIVE;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(image->state, IMAGE_ATTACHING);
        image_handle_event(image, IMAGE_EVENT_STOP, NULL);
        status.state = IMAGE_ATTACHED;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(image->state, IMAGE_DETACHING);
        status.state = IMAGE_FAILED;
        status.failure = FAILURE_IO;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(image->state, IMAGE_FAILED);
        ASSERT_EQ(image_shown_failure(image), FAILURE_IO);
        image_free(image);
}

static void configuration(void) {
        struct image *image = new_image();

        ASSERT_OK(image_set_configuration(image, true, "disk-of-vm1", true));
        ASSERT_EQ(announced, IMAGE_CONFIGURED | IMAGE_IMAGE_NAME | IMAGE_READ_ONLY);
        ASSERT_FALSE(image_is_forgettable(image));

        /* What a worker serves is what it says, not what the file says by now. */
        image_handle_event(image, IMAGE_EVENT_LINKED, NULL);
        image->linked = true;
        announced = 0;
        ASSERT_OK(image_set_configuration(image, false, "other", false));
        ASSERT_EQ(announced, IMAGE_CONFIGURED);
        ASSERT_STREQ(image->image_name, "disk-of-vm1");
        ASSERT_FALSE(image_is_forgettable(image));

        image->linked = false;
        image_handle_event(image, IMAGE_EVENT_UNIT_GONE, NULL);
        ASSERT_TRUE(image_is_forgettable(image));
        ASSERT_OK(image_set_device(image, "/dev/nbd0"));
        ASSERT_FALSE(image_is_forgettable(image));
        image_free(image);
}

static void since(void) {
        struct image_status status = nothing_said();
        struct image *image = new_image();

        image_handle_event(image, IMAGE_EVENT_LINKED, NULL);
        status.state = IMAGE_PARKED;
        status.state_since_usec = 1700000000000000;
        status.state_reason = "127.0.0.1:11417: connection refused.";
        announced = 0;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, IMAGE_STATE | IMAGE_STATE_SINCE | IMAGE_STATE_REASON);
        ASSERT_EQ(image->state_since_usec, UINT64_C(1700000000000000));

        /* A supervisor that was restarted learns what it was. */
        status.state_since_usec++;
        announced = 0;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, IMAGE_STATE_SINCE);
        announced = 0;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, 0U);

        /* Without a time of the worker's it is now, and so it is where the supervisor itself decides. */
        status.state = IMAGE_ATTACHED;
        status.state_since_usec = 0;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_TRUE(image->state_since_usec > UINT64_C(1700000000000001));
        status.state_since_usec = 5;
        ASSERT_OK(image_apply_status(image, &status));
        image_handle_event(image, IMAGE_EVENT_LINK_LOST, NULL);
        ASSERT_EQ(image->state, IMAGE_RECONNECTING);
        ASSERT_TRUE(image->state_since_usec > 5);

        /* A restarted worker "attaches", while who uses the device has been waiting since before. */
        ASSERT_OK(image_set_device(image, "/dev/nbd0"));
        image->state_since_usec = 7;
        status.state = IMAGE_ATTACHING;
        status.state_since_usec = 9;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(image->state, IMAGE_RECONNECTING);
        ASSERT_EQ(image->state_since_usec, 7U);
        image_free(image);
}

static void failover(void) {
        struct image_health health[] = {
                { .address = (char *) "127.0.0.1:11417", .reason = (char *) "connection refused", .failures = 3 },
                { .address = (char *) "127.0.0.1:11418", .reason = (char *) "" },
        };
        struct image_status status = nothing_said();
        struct image *image = new_image();

        image_handle_event(image, IMAGE_EVENT_LINKED, NULL);
        status.health = health;
        status.n_health = 2;
        status.standby_proxy = "127.0.0.1:11418";
        status.n_sessions = 4;
        status.missing_features = IMAGE_FEATURE_FENCE | IMAGE_FEATURE_DURABILITY;
        status.counters.retained_bytes = 4096;
        status.mask = IMAGE_PROXY_HEALTH | IMAGE_SESSIONS | IMAGE_MISSING_FEATURES;
        announced = 0;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, IMAGE_PROXY_HEALTH | IMAGE_SESSIONS | IMAGE_MISSING_FEATURES | IMAGE_STANDBY_PROXY);
        ASSERT_EQ(image->counters.retained_bytes, 4096U);
        announced = 0;
        status.counters.retained_bytes = 8192;
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, 0U);

        health[0].reason = (char *) "no answer";
        ASSERT_OK(image_apply_status(image, &status));
        ASSERT_EQ(announced, IMAGE_PROXY_HEALTH);
        ASSERT_STREQ(image->health[0].reason, "no answer");

        announced = 0;
        image_forget_worker(image);
        ASSERT_EQ(announced, IMAGE_PROXY_HEALTH | IMAGE_SESSIONS | IMAGE_MISSING_FEATURES | IMAGE_STANDBY_PROXY);
        image_free(image);
}

static void features(void) {
        for (uint32_t bit = 1; bit <= IMAGE_FEATURE_DURABILITY; bit <<= 1)
                ASSERT_EQ(image_feature_from_string(image_feature_to_string((enum image_feature) bit)), bit);
        ASSERT_EQ(image_feature_from_string("levitation"), 0U);
        ASSERT_TRUE(!image_feature_to_string((enum image_feature)(1U << 20)));
}

TEST_MAIN(TEST(names), TEST(fresh), TEST(life), TEST(reasons), TEST(statuses), TEST(since), TEST(failover),
        TEST(features), TEST(limits_of_a_worker), TEST(configuration));
