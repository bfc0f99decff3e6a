/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the generator makes of imagetab, fstab and crypttab: right ones, and what people mistype. */

#include "complain.h"
#include "generator.h"
#include "rehearsal.h"
#include "scratch.h"
#include "unit-name.h"

static char paths_text[6][96];
static const struct generator_paths paths = {
        .imagetab = paths_text[0],
        .fstab = paths_text[1],
        .crypttab = paths_text[2],
        .images = paths_text[3],
        .normal = paths_text[4],
        .early = paths_text[5],
};
static char *said;
static size_t said_size;

static void generate(const char *imagetab, const char *fstab, const char *crypttab) {
        static const char *const names[] = { "imagetab", "fstab", "crypttab", "images.d", "normal", "early" };
        FILE *file;

        scratch_make();
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                (void) snprintf(paths_text[i], sizeof(paths_text[i]), "%s/%s", scratch, names[i]);
        if (imagetab)
                scratch_file("imagetab", imagetab);
        if (fstab)
                scratch_file("fstab", fstab);
        if (crypttab)
                scratch_file("crypttab", crypttab);
        scratch_file("images.d/web-part1.json", "{}");
        scratch_file("normal/.keep", "");
        scratch_file("early/.keep", "");

        file = open_memstream(&said, &said_size);
        ASSERT_TRUE(file != NULL);
        complain_to(file);
        ASSERT_OK(generator_run(&paths));
        complain_to(NULL);
        ASSERT_EQ(fclose(file), 0);
}

static void done(void) {
        free(TAKE_PTR(said));
        scratch_remove();
}

/* The contents of a file below scratch; NULL: there is none. Valid until the next call. */
static const char *contents(const char *relative) {
        static char text[4096];
        FILE *file = fopen(scratch_path(relative), "re");
        size_t n;

        if (!file)
                return NULL;
        n = fread(text, 1, sizeof(text) - 1, file);
        text[n] = 0;
        ASSERT_EQ(fclose(file), 0);
        return text;
}

static void expect(const char *relative, const char *part) {
        const char *text = contents(relative);

        if (!text)
                TEST_FAIL("there is no %s; said was:\n%s", relative, said);
        if (!strstr(text, part))
                TEST_FAIL("%s has no \"%s\":\n%s", relative, part, text);
}

static void expect_said(const char *part) {
        if (!strstr(said, part))
                TEST_FAIL("not said: \"%s\"; said was:\n%s", part, said);
}

static bool there(const char *relative) {
        struct stat st;

        return lstat(scratch_path(relative), &st) == 0;
}

static void imagetab(void) {
        generate("# comment\n\ndata\nmy-data nofail\nlater  noauto,x-systemd.device-timeout=45s,x-mine=1\n\tlast\t-\n",
                NULL, NULL);
        ASSERT_STREQ(said, "");
        expect("normal/dev-blockstore-data.device.d/50-blockstore.conf",
                "Wants=image@data.target\nAfter=image@data.target\n");
        expect("normal/dev-blockstore-data.device.d/50-blockstore.conf", "JobRunningTimeoutSec=30s\n");
        expect("normal/dev-blockstore-my\\x2ddata.device.d/50-blockstore.conf", "After=image@my-data.target\n");
        expect("normal/image@my-data.service.d/50-blockstore.conf",
                "Before=blockdev@dev-blockstore-my\\x2ddata.target\n");
        expect("normal/dev-blockstore-later.device.d/50-blockstore.conf", "JobRunningTimeoutSec=45s\n");
        ASSERT_TRUE(there("normal/multi-user.target.wants/blockstore.target"));
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@data.target"));
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@my-data.target"));
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@last.target"));
        ASSERT_FALSE(there("normal/blockstore.target.wants/image@later.target"));
        expect("normal/image@data.target.d/50-blockstore.conf", "Before=blockstore.target\n");
        ASSERT_FALSE(there("normal/image@my-data.target.d/50-blockstore.conf"));
        done();
}

static void imagetab_typos(void) {
        generate("da/ta\n-x\ndata nofial\ndata\nvm noauto, nofail\nro1 readonly\nt x-systemd.device-timeout=5s%\n",
                NULL, NULL);
        expect_said("imagetab:1: \"da/ta\" cannot be the name");
        expect_said("imagetab:2: \"-x\" cannot be the name");
        expect_said("imagetab:3: \"nofial\" is no option of imagetab; the nearest is \"nofail\"");
        expect_said("imagetab:4: data stands in line 3 already");
        expect_said("imagetab:5: Expected \"NAME OPTIONS\", found 3 fields");
        expect_said("imagetab:6: \"readonly\" concerns the image itself");
        expect_said("imagetab:7: ");
        /* A mistyped option costs neither the image nor the boot. */
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@data.target"));
        ASSERT_FALSE(there("normal/image@data.target.d/50-blockstore.conf"));
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@ro1.target"));
        ASSERT_FALSE(there("normal/image@ro1.target.d/50-blockstore.conf"));
        ASSERT_FALSE(there("normal/blockstore.target.wants/image@vm.target"));
        done();
}

static void nothing(void) {
        generate(NULL, NULL, NULL);
        ASSERT_STREQ(said, "");
        ASSERT_FALSE(there("normal/multi-user.target.wants"));
        done();
        generate("", "/dev/sda1 / ext4 defaults 0 1\nUUID=0 none swap sw 0 0\n", "root /dev/sda2 none luks\n");
        ASSERT_STREQ(said, "");
        ASSERT_FALSE(there("normal/multi-user.target.wants"));
        ASSERT_FALSE(there("normal/-.mount.d"));
        done();
}

static void fstab(void) {
        generate(NULL,
                "/dev/blockstore/data /srv/my\\040data ext4 _netdev 0 2\n"
                "/dev/blockstore/web-part1 /www ext4 defaults,_netdev 0 0\n"
                "/dev/blockstore/disk-part2 /disk ext4 noauto,_netdev 0 0\n",
                NULL);
        ASSERT_STREQ(said, "");
        expect("normal/srv-my\\x20data.mount.d/50-blockstore.conf",
                "Wants=image@data.target\nAfter=image@data.target image@data.service\n");
        expect("normal/www.mount.d/50-blockstore.conf",
                "After=image@web-part1.target"); /* an image, not a partition */
        expect("normal/disk.mount.d/50-blockstore.conf", "After=image@disk.target");
        expect("normal/dev-blockstore-disk\\x2dpart2.device.d/50-blockstore.conf", "After=image@disk.target\n");
        expect("normal/image@disk.service.d/50-blockstore.conf",
                "Before=blockdev@dev-blockstore-disk\\x2dpart2.target\n");
        ASSERT_FALSE(there("normal/multi-user.target.wants"));
        ASSERT_FALSE(there("early/www.mount"));
        done();
}

static void fstab_typos(void) {
        generate(NULL,
                "/dev/blockstore/data /srv ext4 noatime,x=%i 0 2\n"
                "/dev/blockstore/data /srv ext4 defaults 0 2\n"
                "/dev/blockstore/da+ta /plus ext4 _netdev 0 0\n"
                "/dev/blockstore/../sda /dots ext4 defaults 0 0\n"
                "/dev/blockstore/root / ext4 _netdev 0 0\n"
                "/dev/blockstore/sw none swap sw 0 0\n"
                "/dev/blockstore/x relative ext4 _netdev 0 0\n"
                "/dev/blockstore/y /a\\012b ext4 _netdev 0 0\n"
                "/dev/blockstore/z\n",
                NULL);
        expect_said("fstab:1: /srv is on an image, which needs the network");
        expect("early/srv.mount",
                "What=/dev/blockstore/data\nWhere=/srv\nType=ext4\nOptions=noatime,x=%%i,_netdev,nofail\n");
        expect("early/srv.mount", "Requires=systemd-fsck@dev-blockstore-data.service\n");
        expect_said("fstab:2: /srv stands in an earlier line already");
        expect_said("fstab:3: \"da+ta\" cannot be the name of an image");
        expect("normal/dev-blockstore-da\\x2bta.device.d/50-blockstore.conf",
                "JobRunningTimeoutSec=1s\nAfter=sysinit.target\n");
        expect_said("fstab:4: \"../sda\" cannot be the name");
        expect("early/dots.mount", "nofail");
        expect_said("fstab:5: / cannot be on an image");
        ASSERT_FALSE(there("normal/-.mount.d"));
        ASSERT_TRUE(strstr(contents("normal/dev-blockstore-root.device.d/50-blockstore.conf"), "After=") == NULL);
        expect("early/dev-blockstore-sw.swap", "[Swap]\nWhat=/dev/blockstore/sw\nOptions=sw,nofail\n");
        expect("early/dev-blockstore-sw.swap", "DefaultDependencies=no\n");
        expect("normal/dev-blockstore-sw.swap.d/50-blockstore.conf", "After=image@sw.target image@sw.service\n");
        expect_said("fstab:7: \"relative\" is not an absolute path");
        expect_said("fstab:8: A control character");
        expect_said("fstab:9: \"\" is not an absolute path");
        done();
}

static void crypttab(void) {
        generate(NULL, NULL,
                "my-secret /dev/blockstore/data /key luks,_netdev\nearly /dev/blockstore/e /key luks,_netdevice\n");
        expect("normal/systemd-cryptsetup@my\\x2dsecret.service.d/50-blockstore.conf",
                "After=image@data.target image@data.service\n");
        expect("normal/image@data.service.d/50-blockstore.conf", "Before=blockdev@dev-blockstore-data.target\n");
        expect_said("crypttab:2: \"early\" is on an image, and needs the option _netdev");
        /* Nothing that would make a cycle of it, nor a long wait. */
        ASSERT_FALSE(there("normal/systemd-cryptsetup@early.service.d"));
        ASSERT_FALSE(there("normal/image@e.service.d"));
        ASSERT_TRUE(strstr(contents("normal/dev-blockstore-e.device.d/50-blockstore.conf"), "After=") == NULL);
        done();
}

static void hostile(void) {
        static char line[TABLE_LINE_MAX * 2], text[sizeof(line) + 64];

        memset(line, 'a', sizeof(line) - 1);
        (void) snprintf(text, sizeof(text), "%s\nok1\n", line);
        generate(text, NULL, NULL);
        expect_said("imagetab:1: The line has more than");
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@ok1.target"));
        done();

        generate("a"
                 "\x01"
                 "b\nok2\r\nno-newline",
                "/dev/blockstore/a /x ext4\v _netdev", "\\\\\\ /dev/blockstore/\\ \\");
        expect_said("imagetab:1: ");
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@ok2.target"));
        ASSERT_TRUE(there("normal/blockstore.target.wants/image@no-newline.target"));
        done();
}

static void unit_names(void) {
        char name[256], small[8];

        ASSERT_OK(unit_name_from_path("/", ".mount", name, sizeof(name)));
        ASSERT_STREQ(name, "-.mount");
        ASSERT_OK(unit_name_from_path("//a//b-c/.d/", ".mount", name, sizeof(name)));
        ASSERT_STREQ(name, "a-b\\x2dc-.d.mount");
        ASSERT_OK(unit_name_from_path("/.a/\xc3\xa4", ".mount", name, sizeof(name)));
        ASSERT_STREQ(name, "\\x2ea-\\xc3\\xa4.mount");
        ASSERT_ERROR(unit_name_from_path("a", "", name, sizeof(name)), EINVAL);
        ASSERT_ERROR(unit_name_from_path("/a/../b", "", name, sizeof(name)), EINVAL);
        ASSERT_ERROR(unit_name_from_path("/abcdefgh", "", small, sizeof(small)), ENAMETOOLONG);
        ASSERT_OK(unit_name_escape("a/b c", name, sizeof(name)));
        ASSERT_STREQ(name, "a-b\\x20c");
}

/* The same complaints, and nothing is written where units are. */
static void rehearsal(void) {
        const char *fstab = "/dev/blockstore/a /srv ext4 noatime 0 0\n/dev/blockstore/b /srv ext4 noatime 0 0\n";
        _cleanup_free_ char *before = NULL;
        FILE *file;

        generate("a nofial\n", fstab, NULL);
        before = TAKE_PTR(said);
        done();

        generate(NULL, NULL, NULL);
        free(TAKE_PTR(said));
        scratch_file("imagetab", "a nofial\n");
        scratch_file("fstab", fstab);
        file = open_memstream(&said, &said_size);
        ASSERT_TRUE(file != NULL);
        ASSERT_OK(generator_rehearse(&paths, file));
        ASSERT_EQ(fclose(file), 0);
        expect_said("imagetab:1: \"nofial\"");
        expect_said("fstab:2: /srv stands in an earlier line already.");
        /* They name files below scratch, which has another name each time. */
        ASSERT_EQ(strlen(said), strlen(before));
        ASSERT_FALSE(there("early/srv.mount"));
        done();
}

TEST_MAIN(TEST(imagetab), TEST(imagetab_typos), TEST(nothing), TEST(fstab), TEST(fstab_typos), TEST(crypttab),
        TEST(hostile), TEST(unit_names), TEST(rehearsal));
