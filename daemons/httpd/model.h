/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What this host has: images and jobs, each the JSON object of its properties, and the failovers that were seen happening. Knows no bus; watch.c feeds it, and whoever wants to hear of changes is told by ops. */

#include "json-object.h"

#define MODEL_FAILOVERS_MAX 64U

struct model;

/* All are called from within the functions that change the model; objects are borrowed. Any may be NULL. */
struct model_ops {
        void (*image_changed)(
                struct json_object *image, void *userdata); /* new, or something but counters has changed */
        void (*image_removed)(const char *name, void *userdata);
        void (*job_changed)(struct json_object *job, void *userdata);
        void (*job_removed)(const char *id, void *userdata);
        void (*failed_over)(struct json_object *failover, void *userdata);
};

int model_new(const struct model_ops *ops, void *userdata, struct model **ret);
struct model *model_free(struct model *model);
DEFINE_CLEANUP(struct model *, model_free);

/* The whole truth: arrays of images (member "name") and jobs (member "id"). What is not among them is removed. now_usec: CLOCK_REALTIME, for what is dated here. Returns 0 or -ENOMEM. */
int model_set_all(struct model *model, struct json_object *images, struct json_object *jobs, uint64_t now_usec);
/* Some properties of an image or job that is known; of one that is not, they are ignored (-ENOENT): the whole of it is still to come. */
int model_update_image(struct model *model, const char *name, struct json_object *properties, uint64_t now_usec);
int model_update_job(struct model *model, const char *id, struct json_object *properties);
void model_remove_image(struct model *model, const char *name);
void model_remove_job(struct model *model, const char *id);

/* Borrowed, NULL when there is none of that name. */
struct json_object *model_image(const struct model *model, const char *name);
struct json_object *model_job(const struct model *model, const char *id);

/* New arrays, sorted by name or id, of the very objects in the model. NULL: no memory. */
struct json_object *model_images(const struct model *model);
struct json_object *model_jobs(const struct model *model);
/* The oldest first: {time_usec, image, from, to, duration_usec}; duration 0: not known. Borrowed. */
struct json_object *model_failovers(const struct model *model);
/* The same proxies that the images name, once each: {address, priority, origin, state, round_trip_usec, failures, reason, images: [{name, state}]}. State is the best that an image sees. NULL: no memory. */
struct json_object *model_proxies(const struct model *model);
/* Name and counters of each image that is attached. NULL: no memory. */
struct json_object *model_counters(const struct model *model);
/* Whether an image is anything but inactive: only then do counters change. */
bool model_is_busy(const struct model *model);

/* Members that change with every request and are not worth an announcement. Ends with NULL. */
extern const char *const model_counter_names[];
