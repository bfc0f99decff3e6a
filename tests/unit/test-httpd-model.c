/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "metrics.h"
#include "model.h"

#include "test.h"

/* What the model said, one letter each: i and r for an image that changed or was removed, j and k for a job, f for a failover. */
static char told[64];
static size_t n_told;

static void note(char letter) {
        ASSERT_TRUE(n_told + 1 < sizeof told);
        told[n_told++] = letter;
        told[n_told] = 0;
}

static void on_image(struct json_object *image, void *userdata) {
        note('i');
}

static void on_image_removed(const char *name, void *userdata) {
        note('r');
}

static void on_job(struct json_object *job, void *userdata) {
        note('j');
}

static void on_job_removed(const char *id, void *userdata) {
        note('k');
}

static void on_failover(struct json_object *failover, void *userdata) {
        note('f');
}

static const struct model_ops ops = { on_image, on_image_removed, on_job, on_job_removed, on_failover };

static struct model *fixture(void) {
        struct model *model;

        ASSERT_OK(model_new(&ops, NULL, &model));
        n_told = 0;
        told[0] = 0;
        return model;
}

static void set(struct model *model, const char *images, const char *jobs) {
        _cleanup_(json_object_putp) struct json_object *i = json_tokener_parse(images), *j = json_tokener_parse(jobs);

        ASSERT_TRUE(i && j);
        ASSERT_OK(model_set_all(model, i, j, 5000000));
}

static int update(struct model *model, const char *name, const char *properties, uint64_t now) {
        _cleanup_(json_object_putp) struct json_object *p = json_tokener_parse(properties);

        ASSERT_TRUE(p);
        return model_update_image(model, name, p, now);
}

static void heard(const char *expected) {
        ASSERT_STREQ(told, expected);
        n_told = 0;
        told[0] = 0;
}

static void changes(void) {
        _cleanup_(model_freep) struct model *model = fixture();

        ASSERT_FALSE(model_is_busy(model));
        set(model, "[{\"name\":\"b\",\"state\":\"inactive\",\"errors\":0},{\"name\":\"a\",\"state\":\"inactive\"}]",
                "[{\"id\":\"10\",\"progress\":1},{\"id\":\"9\"}]");
        heard("iijj");
        set(model, "[{\"name\":\"b\",\"state\":\"inactive\",\"errors\":7},{\"name\":\"a\",\"state\":\"inactive\"}]",
                "[{\"id\":\"10\",\"progress\":1},{\"id\":\"9\"}]");
        heard(""); /* counters are not announced, and there nonetheless */
        ASSERT_EQ(json_number(model_image(model, "b"), "errors"), 7U);
        ASSERT_TRUE(model_is_busy(model)); /* jobs */

        ASSERT_OK(update(model, "a", "{\"state\":\"attached\"}", 1));
        heard("i");
        ASSERT_OK(update(model, "a", "{\"state\":\"attached\"}", 1));
        heard("");
        ASSERT_ERROR(update(model, "c", "{\"state\":\"attached\"}", 1), ENOENT);
        set(model, "[{\"name\":\"a\",\"state\":\"attached\"}]", "[{\"id\":\"10\",\"progress\":2}]");
        heard("rkj");
        ASSERT_TRUE(model_image(model, "b") == NULL);
        ASSERT_TRUE(model_job(model, "10") != NULL);
        model_remove_image(model, "a");
        model_remove_image(model, "a");
        model_remove_job(model, "10");
        heard("rk");
        ASSERT_FALSE(model_is_busy(model));
}

static void order(void) {
        _cleanup_(model_freep) struct model *model = fixture();
        _cleanup_(json_object_putp) struct json_object *images = NULL, *jobs = NULL;

        set(model, "[{\"name\":\"b\"},{\"name\":\"a\"}]", "[{\"id\":\"10\"},{\"id\":\"9\"}]");
        images = model_images(model);
        jobs = model_jobs(model);
        ASSERT_STREQ(json_string(json_object_array_get_idx(images, 0), "name"), "a");
        ASSERT_STREQ(json_string(json_object_array_get_idx(jobs, 0), "id"), "9");
}

static void failovers(void) {
        _cleanup_(model_freep) struct model *model = fixture();
        struct json_object *record;

        /* What was before is not known: a number only. */
        set(model, "[{\"name\":\"a\",\"state\":\"attached\",\"failovers\":3,\"active_proxy\":\"p:1\"}]", "[]");
        heard("i");
        ASSERT_OK(update(
                model, "a", "{\"state\":\"reconnecting\",\"state_since\":7000000,\"active_proxy\":\"\"}", 7000100));
        ASSERT_OK(update(model, "a", "{\"failovers\":4}", 7100000)); /* still between two proxies */
        heard("ii");
        ASSERT_OK(update(model, "a", "{\"active_proxy\":\"p:2\"}", 7500000));
        heard("if");
        ASSERT_OK(update(model, "a", "{\"state\":\"attached\"}", 7500001));
        heard("i");
        ASSERT_EQ(json_object_array_length(model_failovers(model)), 1U);
        record = json_object_array_get_idx(model_failovers(model), 0);
        ASSERT_STREQ(json_string(record, "from"), "p:1");
        ASSERT_STREQ(json_string(record, "to"), "p:2");
        ASSERT_EQ(json_number(record, "duration_usec"), 500000U);
        ASSERT_EQ(json_number(record, "time_usec"), 7500000U);

        /* Another worker begins at 0; and in one step. */
        ASSERT_OK(update(model, "a", "{\"failovers\":0}", 8000000));
        ASSERT_OK(update(model, "a", "{\"failovers\":1,\"active_proxy\":\"p:1\"}", 9000000));
        heard("iif");
        record = json_object_array_get_idx(model_failovers(model), 1);
        ASSERT_EQ(json_number(record, "duration_usec"), 0U);

        /* Bounded. */
        for (unsigned i = 2; i < 200; i++) {
                char text[64];

                (void) snprintf(text, sizeof text, "{\"failovers\":%u}", i);
                n_told = 0;
                ASSERT_OK(update(model, "a", text, 10000000 + i));
        }
        ASSERT_EQ(json_object_array_length(model_failovers(model)), MODEL_FAILOVERS_MAX);
}

/* Before a proxy serves it is tried, and named already. */
static void failover_step_by_step(void) {
        _cleanup_(model_freep) struct model *model = fixture();
        struct json_object *record;

        set(model, "[{\"name\":\"a\",\"state\":\"attaching\",\"failovers\":0,\"active_proxy\":\"p:9\"}]", "[]");
        ASSERT_OK(update(model, "a", "{\"active_proxy\":\"p:1\"}", 1000000));
        ASSERT_OK(update(model, "a", "{\"state\":\"attached\"}", 1100000));
        ASSERT_EQ(json_object_array_length(model_failovers(model)), 0U);

        ASSERT_OK(update(
                model, "a", "{\"state\":\"reconnecting\",\"state_since\":2000000,\"active_proxy\":\"p:2\"}", 2000000));
        ASSERT_OK(update(model, "a", "{\"active_proxy\":\"p:3\"}", 2100000));
        ASSERT_OK(update(model, "a", "{\"state\":\"attached\",\"failovers\":1}", 2200000));
        ASSERT_EQ(json_object_array_length(model_failovers(model)), 1U);
        record = json_object_array_get_idx(model_failovers(model), 0);
        ASSERT_STREQ(json_string(record, "from"), "p:1");
        ASSERT_STREQ(json_string(record, "to"), "p:3");
        ASSERT_EQ(json_number(record, "duration_usec"), 200000U);
        n_told = 0;
        told[0] = 0;
}

static void proxies(void) {
        _cleanup_(model_freep) struct model *model = fixture();
        _cleanup_(json_object_putp) struct json_object *list = NULL;
        struct json_object *proxy, *sights;

        set(model,
                "[{\"name\":\"a\",\"proxies\":[{\"address\":\"p:2\",\"priority\":100,\"state\":\"unreachable\","
                "\"failures\":2},{\"address\":\"p:1\",\"priority\":100,\"state\":\"active\"}]},"
                "{\"name\":\"b\",\"proxies\":[{\"address\":\"p:2\",\"priority\":100,\"state\":\"standby\","
                "\"failures\":0},{\"address\":\"p:0\",\"priority\":200,\"state\":\"x\"}]},"
                "{\"name\":\"c\"}]",
                "[]");
        list = model_proxies(model);
        ASSERT_TRUE(list);
        ASSERT_EQ(json_object_array_length(list), 3U);
        ASSERT_STREQ(json_string(json_object_array_get_idx(list, 0), "address"), "p:1");
        proxy = json_object_array_get_idx(list, 1);
        ASSERT_STREQ(json_string(proxy, "state"), "standby"); /* the best that anybody sees */
        ASSERT_EQ(json_number(proxy, "failures"), 0U);
        ASSERT_TRUE(json_object_object_get_ex(proxy, "images", &sights));
        ASSERT_EQ(json_object_array_length(sights), 2U);
        ASSERT_STREQ(json_string(json_object_array_get_idx(sights, 0), "state"), "unreachable");
        ASSERT_STREQ(json_string(json_object_array_get_idx(list, 2), "address"), "p:0");
}

static void counters(void) {
        _cleanup_(model_freep) struct model *model = fixture();
        _cleanup_(json_object_putp) struct json_object *list = NULL;

        set(model,
                "[{\"name\":\"a\",\"state\":\"inactive\",\"errors\":1},{\"name\":\"b\",\"state\":\"attached\","
                "\"errors\":2,\"size\":5}]",
                "[]");
        list = model_counters(model);
        ASSERT_STREQ(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN), "[{\"name\":\"b\",\"errors\":2}]");
}

static void metrics(void) {
        _cleanup_(model_freep) struct model *model = fixture();
        _cleanup_free_ char *text = NULL, *open = NULL, *down = NULL;
        size_t n;

        set(model,
                "[{\"name\":\"a\\\"b\\\\c\\nd\",\"state\":\"attached\",\"latency_usec\":1000001,\"read_bytes\":"
                "18446744073709551615,\"proxies\":[{\"address\":\"p:1\",\"state\":\"standby\"}]}]",
                "[{\"id\":\"1\",\"state\":\"running\"}]");
        ASSERT_OK(metrics_render(model, true, METRICS_TEXT, &text, &n));
        ASSERT_EQ(strlen(text), n);
        ASSERT_TRUE(strstr(text, "\nblockstore_image_latency_seconds{image=\"a\\\"b\\\\c\\nd\"} 1.000001\n"));
        ASSERT_TRUE(strstr(text, "\n# TYPE blockstore_image_read_bytes_total counter\n"));
        ASSERT_TRUE(strstr(text, "} 18446744073709551615\n"));
        ASSERT_TRUE(strstr(text, "\nblockstore_proxy_up{image=\"a\\\"b\\\\c\\nd\",proxy=\"p:1\"} 1\n"));
        ASSERT_TRUE(strstr(text, "\nblockstore_jobs{state=\"running\"} 1\n"));
        ASSERT_TRUE(strstr(text, "round_trip_seconds{") == NULL); /* not known */
        ASSERT_TRUE(strstr(text, "EOF") == NULL);

        ASSERT_OK(metrics_render(model, true, METRICS_OPENMETRICS, &open, &n));
        ASSERT_TRUE(strstr(
                open, "# TYPE blockstore_image_read_bytes counter\n# UNIT blockstore_image_read_bytes bytes\n"));
        ASSERT_STREQ(open + n - 6, "# EOF\n");

        ASSERT_OK(metrics_render(model, false, METRICS_TEXT, &down, &n));
        ASSERT_TRUE(strstr(down, "\nblockstore_up 0\n"));
        ASSERT_TRUE(strstr(down, "blockstore_image") == NULL);

        ASSERT_EQ(metrics_negotiate(NULL), METRICS_TEXT);
        ASSERT_EQ(metrics_negotiate("text/html, */*"), METRICS_TEXT);
        ASSERT_EQ(
                metrics_negotiate("text/plain;q=0.5,application/openmetrics-text;version=1.0.0"), METRICS_OPENMETRICS);
}

int main(void) {
        static const struct test tests[] = { TEST(changes), TEST(order), TEST(failovers), TEST(failover_step_by_step),
                TEST(proxies), TEST(counters), TEST(metrics) };

        return test_run_all(tests, sizeof tests / sizeof tests[0]);
}
