/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "attachment.h"
#include "cleanup.h"
#include "scratch.h"

static struct ivbs_lease_reply reply_of(uint8_t seed) {
        struct ivbs_lease_reply reply = {
                .size = UINT64_C(5) << 30, .block_size = 4096, .generation = UINT64_MAX - seed
        };

        for (size_t i = 0; i < IVBS_UUID_SIZE; i++) {
                reply.uuid[i] = (uint8_t) (seed + i);
                reply.token[i] = (uint8_t) (seed + 100 + i);
        }
        return reply;
}

static struct attachment attached(const char *name) {
        struct ivbs_lease_reply reply = reply_of(1);
        struct attachment a = {};

        a.directory = scratch;
        strcpy(a.name, name);
        attachment_set_modern(&a, UINT64_MAX, &reply);
        return a;
}

static void round_trip(void) {
        static const char *const names[] = { "vm1", "a \"quoted\" \\name", "Stra\xc3\x9f" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                struct attachment a = attached(names[i]), b = { .directory = scratch, .steal = true };
                struct stat st;

                ASSERT_OK(attachment_save(&a));
                ASSERT_OK(stat(scratch_path("attachment.json"), &st) < 0 ? -errno : 0);
                ASSERT_EQ(st.st_mode & 07777, 0600U);
                strcpy(b.name, names[i]);
                ASSERT_EQ(attachment_load(&b), 1);
                ASSERT_TRUE(b.attached && b.modern && !b.steal && !b.read_only && !b.refuses_writes);
                ASSERT_EQ(b.size, a.size);
                ASSERT_EQ(b.block_size, a.block_size);
                ASSERT_EQ(b.generation, a.generation);
                ASSERT_EQ(b.caps, a.caps);
                ASSERT_MEMEQ(b.uuid, a.uuid, IVBS_UUID_SIZE);
                ASSERT_MEMEQ(b.token, a.token, IVBS_UUID_SIZE);
        }
        ASSERT_OK(attachment_remove(&(struct attachment){ .directory = scratch }));
        ASSERT_OK(attachment_remove(&(struct attachment){ .directory = scratch }));
}

static void nothing_kept(void) {
        struct attachment a = attached("vm1"), b = { .directory = scratch, .name = "vm1" };

        ASSERT_EQ(attachment_load(&b), 0);
        ASSERT_FALSE(b.attached);
        a.directory = b.directory = NULL;
        ASSERT_OK(attachment_save(&a));
        ASSERT_EQ(attachment_load(&b), 0);
        ASSERT_OK(attachment_remove(&a));
        a.directory = "/nonexistent/directory";
        ASSERT_ERROR(attachment_save(&a), ENOENT);
}

/* Cut at any byte, it counts as absent, and leaves what it was to fill as it was. */
static void cut_file(void) {
        struct attachment a = attached("vm1");
        char text[4096];
        size_t n;
        FILE *file;

        ASSERT_OK(attachment_save(&a));
        file = fopen(scratch_path("attachment.json"), "re");
        ASSERT_TRUE(file);
        n = fread(text, 1, sizeof(text), file);
        fclose(file);
        ASSERT_TRUE(n > 100 && n < sizeof(text));

        for (size_t length = 0; length < n; length++) {
                struct attachment b = { .directory = scratch, .name = "vm1", .steal = true }, before = b;

                file = fopen(scratch_path("attachment.json"), "we");
                ASSERT_TRUE(file);
                ASSERT_EQ(fwrite(text, 1, length, file), length);
                fclose(file);
                ASSERT_EQ(attachment_load(&b), 0);
                ASSERT_MEMEQ(&b, &before, sizeof(b));
        }
        ASSERT_OK(attachment_remove(&(struct attachment){ .directory = scratch }));
}

static void other_contents(void) {
        static const char *const texts[] = { "[]", "null", "{}", "7", "\"vm1\"", "{\"image\":7}", "\xff\xfe" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                struct attachment b = { .directory = scratch, .name = "vm1" };

                scratch_file("attachment.json", texts[i]);
                ASSERT_EQ(attachment_load(&b), 0);
                ASSERT_FALSE(b.attached);
        }
        ASSERT_OK(attachment_remove(&(struct attachment){ .directory = scratch }));
}

static void another_attachment(void) {
        struct attachment a = attached("vm1"), b = { .directory = scratch, .name = "vm2" };

        ASSERT_OK(attachment_save(&a));
        ASSERT_EQ(attachment_load(&b), 0);
        ASSERT_FALSE(b.attached);

        b = (struct attachment){ .directory = scratch, .name = "vm1", .read_only = true };
        ASSERT_EQ(attachment_load(&b), 0);
        ASSERT_FALSE(b.attached);

        a.size = 0;
        ASSERT_OK(attachment_save(&a));
        b = (struct attachment){ .directory = scratch, .name = "vm1" };
        ASSERT_EQ(attachment_load(&b), 0);
        a.size = UINT64_C(1) << 63;
        ASSERT_OK(attachment_save(&a));
        ASSERT_EQ(attachment_load(&b), 0);
        ASSERT_OK(attachment_remove(&(struct attachment){ .directory = scratch }));
}

/* There is no lease to resume at a classic server: a worker that starts again attaches again. */
static void classic_is_not_kept(void) {
        struct attachment a = attached("vm1"), b = { .directory = scratch, .name = "vm1" };

        ASSERT_OK(attachment_save(&a));
        a = (struct attachment){ .directory = scratch, .name = "vm1" };
        attachment_set_classic(&a, 1 << 20);
        ASSERT_OK(attachment_save(&a));
        ASSERT_EQ(attachment_load(&b), 0);
        ASSERT_FALSE(b.attached);
}

static void classic_uuid(void) {
        static const uint8_t zeroes[IVBS_UUID_SIZE];
        struct attachment a = { .name = "vm1" }, b = { .directory = scratch, .name = "vm1" }, c = { .name = "vm2" };

        attachment_set_classic(&a, 1 << 20);
        attachment_set_classic(&b, 2 << 20);
        attachment_set_classic(&c, 1 << 20);
        ASSERT_MEMEQ(a.uuid, b.uuid, IVBS_UUID_SIZE);
        ASSERT_TRUE(memcmp(a.uuid, c.uuid, IVBS_UUID_SIZE) != 0);
        ASSERT_TRUE(memcmp(a.uuid, zeroes, IVBS_UUID_SIZE) != 0);
        ASSERT_EQ(a.uuid[6] >> 4, 8); /* version and variant of RFC 9562 */
        ASSERT_EQ(a.uuid[8] >> 6, 2);
        ASSERT_TRUE(a.attached && !a.modern && a.caps == 0);

        /* The longest name there can be. */
        memset(c.name, 'n', IVBS_IMAGE_NAME_SIZE - 1);
        attachment_set_classic(&c, 1 << 20);
        b = c;
        b.name[IVBS_IMAGE_NAME_SIZE - 2] = 'm';
        attachment_set_classic(&b, 1 << 20);
        ASSERT_TRUE(memcmp(b.uuid, c.uuid, IVBS_UUID_SIZE) != 0);

        /* Of this very value: an upgrade must not change it, it is in device names. */
        static const uint8_t expected[IVBS_UUID_SIZE] = { 0x1a, 0x8a, 0xcc, 0xd4, 0x6f, 0x95, 0x8f, 0xfc, 0xbc, 0x27,
                0x77, 0xb6, 0xbc, 0xdc, 0x5c, 0xa6 };
        ASSERT_MEMEQ(a.uuid, expected, IVBS_UUID_SIZE);
}

static void checks(void) {
        struct ivbs_lease_reply reply = reply_of(1), other = reply_of(2);
        struct attachment fresh = { .name = "vm1" }, a = attached("vm1"), classic = { .name = "vm1" };
        char reason[256] = "";

        attachment_set_classic(&classic, reply.size);
        ASSERT_OK(attachment_check_modern(&fresh, 0, &reply, reason, sizeof(reason)));
        ASSERT_OK(attachment_check_classic(&fresh, 1, reason, sizeof(reason)));
        ASSERT_OK(attachment_check_modern(&a, UINT64_MAX, &reply, reason, sizeof(reason)));
        ASSERT_OK(attachment_check_classic(&classic, reply.size, reason, sizeof(reason)));

        ASSERT_ERROR(attachment_check_modern(&a, UINT64_MAX, &other, reason, sizeof(reason)), ESTALE);
        ASSERT_TRUE(strstr(reason, "another image"));
        other = reply;
        other.size++;
        ASSERT_ERROR(attachment_check_modern(&a, UINT64_MAX, &other, reason, sizeof(reason)), ESTALE);
        ASSERT_TRUE(strstr(reason, "another size"));
        ASSERT_ERROR(
                attachment_check_modern(&a, IVBS_CAP_FLUSH | IVBS_CAP_LEASE, &reply, reason, sizeof(reason)), ESTALE);
        ASSERT_TRUE(strstr(reason, "promised"));
        ASSERT_ERROR(attachment_check_modern(&classic, UINT64_MAX, &reply, reason, sizeof(reason)), ESTALE);
        ASSERT_ERROR(attachment_check_classic(&a, reply.size, reason, sizeof(reason)), ESTALE);
        ASSERT_TRUE(strstr(reason, "classic server"));
        ASSERT_ERROR(attachment_check_classic(&classic, reply.size - 1, reason, sizeof(reason)), ESTALE);
        ASSERT_TRUE(strstr(reason, "another size"));
}

/* Resized it is the same image; with another size for no such reason, or an older one, it is not. */
static void sizes(void) {
        struct ivbs_lease_reply reply = { .size = 1 << 20, .block_size = 4096, .generation = 1, .size_epoch = 2 };
        struct attachment a = {};
        char reason[256] = "";

        attachment_set_modern(&a, 0, &reply);
        ASSERT_EQ(a.size_epoch, 2U);
        for (unsigned i = 0; i < 2; i++) {
                reply.size = i == 0 ? 2 << 20 : 1 << 19;
                reply.size_epoch = a.size_epoch;
                ASSERT_ERROR(attachment_check_modern(&a, 0, &reply, reason, sizeof(reason)), ESTALE);
                reply.size_epoch = a.size_epoch - 1;
                ASSERT_ERROR(attachment_check_modern(&a, 0, &reply, reason, sizeof(reason)), ESTALE);
                reply.size_epoch = a.size_epoch + 1;
                ASSERT_OK(attachment_check_modern(&a, 0, &reply, reason, sizeof(reason)));
                attachment_set_modern(&a, 0, &reply);
                ASSERT_EQ(a.size, reply.size);
                ASSERT_EQ(a.size_epoch, reply.size_epoch);
        }

        /* Another server that tells no epochs, with the size that is known; and one whose answer was overtaken. */
        reply.size_epoch = 0;
        ASSERT_OK(attachment_check_modern(&a, 0, &reply, reason, sizeof(reason)));
        reply.size = 1 << 20;
        reply.size_epoch = 3;
        attachment_set_modern(&a, 0, &reply);
        ASSERT_EQ(a.size, 1 << 19);
        ASSERT_EQ(a.size_epoch, 4U);
}

/* What the device was promised at first stays, whatever a later proxy can do besides; what it is to resume with is the latest. */
static void promises(void) {
        struct attachment a = { .name = "vm1", .steal = true };
        struct ivbs_lease_reply reply = reply_of(1);

        reply.generation = 41;
        attachment_set_modern(&a, IVBS_CAP_FLUSH | IVBS_CAP_LEASE | IVBS_CAP_IMAGES, &reply);
        ASSERT_EQ(a.caps, IVBS_CAP_FLUSH | IVBS_CAP_LEASE);
        ASSERT_FALSE(a.steal);
        reply.generation = 42;
        attachment_set_modern(&a, UINT64_MAX, &reply);
        ASSERT_EQ(a.caps, IVBS_CAP_FLUSH | IVBS_CAP_LEASE);
        ASSERT_EQ(a.generation, 42U);

        /* A reply that a fence has overtaken. */
        a.fencing = true;
        reply.generation = 41;
        attachment_set_modern(&a, UINT64_MAX, &reply);
        ASSERT_EQ(a.generation, 42U);
        ASSERT_TRUE(a.fencing);
        reply.generation = 43;
        attachment_set_modern(&a, UINT64_MAX, &reply);
        ASSERT_FALSE(a.fencing);
}

static const struct test tests[] = {
        TEST(round_trip),
        TEST(nothing_kept),
        TEST(cut_file),
        TEST(other_contents),
        TEST(another_attachment),
        TEST(classic_is_not_kept),
        TEST(classic_uuid),
        TEST(checks),
        TEST(promises),
        TEST(sizes),
};

int main(void) {
        int r;

        scratch_make();
        r = test_run_all(tests, ELEMENTSOF(tests));
        scratch_remove();
        return r;
}
