/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A scrub reads all data of an image and compares them with their checksums. It reads as another process would, whoever uses the image meanwhile, and past the page cache where the file system lets it: what is
 * to be looked at is the disk. What is no data and has no checksum is left out. How it goes is kept beside the image, so that any proxy can tell. Whoever scrubs has a lock for as long as he lives, far behind the checksums: without
 * one, a report of something that is running is of something that has been cut short. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "store-file-json.h"
#include "store-file.h"
#include "sum-leaf.h"
#include "sums.h"

#define SCRUB_NAME   "scrub.json"
#define PIECE_SIZE   (1024U * 1024U)
#define LEAF_COVERED ((uint64_t) SUM_LEAF_BLOCKS * SUM_BLOCK_SIZE)
#define UPDATE_USEC  10000000U
#define LOCK_OFFSET  (INT64_C(1) << 62)

struct file_scrub {
        struct store_scrub scrub;
        char *name;
        int directory_fd, data_fd, direct_fd, sums_fd;
        struct sums *plain, *direct; /* direct: NULL where that cannot be */
        uint8_t *buffer;
};

static struct file_scrub *FILE_SCRUB(struct store_scrub *scrub) {
        return (struct file_scrub *) scrub;
}

static uint64_t realtime_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

/* --- the report --- */

static const char *const states[_STORE_SCRUB_STATE_MAX] = {
        [STORE_SCRUB_NEVER] = "never",
        [STORE_SCRUB_RUNNING] = "running",
        [STORE_SCRUB_DONE] = "done",
        [STORE_SCRUB_FAILED] = "failed",
        [STORE_SCRUB_CANCELLED] = "cancelled",
};

static int handle_state(struct config_context *context, struct json_object *value, void *userdata) {
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (json_object_is_type(value, json_type_string) &&
                        strcmp(json_object_get_string(value), states[i]) == 0) {
                        *(enum store_scrub_state *) userdata = (enum store_scrub_state) i;
                        return 0;
                }
        return config_refuse(context, value, "a state");
}

static int handle_number(struct config_context *context, struct json_object *value, void *userdata) {
        if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
                return config_refuse(context, value, "a whole number");
        *(uint64_t *) userdata = (uint64_t) json_object_get_int64(value);
        return 0;
}

static int handle_offset(struct config_context *context, struct json_object *value, void *userdata) {
        struct store_scrub_report *report = userdata;
        int r;

        r = handle_number(context, value, report->offsets + report->n_offsets);
        if (r >= 0)
                report->n_offsets++;
        return r;
}

static int handle_offsets(struct config_context *context, struct json_object *value, void *userdata) {
        return config_apply_array(context, value, STORE_SCRUB_OFFSETS, handle_offset, userdata);
}

static int lock(int sums_fd) {
        struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = LOCK_OFFSET, .l_len = 1 };

        return fcntl(sums_fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static bool somebody_scrubs(int directory_fd) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_OFFSET, .l_len = 1 };
        _cleanup_close_ int fd = openat(directory_fd, SUMS_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

        return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) >= 0 && lock.l_type != F_UNLCK;
}

void store_file_scrub_report(int directory_fd, struct store_scrub_report *ret) {
        static const struct config_key keys[] = {
                { "state", handle_state, offsetof(struct store_scrub_report, state), true },
                { "began", handle_number, offsetof(struct store_scrub_report, began_usec), true },
                { "updated", handle_number, offsetof(struct store_scrub_report, updated_usec), true },
                { "done", handle_number, offsetof(struct store_scrub_report, done), true },
                { "size", handle_number, offsetof(struct store_scrub_report, size), true },
                { "damaged", handle_number, offsetof(struct store_scrub_report, damaged), true },
                { "unknown", handle_number, offsetof(struct store_scrub_report, unknown), true },
                { "offsets", handle_offsets, 0, false },
                {},
        };
        struct store_scrub_report report = {};
        _cleanup_free_ char *message = NULL;

        if (store_json_load(directory_fd, "", SCRUB_NAME, keys, &report, &message) < 0)
                report = (struct store_scrub_report){};
        if (report.state == STORE_SCRUB_RUNNING && !somebody_scrubs(directory_fd))
                report.state = STORE_SCRUB_FAILED;
        *ret = report;
}

static int add(struct json_object *object, const char *key, struct json_object *value) {
        if (value && json_object_object_add(object, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int fill(struct json_object *object, const struct store_scrub_report *report) {
        const struct {
                const char *key;
                uint64_t number;
        } numbers[] = {
                { "began", report->began_usec },
                { "updated", report->updated_usec },
                { "done", report->done },
                { "size", report->size },
                { "damaged", report->damaged },
                { "unknown", report->unknown },
        };
        struct json_object *offsets = json_object_new_array();
        int r;

        r = add(object, "offsets", offsets);
        for (size_t i = 0; r >= 0 && i < report->n_offsets; i++)
                if (json_object_array_add(offsets, json_object_new_int64((int64_t) report->offsets[i])) < 0)
                        r = -ENOMEM;
        if (r >= 0)
                r = add(object, "state", json_object_new_string(states[report->state]));
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(numbers); i++)
                r = add(object, numbers[i].key, json_object_new_int64((int64_t) numbers[i].number));
        return r;
}

static int save(struct file_scrub *scrub, enum store_scrub_state state) {
        struct store_scrub_report *report = &scrub->scrub.report;
        struct json_object *object = json_object_new_object();
        int r;

        report->state = state;
        report->updated_usec = realtime_usec();
        r = object ? fill(object, report) : -ENOMEM;
        if (r >= 0)
                r = store_json_replace(scrub->directory_fd, SCRUB_NAME, object);
        json_object_put(object);
        return r;
}

/* --- the work --- */

static void complain(void *userdata, const char *message) {
        struct file_scrub *scrub = userdata;

        FILE_STORE(scrub->scrub.store)->how.complain(scrub->name, message);
}

static struct store_scrub *scrub_free(struct store_scrub *s) {
        struct file_scrub *scrub = FILE_SCRUB(s);

        if (!scrub)
                return NULL;
        sums_free(scrub->direct);
        sums_free(scrub->plain);
        safe_close(scrub->sums_fd);
        safe_close(scrub->direct_fd);
        safe_close(scrub->data_fd);
        safe_close(scrub->directory_fd);
        free(scrub->buffer);
        free(scrub->name);
        free(scrub);
        return NULL;
}
DEFINE_CLEANUP(struct store_scrub *, scrub_free);

static int open_all(struct file_scrub *scrub, sd_id128_t uuid) {
        struct file_store *store = FILE_STORE(scrub->scrub.store);
        _cleanup_free_ char *message = NULL;
        struct image_record record;
        int r;

        r = store_file_open_and_lock_image(store, scrub->name, LOCK_SH, &scrub->directory_fd);
        if (r >= 0)
                r = image_record_load(scrub->directory_fd, scrub->name, &record, &message);
        if (message)
                store->how.complain(scrub->name, message);
        if (r < 0)
                return r;
        if (!sd_id128_is_null(uuid) && !sd_id128_equal(uuid, record.uuid))
                return -ENOENT;
        if (!record.checksums)
                return -EOPNOTSUPP;

        scrub->scrub.size = record.size;
        scrub->data_fd = openat(scrub->directory_fd, "data", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        scrub->sums_fd = openat(scrub->directory_fd, SUMS_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (scrub->data_fd < 0 || scrub->sums_fd < 0)
                return errno == ENOENT ? -EUCLEAN : -errno;
        r = lock(scrub->sums_fd);
        if (r >= 0)
                r = store_file_mark_open(scrub->data_fd);
        if (r >= 0)
                r = sums_new(&scrub->plain, scrub->data_fd, scrub->sums_fd, complain, scrub);
        scrub->direct_fd = openat(scrub->directory_fd, "data", O_RDONLY | O_DIRECT | O_NOFOLLOW | O_CLOEXEC);
        if (r >= 0 && scrub->direct_fd >= 0)
                r = sums_new(&scrub->direct, scrub->direct_fd, scrub->sums_fd, complain, scrub);
        (void) flock(scrub->directory_fd, LOCK_UN);
        return r;
}

int store_file_scrub_begin(struct store *s, const char *name, sd_id128_t uuid, struct store_scrub **ret) {
        _cleanup_(scrub_freep) struct store_scrub *owned = NULL;
        struct file_scrub *scrub;
        int r;

        scrub = malloc(sizeof(*scrub));
        if (!scrub)
                return -ENOMEM;
        *scrub = (struct file_scrub){
                .scrub.store = s,
                .directory_fd = -EBADF,
                .data_fd = -EBADF,
                .direct_fd = -EBADF,
                .sums_fd = -EBADF,
        };
        owned = &scrub->scrub;
        scrub->name = strdup(name);
        if (!scrub->name || posix_memalign((void **) &scrub->buffer, SUM_BLOCK_SIZE, PIECE_SIZE) != 0)
                return -ENOMEM;
        r = open_all(scrub, uuid);
        if (r < 0)
                return r;

        scrub->scrub.report.size = scrub->scrub.size;
        scrub->scrub.report.began_usec = realtime_usec();
        r = save(scrub, STORE_SCRUB_RUNNING);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(owned);
        return 0;
}

static void found_damage(uint64_t offset, void *userdata) {
        struct store_scrub *scrub = userdata;

        scrub->report.damaged++;
        if (scrub->report.n_offsets < STORE_SCRUB_OFFSETS)
                scrub->report.offsets[scrub->report.n_offsets++] = offset;
        if (scrub->n_damaged < STORE_SCRUB_TOLD)
                scrub->damaged[scrub->n_damaged++] = offset;
}

/* Where data begin, or checksums: those of data that are not there any more are damage. */
static uint64_t next_work(const struct file_scrub *scrub, uint64_t offset, uint64_t end) {
        off_t data = lseek(scrub->data_fd, (off_t) offset, SEEK_DATA);
        off_t sums = lseek(scrub->sums_fd, (off_t) sum_leaf_offset(offset / LEAF_COVERED), SEEK_DATA);
        uint64_t next = data >= 0 ? (uint64_t) data : end, leaf;

        if (sums > (off_t) SUM_HEADER_SIZE) {
                leaf = ((uint64_t) sums - SUM_HEADER_SIZE) / SUM_LEAF_SIZE * LEAF_COVERED;
                next = leaf < next ? leaf : next;
        }
        if (data < 0 && errno != ENXIO)
                next = offset;
        return next > offset ? (next < end ? next / SUM_BLOCK_SIZE * SUM_BLOCK_SIZE : end) : offset;
}

static int check(struct file_scrub *scrub, struct sums *sums, uint64_t offset, uint64_t end) {
        uint64_t checked, unknown;
        int r;

        if (offset >= end)
                return 0;
        r = sums_check(sums, offset, end - offset, scrub->buffer, found_damage, &scrub->scrub, &checked, &unknown);
        if (r >= 0)
                scrub->scrub.report.unknown += unknown;
        return r;
}

int store_file_scrub_piece(struct store_scrub *s, uint64_t offset, uint64_t *ret_next) {
        struct file_scrub *scrub = FILE_SCRUB(s);
        uint64_t end, stop, whole;
        struct stat st;
        int r;

        s->n_damaged = 0;
        if (fstat(scrub->data_fd, &st) < 0)
                return -errno;
        /* It may have become smaller. */
        end = (uint64_t) st.st_size < s->size ? (uint64_t) st.st_size : s->size;
        if (offset < end)
                offset = next_work(scrub, offset, end);
        stop = offset >= end ? end : end - offset > PIECE_SIZE ? offset + PIECE_SIZE : end;

        whole = stop / SUM_BLOCK_SIZE * SUM_BLOCK_SIZE;
        r = check(scrub, scrub->direct ? scrub->direct : scrub->plain, offset, whole);
        if (r >= 0)
                r = check(scrub, scrub->plain, offset > whole ? offset : whole, stop);
        if (r < 0)
                return r;

        s->report.done = stop >= end ? s->size : stop;
        if (realtime_usec() - s->report.updated_usec > UPDATE_USEC)
                (void) save(scrub, STORE_SCRUB_RUNNING);
        *ret_next = s->report.done;
        return 0;
}

struct store_scrub *store_file_scrub_end(struct store_scrub *s, int error) {
        struct file_scrub *scrub = FILE_SCRUB(s);

        if (!scrub)
                return NULL;
        if (save(scrub, error >= 0            ? STORE_SCRUB_DONE
                        : error == -ECANCELED ? STORE_SCRUB_CANCELLED
                                              : STORE_SCRUB_FAILED) < 0)
                FILE_STORE(s->store)->how.complain(scrub->name, "The result of its scrub could not be written down");
        return scrub_free(s);
}
