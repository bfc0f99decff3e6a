/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "hand-over.h"
#include "store-rbd-record.h"

static const char record_magic[8] = { 'B', 'S', 'I', 'M', 'A', 'G', 'E', '1' };
static const char message_magic[4] = { 'B', 'S', 'P', '1' };

static void put_be64(uint8_t *p, uint64_t value) {
        value = htobe64(value);
        memcpy(p, &value, sizeof(value));
}

static uint64_t get_be64(const uint8_t *p) {
        uint64_t value;

        memcpy(&value, p, sizeof(value));
        return be64toh(value);
}

static bool has_limits(const struct store_limits *limits) {
        return limits->iops > 0 || limits->bandwidth > 0;
}

size_t rbd_record_encode(const struct rbd_record *record, uint8_t ret[static RBD_RECORD_SIZE_MAX]) {
        const struct lease *lease = &record->lease;
        size_t n = has_limits(&record->limits) ? RBD_RECORD_SIZE_MAX : RBD_RECORD_SIZE;

        memset(ret, 0, RBD_RECORD_SIZE_MAX);
        memcpy(ret, record_magic, sizeof(record_magic));
        put_be64(ret + 8, record->size);
        put_be64(ret + 16, record->size_epoch);
        put_be64(ret + 24, lease->generation);
        put_be64(ret + 144, record->rolling_back);
        put_be64(ret + 152, record->limits.iops);
        put_be64(ret + 160, record->limits.bandwidth);
        put_be64(ret + 168, record->limits.burst_usec);
        if (!lease->live)
                return n;

        ret[32] = 1;
        put_be64(ret + 40, lease->holder.since_usec);
        memcpy(ret + 48, lease->token_hash, LEASE_HASH_SIZE);
        memcpy(ret + 80, lease->holder.machine_id, LEASE_ID_SIZE);
        memcpy(ret + 96, lease->holder.boot_id, LEASE_ID_SIZE);
        memcpy(ret + 112, lease->holder.host, strnlen(lease->holder.host, LEASE_HOST_SIZE - 1));
        return n;
}

int rbd_record_decode(const uint8_t *data, size_t n, struct rbd_record *ret) {
        struct rbd_record record = {};

        if (n == 0) {
                *ret = record;
                return 0;
        }
        if ((n != RBD_RECORD_SIZE && n != RBD_RECORD_SIZE_MAX) ||
                memcmp(data, record_magic, sizeof(record_magic)) != 0 || data[32] > 1)
                return -EUCLEAN;

        record.size = get_be64(data + 8);
        record.size_epoch = get_be64(data + 16);
        record.lease.generation = get_be64(data + 24);
        record.rolling_back = get_be64(data + 144);
        if (record.size > INT64_MAX || record.size_epoch > INT64_MAX || record.lease.generation > INT64_MAX)
                return -EUCLEAN;
        if (n == RBD_RECORD_SIZE_MAX) {
                record.limits.iops = get_be64(data + 152);
                record.limits.bandwidth = get_be64(data + 160);
                record.limits.burst_usec = get_be64(data + 168);
                if (record.limits.iops > INT64_MAX || record.limits.bandwidth > INT64_MAX ||
                        record.limits.burst_usec > INT64_MAX)
                        return -EUCLEAN;
        }
        if (data[32] == 1) {
                struct lease_holder *holder = &record.lease.holder;

                record.lease.live = true;
                holder->since_usec = get_be64(data + 40);
                memcpy(record.lease.token_hash, data + 48, LEASE_HASH_SIZE);
                memcpy(holder->machine_id, data + 80, LEASE_ID_SIZE);
                memcpy(holder->boot_id, data + 96, LEASE_ID_SIZE);
                memcpy(holder->host, data + 112, LEASE_HOST_SIZE - 1);
        }

        *ret = record;
        return 0;
}

void rbd_message_encode(const struct rbd_message *message, uint8_t ret[static RBD_MESSAGE_SIZE]) {
        memset(ret, 0, RBD_MESSAGE_SIZE);
        memcpy(ret, message_magic, sizeof(message_magic));
        ret[4] = (uint8_t) message->type;
        ret[5] = (uint8_t) message->why;
        memcpy(ret + 8, message->uuid.bytes, sizeof(message->uuid.bytes));
        memcpy(ret + 24, message->sender.bytes, sizeof(message->sender.bytes));
        put_be64(ret + 40, message->question);
}

int rbd_message_decode(const uint8_t *data, size_t n, struct rbd_message *ret) {
        struct rbd_message message = {};

        if (n != RBD_MESSAGE_SIZE || memcmp(data, message_magic, sizeof(message_magic)) != 0 ||
                data[4] >= _RBD_MESSAGE_TYPE_MAX || data[5] >= _HAND_OVER_WHY_MAX)
                return -EBADMSG;

        message.type = (enum rbd_message_type) data[4];
        message.why = data[5];
        memcpy(message.uuid.bytes, data + 8, sizeof(message.uuid.bytes));
        memcpy(message.sender.bytes, data + 24, sizeof(message.sender.bytes));
        message.question = get_be64(data + 40);
        *ret = message;
        return 0;
}

void rbd_address_normalise(const char *address, char *ret, size_t size) {
        size_t n;

        if (*address == '[' && strncmp(address, "[v", 2) == 0)
                address++;
        if (strncmp(address, "any:", 4) == 0)
                address += 4;
        else if (address[0] == 'v' && address[1] >= '0' && address[1] <= '9' && address[2] == ':')
                address += 3;

        /* The first of several, but all of "[IPV6]:PORT/NONCE". */
        n = strcspn(address, ",");
        if (n == strlen(address) && n > 0 && address[n - 1] == ']')
                n--;
        (void) snprintf(ret, size, "%.*s", (int) n, address);
}
