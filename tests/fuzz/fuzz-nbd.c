/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An NBD client's side of a connection, taken as the worker takes it: flags, options until GO or EXPORT_NAME, requests. The first 16 bytes
 * of the input make the export: size (8), flags (2), block size (1), whether to skip the handshake as the kernel does (1), largest payload (4).
 *
 * The rules: a request that passes the check stays within the export and does nothing that was not offered, and what is answered is well
 * formed, whatever was asked. */

#include <errno.h>

#include "bytes.h"
#include "fuzz.h"
#include "nbd.h"

struct input {
        const uint8_t *p, *end;
};

static size_t left(const struct input *input) {
        return (size_t) (input->end - input->p);
}

/* Replies to options are a chain of headers and payloads that ends exactly at n. */
static void require_option_replies(const uint8_t *data, size_t n, uint32_t option) {
        size_t offset = 0;

        do {
                REQUIRE(n - offset >= NBD_OPTION_REPLY_SIZE);
                REQUIRE(get_be64(data + offset) == NBD_OPTION_REPLY_MAGIC);
                REQUIRE(get_be32(data + offset + 8) == option);
                REQUIRE(get_be32(data + offset + 16) <= n - offset - NBD_OPTION_REPLY_SIZE);
                offset += NBD_OPTION_REPLY_SIZE + get_be32(data + offset + 16);
        } while (offset < n);
}

static void answer_go(const struct nbd_export *export, uint32_t option, const uint8_t *payload, size_t n) {
        uint8_t reply[NBD_GO_REPLY_SIZE_MAX];
        struct nbd_info_request request;
        char *name;
        size_t length;

        if (nbd_info_request_decode(payload, n, &request) < 0)
                return;

        REQUIRE((const uint8_t *) request.name >= payload && request.name_length <= NBD_STRING_MAX);
        REQUIRE((const uint8_t *) request.name + request.name_length <= payload + n);
        name = strndup(request.name, request.name_length);
        REQUIRE(name && strlen(name) == request.name_length);
        REQUIRE(nbd_name_equal(request.name, request.name_length, name));
        length = nbd_option_go_encode(option, export, request.infos, name, name, reply);
        REQUIRE(length <= sizeof(reply));
        require_option_replies(reply, length, option);
        free(name);
}

/* Returns whether the transmission phase follows. */
static int handshake(struct input *input, const struct nbd_export *export) {
        uint8_t reply[NBD_TEXT_REPLY_SIZE_MAX], export_reply[NBD_EXPORT_REPLY_SIZE];
        uint32_t flags;

        if (left(input) < NBD_CLIENT_FLAGS_SIZE || nbd_client_flags_decode(input->p, &flags) < 0)
                return 0;
        input->p += NBD_CLIENT_FLAGS_SIZE;

        for (;;) {
                struct nbd_option option;
                const char *name;
                uint8_t *payload;
                size_t length;
                int r;

                r = nbd_option_decode(input->p, left(input), &option);
                REQUIRE(r == 0 || r == (int) NBD_OPTION_SIZE || r == -EBADMSG || r == -EMSGSIZE);
                if (r <= 0 || left(input) - NBD_OPTION_SIZE < option.length)
                        return 0;
                REQUIRE(option.length <= NBD_OPTION_LENGTH_MAX);
                REQUIRE(nbd_option_to_string(option.option));
                payload = exact_copy(input->p + NBD_OPTION_SIZE, option.length);
                input->p += NBD_OPTION_SIZE + option.length;

                switch (option.option) {
                case NBD_OPT_GO:
                case NBD_OPT_INFO:
                        answer_go(export, option.option, payload, option.length);
                        break;
                case NBD_OPT_EXPORT_NAME:
                        if (nbd_export_name_decode(payload, option.length, &name, &length) >= 0) {
                                REQUIRE(length == option.length);
                                length = nbd_export_reply_encode(export, flags, export_reply);
                                REQUIRE(length == 10 || length == NBD_EXPORT_REPLY_SIZE);
                        }
                        break;
                default: {
                        /* Its payload as a text that is not always UTF-8, to see where it is cut. */
                        char *text = strndup((const char *) payload, option.length);

                        REQUIRE(text);
                        length = nbd_option_error_encode(option.option, NBD_REP_ERR_UNSUP, text, reply);
                        REQUIRE(length <= sizeof(reply));
                        require_option_replies(reply, length, option.option);
                        length = nbd_option_server_encode(text, reply);
                        REQUIRE(length <= sizeof(reply));
                        require_option_replies(reply, length, NBD_OPT_LIST);
                        free(text);
                }
                }

                free(payload);
                if (option.option == NBD_OPT_GO || option.option == NBD_OPT_EXPORT_NAME)
                        return 1;
                if (option.option == NBD_OPT_ABORT)
                        return 0;
        }
}

static void require_permitted(const struct nbd_request *request, const struct nbd_export *export) {
        uint16_t type = request->type;

        if (type == NBD_CMD_DISC)
                return;
        REQUIRE(type == NBD_CMD_READ || type == NBD_CMD_WRITE || type == NBD_CMD_FLUSH || type == NBD_CMD_TRIM ||
                type == NBD_CMD_CACHE || type == NBD_CMD_WRITE_ZEROES);
        REQUIRE(!(request->flags & NBD_CMD_FLAG_FUA) || (export->flags & NBD_FLAG_SEND_FUA));
        REQUIRE(!(request->flags & NBD_CMD_FLAG_DF) || (export->flags & NBD_FLAG_SEND_DF));
        if (type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES)
                REQUIRE(!(export->flags & NBD_FLAG_READ_ONLY));
        if (type == NBD_CMD_FLUSH)
                return;

        REQUIRE(request->length > 0 && request->length <= export->size);
        REQUIRE(request->offset <= export->size - request->length);
        REQUIRE(request->offset % export->block_size_min == 0 && request->length % export->block_size_min == 0);
        if (type == NBD_CMD_READ || type == NBD_CMD_WRITE)
                REQUIRE(request->length <= export->payload_max);
}

static void transmission(struct input *input, const struct nbd_export *export) {
        while (left(input) >= NBD_REQUEST_SIZE) {
                uint8_t again[NBD_REQUEST_SIZE], reply[NBD_SIMPLE_REPLY_SIZE], chunk[NBD_ERROR_CHUNK_SIZE_MAX];
                struct nbd_request request;
                uint64_t cookie;
                uint32_t error;
                size_t n;
                int r;

                if (nbd_request_decode(input->p, &request) < 0)
                        return;
                nbd_request_encode(&request, again);
                REQUIRE(memcmp(input->p, again, sizeof(again)) == 0);
                REQUIRE(nbd_request_payload(&request) <= NBD_PAYLOAD_MAX);
                REQUIRE(nbd_command_to_string(request.type));
                input->p += NBD_REQUEST_SIZE;

                r = nbd_request_check(&request, export);
                REQUIRE(r == 0 || r == -EINVAL || r == -EPERM || r == -ENOSPC || r == -EOVERFLOW);
                if (r == 0)
                        require_permitted(&request, export);

                nbd_simple_reply_encode(request.cookie, nbd_error_from_errno(r), reply);
                REQUIRE(nbd_simple_reply_decode(reply, &cookie, &error) == 0);
                REQUIRE(cookie == request.cookie && nbd_error_to_errno(error) == r);
                n = nbd_error_chunk_encode(request.cookie, NBD_EIO, nbd_command_to_string(request.type), chunk);
                REQUIRE(n <= sizeof(chunk) && get_be32(chunk + 16) == n - NBD_CHUNK_SIZE);

                if (request.type == NBD_CMD_DISC || nbd_request_payload(&request) > left(input))
                        return;
                input->p += nbd_request_payload(&request);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct nbd_export export;
        struct input input = { .p = data + 16, .end = data + size };

        if (size < 16)
                return 0;

        export = (struct nbd_export){
                .size = get_be64(data),
                .flags = get_be16(data + 8),
                .block_size_min = UINT32_C(1) << data[10] % 17,
                .block_size_preferred = 65536,
                .payload_max = get_be32(data + 12) % (NBD_PAYLOAD_MAX + 1),
        };
        if ((data[11] & 1) || handshake(&input, &export))
                transmission(&input, &export);
        return 0;
}
