/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses a device, read from a made-up /proc and /sys. */

#include "holders.h"
#include "scratch.h"

static char proc[64], sys[64];
static const struct holders_roots roots = { .proc = proc, .sys = sys };

static int find(char *text, size_t size, bool *ret_udev) {
        return holders_find(&roots, 3, "data", text, size, ret_udev);
}

static void begin(void) {
        (void) snprintf(scratch, sizeof(scratch), "/tmp/blockstore-test-XXXXXX");
        scratch_make();
        (void) snprintf(proc, sizeof(proc), "%s/proc", scratch);
        (void) snprintf(sys, sizeof(sys), "%s/sys", scratch);
        scratch_file("sys/block/nbd3/dev", "43:96\n");
        scratch_file("sys/block/nbd3/nbd3p1/dev", "43:97\n");
        scratch_file("sys/block/nbd3/queue/io_timeout", "500\n");
        scratch_file("sys/block/nbd31/dev", "43:992\n");
        scratch_file("proc/1/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n");
        scratch_file("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
}

static void nobody(void) {
        char text[256] = "old";
        bool udev = true;

        begin();
        ASSERT_EQ(find(text, sizeof(text), &udev), 0);
        ASSERT_STREQ(text, "");
        ASSERT_FALSE(udev);
        scratch_remove();
}

static void mounts(void) {
        char text[256];

        begin();
        scratch_file("proc/1/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
                                         "30 22 43:96 / /mnt/with\\040space rw shared:2 master:1 - ext4 /dev/nbd3 rw\n"
                                         "31 22 43:97 / /part rw - ext4 /dev/nbd3p1 rw\n"
                                         "32 22 0:44 / /btrfs rw - btrfs /dev/blockstore/data rw\n"
                                         "33 22 0:45 / /other rw - btrfs /dev/blockstore/data2 rw\n"
                                         "34 22 43:992 / /wrong rw - ext4 /dev/nbd31 rw\n"
                                         "nonsense\n"
                                         "35 22 43:96\n");
        ASSERT_EQ(find(text, sizeof(text), NULL), 3);
        ASSERT_STREQ(text, "mounted on /mnt/with space, mounted on /part, mounted on /btrfs");
        scratch_remove();
}

static void swaps_and_stacks(void) {
        char text[256];

        begin();
        scratch_file("proc/swaps", "Filename Type Size Used Priority\n/dev/nbd3p1 partition 1 0 -2\n");
        scratch_link("sys/block/nbd3/holders/dm-0", "../../dm-0");
        scratch_file("sys/block/dm-0/dm/name", "vg-root\n");
        scratch_link("sys/block/nbd3/nbd3p1/holders/md127", "../../../md127");
        ASSERT_EQ(find(text, sizeof(text), NULL), 3);
        ASSERT_STREQ(text, "used by dm-0 (vg-root), used by md127, swap");
        scratch_remove();
}

/* LUKS on a partition, a volume on that, a loop device beside; and who uses them. */
static void what_is_stacked(void) {
        struct holder holders[HOLDERS_MAX];
        char text[512];
        int n;

        begin();
        scratch_link("sys/block/nbd3/nbd3p1/holders/dm-0", "x");
        scratch_file("sys/block/dm-0/dev", "254:0\n");
        scratch_file("sys/block/dm-0/dm/name", "secret\n");
        scratch_link("sys/block/dm-0/holders/dm-1", "x");
        scratch_file("sys/block/dm-1/dev", "254:1\n");
        scratch_file("sys/block/dm-1/dm/name", "vg-data\n");
        /* It goes in a circle. */
        scratch_link("sys/block/dm-1/holders/dm-0", "x");
        scratch_file("sys/block/loop7/dev", "7:7\n");
        scratch_file("sys/block/loop7/loop/backing_file", "/dev/blockstore/data\n");
        scratch_file("sys/block/loop8/dev", "7:8\n");
        scratch_file("sys/block/loop8/loop/backing_file", "/srv/data\n");
        scratch_file("proc/1/mountinfo", "22 1 254:1 / /srv rw - ext4 /dev/mapper/vg-data rw\n"
                                         "23 1 7:7 / /loop rw - ext4 /dev/loop7 rw\n");
        scratch_file("proc/77/comm", "dd\n");
        scratch_link("proc/77/fd/4", "/dev/mapper/secret");

        n = holders_list(&roots, 3, "data", holders, HOLDERS_MAX, NULL);
        ASSERT_EQ(n, 7);
        ASSERT_EQ(holders[0].kind, HOLDER_LOOP);
        ASSERT_STREQ(holders[0].by, "loop7");
        ASSERT_EQ(holders[1].kind, HOLDER_MAPPED);
        ASSERT_STREQ(holders[1].device, "nbd3p1");
        ASSERT_STREQ(holders[1].by, "dm-0");
        ASSERT_STREQ(holders[1].name, "secret");
        ASSERT_STREQ(holders[2].by, "dm-1");
        ASSERT_STREQ(holders[2].device, "dm-0");
        ASSERT_EQ(holders[4].kind, HOLDER_MOUNT);
        ASSERT_STREQ(holders[4].device, "dm-1");
        ASSERT_STREQ(holders[4].path, "/srv");
        ASSERT_STREQ(holders[5].path, "/loop");
        ASSERT_EQ(holders[6].kind, HOLDER_PROCESS);
        ASSERT_EQ(holders[6].pid, 77U);
        ASSERT_STREQ(holders[6].device, "dm-0");

        ASSERT_EQ(find(text, sizeof(text), NULL), 7);
        ASSERT_STREQ(text,
                "used by loop7, used by dm-0 (secret), used by dm-1 (vg-data), used by dm-0 (secret), and others");
        scratch_remove();
}

static void processes(void) {
        char text[256];
        bool udev;

        begin();
        scratch_file("proc/100/comm", "fio\n");
        scratch_link("proc/100/fd/0", "/dev/null");
        scratch_link("proc/100/fd/5", "/dev/nbd3");
        scratch_link("proc/100/fd/6", "/dev/nbd3");
        scratch_file("proc/200/comm", "cat\n");
        scratch_link("proc/200/fd/1", "/dev/nbd31");
        scratch_link("proc/200/fd/2", "/dev/nbd3 (deleted)");
        scratch_file("proc/300/comm", "(udev-worker)\n");
        scratch_link("proc/300/fd/9", "/dev/nbd3p1");
        ASSERT_EQ(find(text, sizeof(text), &udev), 1);
        ASSERT_STREQ(text, "open in fio[100]");
        ASSERT_FALSE(udev);

        ASSERT_EQ(remove(scratch_path("proc/100/fd/5")), 0);
        ASSERT_EQ(remove(scratch_path("proc/100/fd/6")), 0);
        ASSERT_EQ(find(text, sizeof(text), &udev), 0);
        ASSERT_TRUE(udev);
        scratch_remove();
}

static void many(void) {
        char text[512], small[20], name[64];

        begin();
        for (int i = 0; i < 9; i++) {
                (void) snprintf(name, sizeof(name), "sys/block/nbd3/holders/dm-%d", i);
                scratch_link(name, "x");
        }
        ASSERT_EQ(find(text, sizeof(text), NULL), 9);
        ASSERT_TRUE(strstr(text, ", and others") != NULL);

        memset(small, 'x', sizeof(small));
        ASSERT_EQ(find(small, sizeof(small), NULL), 9);
        ASSERT_TRUE(memchr(small, 0, sizeof(small)) != NULL);
        ASSERT_ERROR(find(small, 0, NULL), EINVAL);
        scratch_remove();
}

TEST_MAIN(TEST(nobody), TEST(mounts), TEST(swaps_and_stacks), TEST(what_is_stacked), TEST(processes), TEST(many));
