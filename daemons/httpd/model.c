/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two maps of JSON objects and a list. Objects that were handed out stay as they are: an update makes a new object and puts it into the old one's place, so that an answer under construction, or the comparison
 * with what was before, never sees half of a change.
 *
 * A failover is seen when the counter of an image has grown and the image has a proxy again; the proxy that served before is remembered for that, since ActiveProxy is empty in between, and then whichever is being
 * tried. What happened before this process came is only known as a number (the counter). */

#include <errno.h>
#include <string.h>

#include "model.h"

struct model {
        const struct model_ops *ops;
        void *userdata;
        struct json_object *images, *jobs; /* by name, by id */
        struct json_object *marks;         /* by image: {proxy, failovers, lost_usec} */
        struct json_object *failovers;
};

const char *const model_counter_names[] = { "read_operations", "write_operations", "flush_operations", "read_bytes",
        "written_bytes", "errors", "in_flight", "latency_usec", "retained_bytes", "reconnects", "stalls",
        "stalled_usec", "longest_stall_usec", NULL };

/* These change as often, and are too large to be sent to everybody every second: who wants them asks. */
static const char *const silent_names[] = { "read_latency", "write_latency", "flush_latency", "heat_map" };

int model_new(const struct model_ops *ops, void *userdata, struct model **ret) {
        _cleanup_(model_freep) struct model *model = calloc(1, sizeof(*model));

        if (!model)
                return -ENOMEM;
        model->ops = ops;
        model->userdata = userdata;
        model->images = json_object_new_object();
        model->jobs = json_object_new_object();
        model->marks = json_object_new_object();
        model->failovers = json_object_new_array();
        if (!model->images || !model->jobs || !model->marks || !model->failovers)
                return -ENOMEM;

        *ret = TAKE_PTR(model);
        return 0;
}

struct model *model_free(struct model *model) {
        if (!model)
                return NULL;

        json_object_put(model->images);
        json_object_put(model->jobs);
        json_object_put(model->marks);
        json_object_put(model->failovers);
        free(model);
        return NULL;
}

static bool is_counter(const char *key) {
        for (size_t i = 0; model_counter_names[i]; i++)
                if (strcmp(key, model_counter_names[i]) == 0)
                        return true;
        for (size_t i = 0; i < ELEMENTSOF(silent_names); i++)
                if (strcmp(key, silent_names[i]) == 0)
                        return true;
        return false;
}

/* Whether b has something else, or more, than a, counters aside. */
static bool differs(struct json_object *a, struct json_object *b) {
        json_object_object_foreach(b, key, value) {
                struct json_object *before;

                if (is_counter(key))
                        continue;
                if (!json_object_object_get_ex(a, key, &before) || !json_object_equal(before, value))
                        return true;
        }
        return false;
}

static int copy_all(struct json_object *to, struct json_object *from) {
        int r;

        json_object_object_foreach(from, key, value) {
                r = json_add(to, key, json_object_get(value));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A new object with the members of base and, over them, of changes. */
static struct json_object *overlay(struct json_object *base, struct json_object *changes) {
        _cleanup_(json_object_putp) struct json_object *result = json_object_new_object();

        if (!result || copy_all(result, base) < 0 || copy_all(result, changes) < 0)
                return NULL;
        return TAKE_PTR(result);
}

static int record_failover(struct model *model, const char *name, const char *from, const char *to, uint64_t lost_usec,
        uint64_t now_usec) {
        _cleanup_(json_object_putp) struct json_object *record = json_object_new_object();
        int r;

        if (!record)
                return -ENOMEM;
        if ((r = json_add(record, "time_usec", json_object_new_uint64(now_usec))) < 0 ||
                (r = json_add(record, "image", json_object_new_string(name))) < 0 ||
                (r = json_add(record, "from", json_object_new_string(from))) < 0 ||
                (r = json_add(record, "to", json_object_new_string(to))) < 0 ||
                (r = json_add(record, "duration_usec",
                         json_object_new_uint64(lost_usec > 0 && lost_usec < now_usec ? now_usec - lost_usec : 0))) <
                        0)
                return r;

        if (json_object_array_length(model->failovers) >= MODEL_FAILOVERS_MAX)
                (void) json_object_array_del_idx(model->failovers, 0, 1);
        r = json_append(model->failovers, json_object_get(record));
        if (r < 0)
                return r;
        if (model->ops && model->ops->failed_over)
                model->ops->failed_over(record, model->userdata);
        return 0;
}

/* Compares an image with what was marked of it, and marks it anew. */
static int look_for_failover(struct model *model, const char *name, struct json_object *image, uint64_t now_usec) {
        _cleanup_(json_object_putp) struct json_object *mark = json_object_new_object();
        const char *proxy = json_string(image, "active_proxy"), *state = json_string(image, "state");
        uint64_t failovers = json_number(image, "failovers"), lost_usec = 0;
        struct json_object *before = NULL;
        int r;

        if (!mark)
                return -ENOMEM;
        if (json_object_object_get_ex(model->marks, name, &before)) {
                uint64_t known = json_number(before, "failovers");
                const char *last = json_string(before, "proxy");

                lost_usec = json_number(before, "lost_usec");
                if (strcmp(state, "reconnecting") == 0 && lost_usec == 0)
                        lost_usec = json_number(image, "state_since") ?: now_usec;
                /* Between two proxies there is nothing to say yet; a smaller number is another worker's. */
                if (failovers > known && *proxy) {
                        r = record_failover(model, name, last, proxy, lost_usec, now_usec);
                        if (r < 0)
                                return r;
                } else {
                        if (failovers > known)
                                failovers = known;
                        /* One that is only being tried has not served yet. */
                        if (!*proxy || (*last && strcmp(state, "attached") != 0))
                                proxy = last;
                }
        }
        if (strcmp(state, "attached") == 0)
                lost_usec = 0;

        if ((r = json_add(mark, "proxy", json_object_new_string(proxy))) < 0 ||
                (r = json_add(mark, "failovers", json_object_new_uint64(failovers))) < 0 ||
                (r = json_add(mark, "lost_usec", json_object_new_uint64(lost_usec))) < 0)
                return r;
        return json_add(model->marks, name, TAKE_PTR(mark));
}

/* Takes image. */
static int put_image(struct model *model, const char *name, struct json_object *image, uint64_t now_usec) {
        _cleanup_(json_object_putp) struct json_object *owned = image;
        struct json_object *before = NULL;
        bool changed;
        int r;

        changed = !json_object_object_get_ex(model->images, name, &before) || differs(before, owned);
        r = json_add(model->images, name, json_object_get(owned));
        if (r < 0)
                return r;
        if (changed && model->ops && model->ops->image_changed)
                model->ops->image_changed(owned, model->userdata);
        return look_for_failover(model, name, owned, now_usec);
}

static int put_job(struct model *model, const char *id, struct json_object *job) {
        _cleanup_(json_object_putp) struct json_object *owned = job;
        struct json_object *before = NULL;
        bool changed;
        int r;

        changed = !json_object_object_get_ex(model->jobs, id, &before) || differs(before, owned);
        r = json_add(model->jobs, id, json_object_get(owned));
        if (r < 0)
                return r;
        if (changed && model->ops && model->ops->job_changed)
                model->ops->job_changed(owned, model->userdata);
        return 0;
}

static bool is_among(struct json_object *array, const char *key, const char *text) {
        for (size_t i = 0; i < json_object_array_length(array); i++)
                if (strcmp(json_string(json_object_array_get_idx(array, i), key), text) == 0)
                        return true;
        return false;
}

/* The name of a member of map that is not in array, or NULL. Borrowed. */
static const char *find_gone(struct json_object *map, struct json_object *array, const char *key) {
        json_object_object_foreach(map, name, value) {
                if (!is_among(array, key, name))
                        return name;
        }
        return NULL;
}

int model_set_all(struct model *model, struct json_object *images, struct json_object *jobs, uint64_t now_usec) {
        const char *gone;
        int r;

        while ((gone = find_gone(model->images, images, "name")))
                model_remove_image(model, gone);
        while ((gone = find_gone(model->jobs, jobs, "id")))
                model_remove_job(model, gone);

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                r = put_image(model, json_string(image, "name"), json_object_get(image), now_usec);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < json_object_array_length(jobs); i++) {
                struct json_object *job = json_object_array_get_idx(jobs, i);

                r = put_job(model, json_string(job, "id"), json_object_get(job));
                if (r < 0)
                        return r;
        }
        return 0;
}

int model_update_image(struct model *model, const char *name, struct json_object *properties, uint64_t now_usec) {
        struct json_object *before = model_image(model, name), *image;

        if (!before)
                return -ENOENT;
        image = overlay(before, properties);
        return image ? put_image(model, name, image, now_usec) : -ENOMEM;
}

int model_update_job(struct model *model, const char *id, struct json_object *properties) {
        struct json_object *before = model_job(model, id), *job;

        if (!before)
                return -ENOENT;
        job = overlay(before, properties);
        return job ? put_job(model, id, job) : -ENOMEM;
}

/* The name may live in what is removed. */
static void remove_from(
        struct json_object *map, const char *name, void (*told)(const char *name, void *userdata), void *userdata) {
        struct json_object *object;

        if (!json_object_object_get_ex(map, name, &object))
                return;
        if (told)
                told(name, userdata);
        json_object_object_del(map, name);
}

void model_remove_image(struct model *model, const char *name) {
        /* An image that comes back has another worker, whose counter begins at 0. */
        json_object_object_del(model->marks, name);
        remove_from(model->images, name, model->ops ? model->ops->image_removed : NULL, model->userdata);
}

void model_remove_job(struct model *model, const char *id) {
        remove_from(model->jobs, id, model->ops ? model->ops->job_removed : NULL, model->userdata);
}

struct json_object *model_image(const struct model *model, const char *name) {
        struct json_object *image;

        return json_object_object_get_ex(model->images, name, &image) ? image : NULL;
}

struct json_object *model_job(const struct model *model, const char *id) {
        struct json_object *job;

        return json_object_object_get_ex(model->jobs, id, &job) ? job : NULL;
}

static int by_name(const void *a, const void *b) {
        return strcmp(json_string(*(struct json_object *const *) a, "name"),
                json_string(*(struct json_object *const *) b, "name"));
}

/* Ids are numbers as text. */
static int by_id(const void *a, const void *b) {
        const char *x = json_string(*(struct json_object *const *) a, "id"),
                   *y = json_string(*(struct json_object *const *) b, "id");
        size_t n = strlen(x), m = strlen(y);

        return n != m ? (n < m ? -1 : 1) : strcmp(x, y);
}

static struct json_object *sorted(struct json_object *map, int (*compare)(const void *a, const void *b)) {
        _cleanup_(json_object_putp) struct json_object *array = json_object_new_array();

        if (!array)
                return NULL;
        json_object_object_foreach(map, key, value) {
                (void) key;
                if (json_append(array, json_object_get(value)) < 0)
                        return NULL;
        }
        json_object_array_sort(array, compare);
        return TAKE_PTR(array);
}

struct json_object *model_images(const struct model *model) {
        return sorted(model->images, by_name);
}

struct json_object *model_jobs(const struct model *model) {
        return sorted(model->jobs, by_id);
}

struct json_object *model_failovers(const struct model *model) {
        return model->failovers;
}

struct json_object *model_counters(const struct model *model) {
        _cleanup_(json_object_putp) struct json_object *images = model_images(model),
                                                       *result = json_object_new_array();

        if (!images || !result)
                return NULL;
        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i), *counters, *value;

                if (strcmp(json_string(image, "state"), "inactive") == 0)
                        continue;
                counters = json_object_new_object();
                if (json_append(result, counters) < 0 ||
                        json_add(counters, "name", json_object_new_string(json_string(image, "name"))) < 0)
                        return NULL;
                for (size_t k = 0; model_counter_names[k]; k++)
                        if (json_object_object_get_ex(image, model_counter_names[k], &value) &&
                                json_add(counters, model_counter_names[k], json_object_get(value)) < 0)
                                return NULL;
        }
        return TAKE_PTR(result);
}

bool model_is_busy(const struct model *model) {
        json_object_object_foreach(model->images, name, image) {
                (void) name;
                if (strcmp(json_string(image, "state"), "inactive") != 0)
                        return true;
        }
        return json_object_object_length(model->jobs) > 0;
}
