/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a test of one rule is told with: a rig, one NBD client, and steps that wait for what they have brought about. Every step ends the program with status 2 when it cannot be
 * done in time: such a test has shown nothing, neither that the rule holds nor that it does not. */

#include <stdbool.h>
#include <stdint.h>

#include "block.h"
#include "dice.h"
#include "nbd-client.h"
#include "rig.h"

#define SCENE_IOS      32U
#define SCENE_PATIENCE (20 * SEC)

/* How a test of a rule ends, as exit status. */
enum rule_verdict {
        RULE_HOLDS = 0,
        RULE_IS_BROKEN = 1, /* what the rule is to prevent was seen */
        RULE_UNTESTED = 2,
};

struct scene_io {
        bool done;
        uint32_t error;
        uint8_t data[CHAOS_BLOCK];
};

struct scene {
        struct rig *rig;
        struct nbd_client *client;
        bool ready, lost;
        struct scene_io ios[SCENE_IOS]; /* by number, as scene_start() gives them */
        unsigned n_ios;
        unsigned n_unexpected; /* processes that ended by themselves */
};

/* A condition of the test's own. */
typedef bool (*scene_condition_t)(struct scene *scene, void *userdata);

/* What is the matter goes to standard error. */
_Noreturn void scene_give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Starts the proxies, creates the image, starts the worker, connects, and waits until the image is there. rules_off: may be NULL. */
void scene_begin(struct scene *scene, const struct rig_options *options, const char *rules_off);
/* ... in two parts, for what has to be set before the start. */
void scene_prepare(struct scene *scene, const struct rig_options *options, const char *rules_off);
void scene_start_all(struct scene *scene);
void scene_end(struct scene *scene);
/* A (new) connection to the worker, ready. */
void scene_connect(struct scene *scene);

/* Sends a request for the block at offset; a write brings version (not 0). Returns its number. */
unsigned scene_start(struct scene *scene, enum nbd_command command, uint16_t flags, uint64_t offset, uint64_t version);
/* Waits for the answer; an error of the request is returned (NBD's number). */
uint32_t scene_finish(struct scene *scene, unsigned io);
/* Both at once; an error ends the program. */
void scene_write(struct scene *scene, uint16_t flags, uint64_t offset, uint64_t version);
void scene_flush(struct scene *scene);
/* The version that the block at offset has; 0: zeroes. */
uint64_t scene_read(struct scene *scene, uint64_t offset);
/* ... in the store's file. */
uint64_t scene_read_file(struct scene *scene, uint64_t offset);

/* Runs the loop until the condition holds: true; false after so long. */
bool scene_try(struct scene *scene, scene_condition_t condition, void *userdata, uint64_t timeout_usec);
/* The same, but it must come to hold; what: for the message. */
void scene_wait(struct scene *scene, scene_condition_t condition, void *userdata, const char *what);
bool scene_io_is_done(struct scene *scene, void *io); /* a condition; io: struct scene_io */

/* Runs function(userdata) in a child while the loop goes on; returns its exit status when what others had sent by its end has come, too. */
int scene_control(struct scene *scene, int (*function)(void *userdata), void *userdata);

/* Kills, or stops, and waits until it is gone; starts and waits until it is ready. */
void scene_kill_proxy(struct scene *scene, unsigned proxy);
void scene_start_proxy(struct scene *scene, unsigned proxy);
void scene_kill_worker(struct scene *scene);

/* Puts text into a file in the store's directory; NULL: removes it. */
void scene_store_file(struct scene *scene, const char *name, const char *text);
