/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The embedded store: a directory on a local file system.
 *
 *     store.json              whose store it is, and its error epoch
 *     tickets.key             what seals the tickets of its users
 *     images/NAME/record.json the image's record: UUID, size, lease
 *     images/NAME/data        its bytes, a sparse file
 *     images/NAME/holder      which process changes it
 *     images/NAME/snapshots/  below it a directory each, with record.json and data
 *     images/NAME/intent.json what has to be finished first, see store-file-intent.c
 *     proxies/                sockets by which the proxies of the store find each other
 *
 * An image's name is the directory's: it has no '/', no leading '.', no control characters, and fits. Proxies on one
 * machine may share a store: whatever changes a record does so under a lock on the directory it lies in. Proxies on
 * several machines may not, since a local lock says nothing there; so the store remembers its machine, and file
 * systems that other machines can reach are refused. Overlays are refused because their copy-up changes the file
 * beneath an open descriptor, FUSE because its fsync is anybody's promise. */

#include <fcntl.h>
#include <linux/magic.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "directory.h"
#include "refusal.h"
#include "store-file.h"

/* Mixed into the machine id, so that the store's record does not give the id itself away. */
static const sd_id128_t store_app_id = { .bytes = { 0x5c, 0x0e, 0x7a, 0x91, 0x3d, 0x42, 0x4b, 0x6f, 0x9b, 0x1a, 0x2f,
                                                 0x88, 0xc4, 0xd3, 0x60, 0x17 } };

/* Kernel headers of the floor version lack some of these. */
#define MAGIC_9P    0x01021997
#define MAGIC_CEPH  0x00c36400
#define MAGIC_CIFS  0xff534d42
#define MAGIC_SMB2  0xfe534d42
#define MAGIC_GFS2  0x01161970
#define MAGIC_OCFS2 0x7461636f

static const struct {
        uint32_t magic;
        const char *name;
} refused_file_systems[] = {
        { NFS_SUPER_MAGIC, "NFS" },
        { FUSE_SUPER_MAGIC, "FUSE" },
        { OVERLAYFS_SUPER_MAGIC, "overlay" },
        { MAGIC_9P, "9p" },
        { MAGIC_CEPH, "CephFS" },
        { MAGIC_CIFS, "CIFS" },
        { MAGIC_SMB2, "SMB" },
        { MAGIC_GFS2, "GFS2" },
        { MAGIC_OCFS2, "OCFS2" },
};

/* Who we run as, for sentences about permissions. */
static const char *own_user(char ret[static 64]) {
        struct passwd buffer, *pw = NULL;
        char strings[4096];

        if (getpwuid_r(geteuid(), &buffer, strings, sizeof(strings), &pw) == 0 && pw)
                (void) snprintf(ret, 64, "%s", pw->pw_name);
        else
                (void) snprintf(ret, 64, "%u", (unsigned) geteuid());
        return ret;
}

static int refuse_access(const char *what, const char *path, int error, char **ret_message) {
        char user[64];

        if (error == -EACCES || error == -EPERM)
                return refuse_with(ret_message, error,
                        "Cannot %s the store %s as user %s: %s. Make the directory that user's: chown -R %s: %s", what,
                        path, own_user(user), strerror(-error), user, path);
        if (error == -EROFS)
                return refuse_with(ret_message, error,
                        "Cannot %s the store %s: it lies on a read-only file system, or the unit lacks "
                        "ReadWritePaths=%s",
                        what, path, path);
        return refuse_with(ret_message, error, "Cannot %s the store %s: %s", what, path, strerror(-error));
}

static int check_file_system(struct file_store *store, char **ret_message) {
        struct statfs fs;

        if (fstatfs(store->fd, &fs) < 0)
                return refuse_access("examine", store->path, -errno, ret_message);

        for (size_t i = 0; i < ELEMENTSOF(refused_file_systems); i++)
                if (refused_file_systems[i].magic == (uint32_t) fs.f_type)
                        return refuse_with(ret_message, -EOPNOTSUPP,
                                "The store %s lies on a %s file system, which cannot keep images safely. Move it to a "
                                "local file system (ext4, xfs, btrfs)",
                                store->path, refused_file_systems[i].name);
        return 0;
}

/* Only what may stand in a fresh directory or is our own half-made beginning. */
static int check_is_empty(struct file_store *store, char **ret_message) {
        static const char *const known[] = { ".", "..", "lost+found", "images", "proxies", ".store.json.spare" };
        DIR *directory = directory_open(store->fd, ".");
        struct dirent *entry;
        int r = 0;

        if (!directory)
                return -errno;

        while (r >= 0 && (entry = readdir(directory))) {
                bool found = false;

                for (size_t i = 0; i < ELEMENTSOF(known); i++)
                        found = found || strcmp(entry->d_name, known[i]) == 0;
                if (!found)
                        r = refuse_with(ret_message, -EEXIST,
                                "%s is no store (it has no " STORE_RECORD_NAME
                                ") and holds \"%s\" already. Give the store an empty directory",
                                store->path, entry->d_name);
        }
        closedir(directory);
        return r;
}

static int make_store(struct file_store *store, sd_id128_t machine_id, struct store_record *ret, char **ret_message) {
        struct store_record record = { .machine_id = machine_id };
        int r;

        r = check_is_empty(store, ret_message);
        if (r < 0)
                return r;
        r = store_file_look_at_directory(store->fd, &record.directory_inode, &record.directory_born_nsec);
        if (r < 0)
                return refuse_access("examine", store->path, r, ret_message);
        r = sd_id128_randomize(&record.uuid);
        if (r < 0)
                return refuse_with(
                        ret_message, r, "Cannot make an id for the store %s: %s", store->path, strerror(-r));

        if (mkdirat(store->fd, "images", 0700) < 0 && errno != EEXIST)
                return refuse_access("write to", store->path, -errno, ret_message);
        /* Twice: the second time makes the spare, see store-file-record.c. */
        r = store_record_save(store->fd, &record);
        if (r >= 0)
                r = store_record_save(store->fd, &record);
        if (r < 0)
                return refuse_access("write to", store->path, r, ret_message);

        *ret = record;
        return 0;
}

/* The store's record must name the directory that it lies in, see store-file-check.c. */
static int check_is_no_copy(struct file_store *store, struct store_record *record, char **ret_message) {
        uint64_t inode, born_nsec;
        int r;

        r = store_file_look_at_directory(store->fd, &inode, &born_nsec);
        if (r < 0)
                return refuse_access("examine", store->path, r, ret_message);

        if (record->directory_inode == 0) {
                record->directory_inode = inode;
                record->directory_born_nsec = born_nsec;
                r = store_record_save(store->fd, record);
                return r < 0 ? refuse_access("write to", store->path, r, ret_message) : 0;
        }

        if (record->directory_inode == inode &&
                (record->directory_born_nsec == born_nsec || record->directory_born_nsec == 0 || born_nsec == 0))
                return 0;
        return refuse_with(ret_message, -EXDEV,
                "The store %s is a copy: its record belongs to another directory. If the original is gone for good, "
                "write 0 as \"directory-inode\" into %s/" STORE_RECORD_NAME
                " to adopt the copy. If the original is to "
                "be served, too, give the copy another \"uuid\" there besides",
                store->path, store->path);
}

static int load_or_make(struct file_store *store, char **ret_message) {
        struct store_record record;
        sd_id128_t machine_id;
        int r;

        r = sd_id128_get_boot(&store->boot_id);
        if (r < 0)
                return refuse_with(ret_message, r, "Cannot read this machine's boot id: %s", strerror(-r));
        r = sd_id128_get_machine_app_specific(store_app_id, &machine_id);
        if (r < 0)
                return refuse_with(ret_message, r,
                        "This machine has no id (/etc/machine-id: %s), and a store belongs to one machine. Run "
                        "systemd-machine-id-setup",
                        strerror(-r));

        r = store_record_load(store->fd, store->path, &record, ret_message);
        if (r == -ENOENT)
                r = make_store(store, machine_id, &record, ret_message);
        if (r < 0) {
                if (!*ret_message)
                        return refuse_access("read", store->path, r, ret_message);
                return r;
        }

        if (!sd_id128_equal(record.machine_id, machine_id))
                return refuse_with(ret_message, -EREMOTE,
                        "The store %s belongs to another machine. If that one is gone for good, write %s as "
                        "\"machine-id\" into %s/" STORE_RECORD_NAME,
                        store->path, SD_ID128_TO_STRING(machine_id), store->path);

        r = check_is_no_copy(store, &record, ret_message);
        if (r < 0)
                return r;

        store->uuid = record.uuid;
        store->error_epoch = record.error_epoch;
        return 0;
}

static struct store *file_close(struct store *s) {
        struct file_store *store = FILE_STORE(s);

        if (!store)
                return NULL;

        store_file_sums_stop(store);
        safe_close(store->watch_fd);
        safe_close(store->proxies_fd);
        safe_close(store->images_fd);
        safe_close(store->fd);
        pthread_mutex_destroy(&store->mutex);
        free(store->path);
        free(store);
        return NULL;
}
DEFINE_CLEANUP(struct store *, file_close);

static int file_open(const struct store_how *how, struct store **ret, char **ret_message) {
        _cleanup_(file_closep) struct store *owned = NULL;
        struct file_store *store;
        int r;

        store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        *store = (struct file_store){
                .store.ops = &store_file_ops,
                .how = *how,
                .fd = -EBADF,
                .images_fd = -EBADF,
                .proxies_fd = -EBADF,
                .watch_fd = -EBADF,
        };
        pthread_mutex_init(&store->mutex, NULL);
        TAILQ_INIT(&store->images);
        owned = &store->store;
        store_file_epoch_init(store);
        store_file_at_once_init(store);
        store->path = strdup(how->path);
        if (!store->path)
                return -ENOMEM;
        store->how.path = store->path;

        if (mkdir(store->path, 0700) < 0 && errno != EEXIST)
                return refuse_access("make", store->path, -errno, ret_message);
        store->fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->fd < 0)
                return refuse_access("open", store->path, -errno, ret_message);
        r = check_file_system(store, ret_message);
        if (r < 0)
                return r;

        /* Not there in a store that nobody has opened yet. */
        store->proxies_fd = openat(store->fd, "proxies", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = store_file_lock(store, store->fd, LOCK_EX, NULL);
        if (r < 0)
                return refuse_access("lock", store->path, r, ret_message);
        r = load_or_make(store, ret_message);
        (void) flock(store->fd, LOCK_UN);
        if (r < 0)
                return r;

        store->images_fd = openat(store->fd, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->images_fd < 0)
                return refuse_access("open images/ of", store->path, -errno, ret_message);
        if (faccessat(store->images_fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) < 0)
                return refuse_access("write to images/ of", store->path, -errno, ret_message);
        r = store_file_sweep(store);
        if (r < 0)
                return refuse_access("tidy", store->path, r, ret_message);
        if (mkdirat(store->fd, "proxies", 0700) < 0 && errno != EEXIST)
                return refuse_access("write to", store->path, -errno, ret_message);
        if (store->proxies_fd < 0)
                store->proxies_fd = openat(store->fd, "proxies", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (store->proxies_fd < 0)
                return refuse_access("open proxies/ of", store->path, -errno, ret_message);

        store->mount_instance = store_file_mount_instance(store->fd);
        if (how->ring && how->jobs)
                store_file_check_start(store);
        if (how->ring && how->record_changed) {
                r = store_file_watch_start(store);
                if (r < 0)
                        how->complain(NULL, "Records cannot be watched (fs.inotify.max_user_instances?): a lease that "
                                            "is taken over "
                                            "through another proxy is noticed late");
        }
        *ret = TAKE_PTR(owned);
        return 0;
}

static void file_get_identity(const struct store *s, struct store_identity *ret) {
        const struct file_store *store = (const struct file_store *) s;

        *ret = (struct store_identity){
                .boot_id = store->boot_id,
                .uuid = store->uuid,
                .mount_instance = store->mount_instance,
                .error_epoch = atomic_load(&store->error_epoch),
        };
}

static int file_meeting_place(const struct store *s) {
        return ((const struct file_store *) s)->proxies_fd;
}

static int file_get_capacity(const struct store *s, uint64_t *ret_total, uint64_t *ret_free) {
        const struct file_store *store = (const struct file_store *) s;
        struct statvfs fs;

        if (fstatvfs(store->fd, &fs) < 0)
                return -errno;

        *ret_total = (uint64_t) fs.f_blocks * fs.f_frsize;
        *ret_free = (uint64_t) fs.f_bavail * fs.f_frsize;
        return 0;
}

const struct store_ops store_file_ops = {
        .type = "file",
        .open = file_open,
        .close = file_close,
        .list = store_file_list,
        .create = store_file_create,
        .add_checksums = store_file_add_checksums,
        .look_at_care = store_file_look_at_care,
        .set_limits = store_file_set_limits,
        .get_limits = store_file_get_limits,
        .scrub_begin = store_file_scrub_begin,
        .scrub_piece = store_file_scrub_piece,
        .scrub_end = store_file_scrub_end,
        .remove = store_file_remove,
        .rename = store_file_rename,
        .list_snapshots = store_file_list_snapshots,
        .remove_snapshot = store_file_remove_snapshot,
        .copy_begin = store_file_copy_begin,
        .copy_prepare = store_file_copy_prepare,
        .copy_whole = store_file_copy_whole,
        .copy_piece = store_file_copy_piece,
        .copy_sync = store_file_copy_sync,
        .copy_commit = store_file_copy_commit,
        .copy_free = store_file_copy_free,
        .open_image = store_file_open_image,
        .change_lease = store_file_change_lease,
        .resize = store_file_resize,
        .get_size = store_file_get_size,
        .get_key = store_file_get_key,
        .hold = store_file_hold,
        .let_go = store_file_let_go,
        .look_at_holder = store_file_look_at_holder,
        .meeting_place = file_meeting_place,
        .close_image = store_file_close_image,
        .submit = store_file_submit,
        .get_identity = file_get_identity,
        .get_capacity = file_get_capacity,
};
