/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Texts have lengths of their own and no padding, so that a thousand sessions fit into one packet; each session says how long it is as a whole, so that fields can be added before the texts of the next. */

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "cleanup.h"
#include "ivbs-admin.h"

void ivbs_store_status_encode(const struct ivbs_store_status *status, uint8_t ret[static IVBS_STORE_STATUS_SIZE]) {
        memset(ret, 0, IVBS_STORE_STATUS_SIZE);
        put_be64(ret, status->total);
        put_be64(ret + 8, status->available);
        put_be32(ret + 16, status->clients);
        put_be32(ret + 20, status->sessions);
        put_be32(ret + 28, IVBS_STORE_STATUS_SIZE);
}

int ivbs_store_status_decode(const uint8_t *data, size_t n, struct ivbs_store_status *ret, size_t *ret_offset) {
        uint32_t size;

        if (n < IVBS_STORE_STATUS_SIZE)
                return -EBADMSG;
        size = get_be32(data + 28);
        if (size < IVBS_STORE_STATUS_SIZE || size > n || get_be32(data + 20) > IVBS_STORE_SESSIONS_MAX)
                return -EBADMSG;

        *ret = (struct ivbs_store_status){
                .total = get_be64(data),
                .available = get_be64(data + 8),
                .clients = get_be32(data + 16),
                .sessions = get_be32(data + 20),
        };
        *ret_offset = size;
        return 0;
}

size_t ivbs_store_session_encode(const struct ivbs_store_session *session, uint8_t *ret) {
        const char *const texts[] = { session->image, session->user, session->address, session->host };
        size_t n = IVBS_STORE_SESSION_SIZE;

        memset(ret, 0, IVBS_STORE_SESSION_SIZE);
        put_be32(ret + 4, session->flags);
        put_be64(ret + 8, session->generation);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                size_t length = strlen(texts[i]);

                put_be16(ret + 16 + 2 * i, (uint16_t) length);
                memcpy(ret + n, texts[i], length);
                n += length;
        }
        put_be32(ret, (uint32_t) n);
        return n;
}

int ivbs_store_session_decode(const uint8_t *data, size_t n, size_t *offset, struct ivbs_store_session *ret) {
        struct ivbs_store_session session = {};
        const struct {
                char *text;
                size_t max;
        } texts[] = {
                { session.image, sizeof(session.image) - 1 },
                { session.user, sizeof(session.user) - 1 },
                { session.address, sizeof(session.address) - 1 },
                { session.host, sizeof(session.host) - 1 },
        };
        size_t at = IVBS_STORE_SESSION_SIZE, size;
        const uint8_t *p;

        if (*offset > n || n - *offset < IVBS_STORE_SESSION_SIZE)
                return -EBADMSG;
        p = data + *offset;
        size = get_be32(p);
        if (size < IVBS_STORE_SESSION_SIZE || size > n - *offset)
                return -EBADMSG;

        session.flags = get_be32(p + 4);
        session.generation = get_be64(p + 8);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                size_t length = get_be16(p + 16 + 2 * i);

                if (length > texts[i].max || length > size - at || memchr(p + at, 0, length))
                        return -EBADMSG;
                memcpy(texts[i].text, p + at, length);
                at += length;
        }
        if (!image_store_name_is_valid(session.image))
                return -EBADMSG;

        *offset += size;
        *ret = session;
        return 0;
}
