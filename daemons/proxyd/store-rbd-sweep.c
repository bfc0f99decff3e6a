/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Deleting an image takes as long as it has objects, and nobody should wait for that: not who removes it, and no other operation of this proxy. So an image that goes gets a hidden name, at once, and is deleted under
 * it by a thread of its own, in steps, so that it can end. That thread also finds, when it starts and now and then, what proxies that died have left: of deletions, and of what they were making. Another proxy may be
 * making something at that moment, so what is not known to be given up has to be old, and open to nobody; and if that should be wrong all the same, what was being made fails, and nothing else does. */

#include <string.h>
#include <time.h>

#include "fault-point.h"
#include "store-rbd.h"

#define SWEEP_SECONDS 600U /* between two looks; */
#define AGAIN_SECONDS 60U  /* ... while something is left */
#define END_SECONDS   5U
/* Bytes of an image that are cut off at a time: more, while that is quick, which it is where there is nothing. */
#define STEP_MIN   (UINT64_C(1) << 28)
#define STEP_MAX   (UINT64_C(1) << 36)
#define QUICK_USEC 100000U
#define SLOW_USEC  1000000U

static bool has_prefix(const char *name, const char *prefix) {
        return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool must_end(struct rbd_store *store) {
        bool ends;

        pthread_mutex_lock(&store->mutex);
        ends = store->sweeper.ends;
        pthread_mutex_unlock(&store->mutex);
        return ends;
}

/* Whether nobody needs it any more, nor is about to delete it. */
static bool is_left(struct rbd_store *store, const rbd_image_spec_t *spec) {
        struct timespec created = {};
        rbd_image_t image;
        time_t age;
        int r;

        if (!has_prefix(spec->name, RBD_GONE_PREFIX) && !has_prefix(spec->name, RBD_HIDDEN_PREFIX))
                return false;
        if (store_rbd_peek(store, spec->id, &image) < 0)
                return false;
        r = rbd_get_create_timestamp(image, &created);
        if (r >= 0)
                r = store_rbd_is_watched(store, image);
        (void) rbd_close(image);

        age = time(NULL) - created.tv_sec;
        return r == 0 && (has_prefix(spec->name, RBD_GONE_PREFIX) ||
                                 age > (has_prefix(spec->name, RBD_THICK_PREFIX) ? RBD_LEFT_BEHIND_THICK_SECONDS
                                                                                 : RBD_LEFT_BEHIND_SECONDS));
}

/* librbd wants one. */
static int progress(uint64_t done, uint64_t total, void *userdata) {
        return 0;
}

/* From its end on, until what is left can be deleted at once. Returns 1 when it has to end before. */
static int cut_off(struct rbd_store *store, rbd_image_t image) {
        uint64_t size, step = STEP_MIN, began, took;
        int r;

        r = rbd_get_size(image, &size);
        while (r >= 0 && size > STEP_MIN) {
                if (must_end(store))
                        return 1;
                began = store_rbd_now_usec();
                size = size > step ? size - step : 0;
                r = rbd_resize2(image, size, true, progress, NULL);
                took = store_rbd_now_usec() - began;
                if (took < QUICK_USEC && step < STEP_MAX)
                        step *= 2;
                else if (took > SLOW_USEC && step > STEP_MIN)
                        step /= 2;
        }
        return r;
}

static int delete_image(struct rbd_store *store, const char *name) {
        char id[RBD_ID_SIZE], header[RBD_HEADER_SIZE];
        rbd_image_t image;
        int r;

        r = store_rbd_find(store, name, id);
        if (r < 0)
                return r;
        store_rbd_header_name(id, header);
        r = store_rbd_unlock(store, header);
        if (r >= 0)
                r = rbd_open(store->control_io, name, &image, NULL);
        if (r < 0)
                return r;
        r = cut_off(store, image);
        (void) rbd_close(image);
        if (r != 0)
                return r;
        r = rbd_remove(store->control_io, name);
        /* Clones hang on what were its snapshots. */
        return r == -ENOTEMPTY ? rbd_trash_move(store->control_io, name, 0) : r;
}

/* Returns whether something is left that is to go. */
static bool sweep(struct rbd_store *store) {
        rbd_image_spec_t *specs;
        char message[512];
        bool left = false;
        size_t n;
        int r;

        if (store_rbd_list_names(store, &specs, &n) < 0)
                return true;
        for (size_t i = 0; i < n && !must_end(store); i++) {
                if (!is_left(store, specs + i)) {
                        left = left || has_prefix(specs[i].name, RBD_GONE_PREFIX) ||
                               has_prefix(specs[i].name, RBD_THICK_PREFIX);
                        continue;
                }
                r = delete_image(store, specs[i].name);
                if (r < 0 && r != -ENOENT) {
                        left = true;
                        (void) snprintf(message, sizeof(message),
                                "What is left of an image in the pool, %s, cannot be deleted now: %s. It is tried "
                                "again",
                                specs[i].name, strerror(-r));
                        store->how.complain(NULL, message);
                }
        }
        rbd_image_spec_list_cleanup(specs, n);
        free(specs);
        return left;
}

static void *work(void *userdata) {
        struct rbd_store *store = userdata;
        struct rbd_sweeper *sweeper = &store->sweeper;
        struct timespec next;
        bool left;

        pthread_mutex_lock(&store->mutex);
        while (!sweeper->ends) {
                sweeper->wanted = false;
                pthread_mutex_unlock(&store->mutex);
                left = sweep(store);
                clock_gettime(CLOCK_REALTIME, &next);
                next.tv_sec += left ? AGAIN_SECONDS : SWEEP_SECONDS;
                pthread_mutex_lock(&store->mutex);
                while (!sweeper->wanted && !sweeper->ends &&
                        pthread_cond_timedwait(&sweeper->woken, &store->mutex, &next) == 0)
                        ;
        }
        sweeper->ended = true;
        pthread_cond_broadcast(&sweeper->woken);
        pthread_mutex_unlock(&store->mutex);
        return NULL;
}

int store_rbd_sweeper_start(struct rbd_store *store) {
        int r;

        r = pthread_create(&store->sweeper.thread, NULL, work, store);
        if (r > 0)
                return -r;
        (void) pthread_setname_np(store->sweeper.thread, "rbd-sweep");
        store->sweeper.runs = true;
        return 0;
}

bool store_rbd_sweeper_end(struct rbd_store *store) {
        struct rbd_sweeper *sweeper = &store->sweeper;
        struct timespec deadline;
        bool ended;

        if (!sweeper->runs)
                return true;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += END_SECONDS;
        pthread_mutex_lock(&store->mutex);
        sweeper->ends = true;
        pthread_cond_broadcast(&sweeper->woken);
        while (!sweeper->ended && pthread_cond_timedwait(&sweeper->woken, &store->mutex, &deadline) == 0)
                ;
        ended = sweeper->ended;
        pthread_mutex_unlock(&store->mutex);
        if (ended)
                pthread_join(sweeper->thread, NULL);
        return ended;
}

static void wake(struct rbd_store *store) {
        pthread_mutex_lock(&store->mutex);
        store->sweeper.wanted = true;
        pthread_cond_broadcast(&store->sweeper.woken);
        pthread_mutex_unlock(&store->mutex);
}

void store_rbd_give_up_hidden(struct rbd_store *store, const char *hidden) {
        char gone[RBD_HIDDEN_SIZE];

        /* If that should fail it is found when it is old. */
        if (store_rbd_hidden_name(RBD_GONE_PREFIX, gone) >= 0 && rbd_rename(store->control_io, hidden, gone) >= 0)
                wake(store);
}

/* Somebody may have opened it since it was looked at, and cannot any more from here on. */
int store_rbd_give_up(struct rbd_store *store, const char *name, const char *id) {
        char gone[RBD_HIDDEN_SIZE];
        rbd_image_t image;
        int r;

        r = store_rbd_hidden_name(RBD_GONE_PREFIX, gone);
        if (r >= 0)
                r = rbd_rename(store->control_io, name, gone);
        if (r < 0)
                return r;
        fault_point("rbd-gone");
        if (store_rbd_peek(store, id, &image) >= 0) {
                r = store_rbd_is_watched(store, image);
                (void) rbd_close(image);
                if (r == 1) {
                        r = rbd_rename(store->control_io, gone, name);
                        return r < 0 ? r : -EBUSY;
                }
        }
        wake(store);
        return 0;
}
