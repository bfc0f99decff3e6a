/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Jobs of the store (snapshots, clones, roll backs, scrubs), which a proxy does, as jobs of the supervisor (job.h), which whoever is on the bus can look at and cancel. */

#include <systemd/sd-bus.h>

#include "cleanup.h"
#include "job.h"

#define STORE_JOBS_MAX 16U /* that are followed at a time */

struct manager;
struct store_job;

/* Passes on the message as a call of method, as query_forward() does; when its answer is the id of a job, that is followed from then on. kind: static, of the job. name: what the job is about. Returns 0, or a negative errno
 * with error set. */
int store_job_forward(struct manager *manager, sd_bus_message *message, const char *method, const char *kind,
        const char *name, sd_bus_error *error);
/* The job that follows the store's job of that id, made if need be. owner: who may cancel it, if it is made. Returns 0, -EINVAL (no id) or -EBUSY, or another negative errno. */
int store_job_follow(
        struct manager *manager, const char *id, const char *kind, const char *name, uid_t owner, struct job **ret);
/* Manager.FollowStoreJob. */
int store_job_method_follow(sd_bus_message *message, void *userdata, sd_bus_error *error);
/* The kind of job that a method of the Manager begins; NULL: none. */
const char *store_job_kind(const char *method);

/* Calls that nobody waits for any more: the bus is gone. */
void store_jobs_forget(struct manager *manager);
/* Those that are followed go on at their proxies. */
void store_jobs_free(struct manager *manager);
