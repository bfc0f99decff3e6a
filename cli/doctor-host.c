/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The rest of the machine: clock, room below /run, users and directories. */

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>

#include "doctor.h"

#define RUN_BYTES_MIN (UINT64_C(4) * 1024 * 1024) /* attachments, marks, sockets; and the journal's */
#define RUN_FILES_MIN 256U

/* Tickets are checked by proxies, with clocks of theirs; a host whose clock is off has logs that fit nothing, and may refuse what is not valid yet. How far off cannot be told from here. */
void check_clock(struct doctor *d) {
        struct timex timex = {};
        struct stat st;
        int r;

        /* No file of ours can be newer than now. A day is for time zones of careless builders. */
        if (stat("/proc/self/exe", &st) == 0 && st.st_ctime > time(NULL) + 24 * 3600) {
                found(d, FINDING_ERROR, NULL, "timedatectl set-ntp true",
                        "The clock is wrong: it is earlier than the installation of this program.");
                return;
        }

        r = adjtimex(&timex);
        if (r < 0)
                found(d, FINDING_SKIPPED, NULL, NULL, "The state of the clock cannot be told: %s.", strerror(errno));
        else if (r == TIME_ERROR || (timex.status & STA_UNSYNC))
                found(d, FINDING_WARNING, NULL, doctor_in_container() ? NULL : "timedatectl set-ntp true",
                        "The clock is not kept in time by NTP: times in the logs of hosts and proxies do not fit.");
        else
                found(d, FINDING_OK, NULL, NULL, "The clock is synchronised.");
}

void check_run_space(struct doctor *d) {
        struct statvfs fs;
        uint64_t bytes;

        if (statvfs("/run", &fs) < 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "/run cannot be looked at: %s.", strerror(errno));
                return;
        }

        bytes = (uint64_t) fs.f_bavail * fs.f_frsize;
        if (bytes < RUN_BYTES_MIN || (fs.f_files > 0 && fs.f_favail < RUN_FILES_MIN))
                found(d, FINDING_ERROR, "/run", "mount -o remount,size=20%,nr_inodes=800k /run",
                        "/run has %ju KiB and %ju files left: attachments cannot be noted there, and images not be "
                        "attached.",
                        (uintmax_t) bytes / 1024, (uintmax_t) fs.f_favail);
        else
                found(d, FINDING_OK, "/run", NULL, "/run has %ju MiB left.", (uintmax_t) bytes >> 20);
}

void check_users(struct doctor *d) {
        static const char *const users[] = { "blockstore-worker", "blockstore-proxy" };
        bool complete = true;

        for (unsigned i = 0; i < ELEMENTSOF(users); i++)
                if (!getpwnam(users[i])) {
                        complete = false;
                        found(d, FINDING_ERROR, users[i], "systemd-sysusers blockstore.conf",
                                "The user does not exist.");
                }
        if (!getgrnam("blockstore")) {
                complete = false;
                found(d, FINDING_ERROR, "blockstore", "systemd-sysusers blockstore.conf", "The group does not exist.");
        }
        if (complete)
                found(d, FINDING_OK, NULL, NULL, "The users and the group exist.");
}

void check_group_members(struct doctor *d) {
        struct group *group = getgrnam("blockstore");
        char command[DOCTOR_COMMAND_MAX];

        if (!group) {
                found(d, FINDING_SKIPPED, NULL, NULL, "There is no group blockstore.");
                return;
        }

        for (char **member = group->gr_mem; *member; member++) {
                snprintf(command, sizeof command, "gpasswd -d %s blockstore", *member);
                found(d, FINDING_WARNING, *member, command,
                        "This member of the group blockstore may read and write every image that is attached here, "
                        "below file systems and their rights.");
        }
        if (!*group->gr_mem)
                found(d, FINDING_OK, NULL, NULL, "Only root has access to the NBD sockets of images.");
}

void check_directories(struct doctor *d) {
        static const struct {
                const char *path;
                mode_t mode, mask;
        } directories[] = {
                { "/run/blockstore", 0755, 0777 },
                { "/run/blockstore/image", 0755, 0777 },
                { "/run/blockstore/query", 0755, 0777 },
                { "/run/blockstore/worker", 0755, 0777 },
                { "/run/blockstore/options", 0750, 0777 },
                { "/etc/blockstore/proxyd", 0750, 0777 },
        };
        bool complete = true;

        for (unsigned i = 0; i < ELEMENTSOF(directories); i++) {
                struct stat st;

                if (stat(directories[i].path, &st) == 0 && (st.st_mode & directories[i].mask) == directories[i].mode)
                        continue;
                complete = false;
                found(d, FINDING_ERROR, directories[i].path, "systemd-tmpfiles --create blockstore.conf",
                        "The directory is not there, or not with mode %04o.", (unsigned) directories[i].mode);
        }
        if (complete)
                found(d, FINDING_OK, NULL, NULL, "The directories are there.");
}
