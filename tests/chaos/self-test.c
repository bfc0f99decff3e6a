/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "block.h"
#include "self-test.h"

static const char *const names[] = {
        [SELF_TEST_NONE] = "none",
        [SELF_TEST_CORRUPT] = "corrupt",
        [SELF_TEST_TORN] = "torn",
        [SELF_TEST_MISPLACED] = "misplaced",
        [SELF_TEST_GHOST] = "ghost",
        [SELF_TEST_LOST] = "lost",
};

int self_test_from_string(const char *name) {
        for (int i = 1; i < _SELF_TEST_MAX; i++)
                if (strcmp(names[i], name) == 0)
                        return i;
        return -EINVAL;
}

/* Answers every 50th write itself. */
static enum relay_verdict swallow(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        static unsigned n;
        struct relay_packet *reply;

        if (direction != TO_PROXY || packet->header.op != IVBS_OP_WRITE || ++n % 50 != 0)
                return RELAY_PASS;
        reply = relay_packet_copy(packet);
        if (!reply)
                return RELAY_PASS;
        reply->header.length = 0;
        reply->header.status = IVBS_STATUS_OK;
        reply->size = IVBS_HEADER_SIZE;
        relay_send(link, TO_WORKER, reply);
        return RELAY_DROP;
}

void self_test_begin(struct rig *rig, enum self_test test) {
        for (unsigned i = 0; test == SELF_TEST_LOST && i < rig->options.n_proxies; i++)
                relay_set_filter(rig->proxies[i].relay, swallow, NULL);
}

int self_test_remember(struct rig *rig, uint8_t **ret_memory) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ uint8_t *memory = NULL;
        char path[512];

        (void) rig_image_path(rig, path, sizeof(path));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        memory = malloc(rig->options.size);
        if (fd < 0 || !memory)
                return fd < 0 ? -errno : -ENOMEM;
        for (uint64_t at = 0; at < rig->options.size;) {
                ssize_t n = pread(fd, memory + at, rig->options.size - at, (off_t) at);

                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                at += (uint64_t) n;
        }
        *ret_memory = TAKE_PTR(memory);
        return 0;
}

int self_test_damage(struct rig *rig, struct workload *workload, enum self_test test, const uint8_t *memory) {
        uint64_t counter, other = 0, other_counter = 0;
        _cleanup_close_ int fd = -EBADF;
        uint8_t data[CHAOS_BLOCK];
        char path[512];

        (void) rig_image_path(rig, path, sizeof(path));
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        for (uint64_t at = 0; at < rig->options.size; at += CHAOS_BLOCK) {
                uint64_t old_offset, old_counter;

                if (!model_settled(workload_model(workload), at, &counter) || counter == 0)
                        continue;
                if (pread(fd, data, sizeof(data), (off_t) at) != (ssize_t) sizeof(data))
                        return -EIO;

                switch (test) {
                case SELF_TEST_CORRUPT:
                        data[300] ^= 4;
                        break;
                case SELF_TEST_MISPLACED:
                        if (other_counter == 0) {
                                other = at;
                                other_counter = counter;
                                continue;
                        }
                        if (pread(fd, data, sizeof(data), (off_t) other) != (ssize_t) sizeof(data))
                                return -EIO;
                        break;
                case SELF_TEST_TORN:
                case SELF_TEST_GHOST:
                        if (block_look(memory + at, workload_seed(workload), &old_offset, &old_counter) !=
                                        BLOCK_STAMPED ||
                                old_counter == counter)
                                continue;
                        memcpy(data, memory + at, test == SELF_TEST_TORN ? CHAOS_BLOCK / 2 : CHAOS_BLOCK);
                        break;
                case SELF_TEST_NONE:
                case SELF_TEST_LOST:
                case _SELF_TEST_MAX:
                default:
                        return 0;
                }
                return pwrite(fd, data, sizeof(data), (off_t) at) == (ssize_t) sizeof(data) ? 1 : -EIO;
        }
        return 0;
}

bool self_test_was_found(const struct statistics *s, enum self_test test) {
        switch (test) {
        case SELF_TEST_CORRUPT:
        case SELF_TEST_TORN:
                return s->wrong[WRONG_TORN] > 0;
        case SELF_TEST_MISPLACED:
                return s->wrong[WRONG_MISPLACED] > 0;
        case SELF_TEST_GHOST:
        case SELF_TEST_LOST:
                return s->wrong[WRONG_STALE] > 0;
        case SELF_TEST_NONE:
        case _SELF_TEST_MAX:
        default:
                return false;
        }
}
