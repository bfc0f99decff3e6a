/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connection: who it is, what it has attached, what it has in flight. Its parts: client.c (life, states, the table
 * of ops), client-request.c (I/O and answers), client-control.c (one slow operation at a time), client-login.c,
 * client-scram.c, client-attach.c, client-hold.c, client-fence.c, client-drain.c, client-images.c, client-lifecycle.c,
 * client-resize.c. */

#include <netinet/in.h>
#include <sys/queue.h>

#include "message-ids.h"
#include "container-of.h"
#include "ivbs-scram.h"
#include "proxy.h"
#include "stream.h"
#include "tls.h"

#define CLIENT_ADDRESS_SIZE (INET6_ADDRSTRLEN + 16)
#define CLIENT_REQUESTS_MAX 512U /* that have not been answered, or whose answer has not been sent */

enum client_state {
        CLIENT_GREETED,    /* connected, nothing heard yet */
        CLIENT_INTRODUCED, /* said HELLO */
        CLIENT_LOGGED_IN,
        CLIENT_ATTACHED,
        CLIENT_DRAINING, /* the proxy stops: what is under way is finished, all else is sent elsewhere */
        CLIENT_CLOSING,  /* nothing that comes is looked at any more */
        _CLIENT_STATE_MAX,
};

/* Why the input is not looked at; as bits. */
enum {
        PAUSE_CONTROL = 1 << 0, /* a slow operation is under way */
        PAUSE_FULL = 1 << 1,    /* too much in flight */
        PAUSE_MEMORY = 1 << 2,  /* no buffer */
};

/* The slow operation: off the ring's thread, or waiting for what is in flight. */
struct control {
        bool busy;
        struct job job;
        struct image_waiter waiter;
        void (*finish)(struct client *client); /* on the ring's thread, after job */
        struct jobs *jobs;
        uint32_t op, sequence;
        enum ivbs_status status; /* what run() came to */
        bool stale;              /* the open image is not what its name says any more */
        bool retried;
        unsigned n_tries;

        /* An attachment that writes, see client-hold.c. */
        struct hold_waiter hold;
        bool pinned;                            /* image is held for this operation */
        void (*prove)(struct job *job);         /* on the store's thread: whether it may be disturbed at all */
        void (*change)(struct job *job);        /* ... what is done once it is held */
        void (*changed)(struct client *client); /* on the ring's thread, after it */

        /* in and out, by op */
        char name[IVBS_IMAGE_NAME_SIZE];
        struct image *image;
        struct lease lease;
        struct lease_holder holder;
        struct lease_holder ousted; /* who had the lease and is another machine */
        uint32_t flags, limit;
        uint64_t generation, size;
        uint8_t token[LEASE_TOKEN_SIZE];
        sd_id128_t uuid;
        bool writes;
        bool quiesced; /* no change of the image begins, on account of this */
        struct users *users, *new_users;
        char password[IVBS_PASSWORD_SIZE];
        uint8_t digest[USERS_DIGEST_SIZE]; /* of what was stored when the password was given to be checked */
        uint8_t ticket[IVBS_TICKET_MAX];   /* the client's, then a fresh one */
        size_t n_ticket;
        uint8_t scram_ticket[IVBS_SCRAM_TICKET_PREFIX + IVBS_TICKET_MAX]; /* SCRAM_TICKET as it came */
        size_t n_scram_ticket;
        char *message;
        struct store_listed *listed;
        struct store_listed_snapshot *listed_snapshots;
        size_t n_listed;
        char snapshot[IVBS_IMAGE_NAME_SIZE], new_name[IVBS_IMAGE_NAME_SIZE];
        struct image_job_waiter job_waiter;
        struct store_care care;
        bool more;
};

struct client {
        struct proxy *proxy;
        struct stream stream;
        struct ring_timer timer;
        enum client_state state;
        uint64_t caps;
        uint32_t max_length; /* largest header length that the client takes */
        struct lease_holder holder;
        uint8_t session_id[IVBS_SESSION_ID_SIZE];
        char address[CLIENT_ADDRESS_SIZE];       /* of the client, for people */
        char tls[48];                            /* "" without; else words to follow others */
        char local_address[CLIENT_ADDRESS_SIZE]; /* by which it has reached us, "HOST:PORT" */
        char user[IVBS_USER_SIZE + 1];
        unsigned n_failed_logins;
        struct login_address login_address;
        bool encrypted;
        uint8_t tls_binding[TLS_BINDING_SIZE];
        bool secure;    /* nobody on a network can read along: this machine's own, or encrypted */
        bool held_back; /* ... and that has been logged */
        struct ivbs_transcript transcript;
        struct client_scram *scram; /* a login with SCRAM that has been answered once, or NULL */
        struct login login;
        bool checking; /* login is under way: input is read, and left where it is */
        struct attachment attachment;
        bool lost_writing; /* the right to write what is attached was taken away since */
        struct control control;

        unsigned n_requests;
        uint64_t bytes_in_flight;
        unsigned pauses;
        bool waits_for_memory;
        uint64_t seen_bytes; /* see client_check_progress() */
        unsigned n_stalled;
        struct request *receiving; /* whose payload comes in at present */
        uint64_t skip;             /* bytes of a refused payload that are still to come */
        bool over;                 /* the stream has called closed() */
        struct ring_deferred farewell;
        uint64_t accepted_usec;

        TAILQ_ENTRY(client) entry, memory_entry;
};

const char *client_state_to_string(enum client_state state);

/* --- for the server --- */

/* "HOST:PORT", for people; size: CLIENT_ADDRESS_SIZE is enough. */
void client_address_to_text(const struct sockaddr *sa, char *ret, size_t size);
/* Greets a connection from peer to local (of the family AF_UNSPEC: not known). tls: what is known of it when it is encrypted, or NULL. Takes fd. Returns 0 or a negative errno. */
int client_new(struct client **ret, struct proxy *proxy, int fd, const struct sockaddr *peer,
        const struct sockaddr *local, const struct tls_info *tls);
/* Ends it; client_gone() comes later. error: 0 or a negative errno, for the log. */
void client_close(struct client *client, int error);
/* The proxy stops. */
void client_drain(struct client *client);
/* Tells a client that has an image attached that it is to go elsewhere, if the proxy is being drained. */
void client_divert(struct client *client);
/* The same for one that has none attached, and wants to. */
void client_tell_diverting(struct client *client);
/* To be called at intervals while others wait for memory: closes a client that holds some, and has moved no byte of it for so many calls. */
void client_check_progress(struct client *client, unsigned patience);
/* Pushes LIST_PROXIES to an attached client that is keeping up. */
void client_push_proxies(struct client *client);
/* The image that it has attached has another size. */
void client_tell_size(struct client *client);
/* The users file is another one. */
void client_rights_changed(struct client *client);

/* --- among its parts --- */

/* Moves on, but never back from DRAINING and CLOSING. */
void client_set_state(struct client *client, enum client_state state);
/* Frees it when nothing holds it any more. */
void client_settle(struct client *client);
void client_pause(struct client *client, unsigned why);
void client_resume(struct client *client, unsigned why);

/* Sends an answer without payload, or with a copy of one, or with one that it takes and frees. */
void client_answer(struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status);
void client_answer_copy(
        struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status, const void *payload, size_t n);
void client_answer_take(
        struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status, void *payload, size_t n);
/* ... and closes when it is sent. */
void client_answer_last(struct client *client, uint32_t op, uint32_t sequence, enum ivbs_status status);

/* READ, WRITE, FLUSH ...: data[0..n) begins with the packet's header. Returns as stream_ops.input(). */
ssize_t client_request(struct client *client, const struct ivbs_header *header, const uint8_t *data, size_t n);
int client_payload(struct client *client);
/* The stream closes: no answer, no buffer is waited for any more. */
void client_request_closing(struct client *client);
/* The stream is over: what was coming in will not come. */
void client_request_abandon(struct client *client);
void proxy_requests_free(struct proxy *proxy);
/* To be called now and then: frees what nobody has needed since the last call. */
void proxy_requests_trim(struct proxy *proxy);

/* The stream closes: nobody waits for a password to be checked any more. */
void client_login_abandon(struct client *client);

/* A slow operation: jobs NULL calls finish() from where it is. */
void client_control_start(struct client *client, const struct ivbs_header *header);
void client_control_run(
        struct client *client, struct jobs *jobs, void (*run)(struct job *job), void (*finish)(struct client *client));
void client_control_end(struct client *client, enum ivbs_status status, const void *payload, size_t n);
/* ... and closes when the answer is sent. */
void client_control_end_last(struct client *client, enum ivbs_status status);
void client_control_end_take(struct client *client, enum ivbs_status status, void *payload, size_t n);
/* The last of the client's requests is answered by the store. */
void client_io_idle(struct client *client);
/* RESUME of the image that the session has attached; its control has started. Idle: nothing of it is in hand any more. */
void client_rejoin(struct client *client, const struct ivbs_resume *resume);
void client_rejoin_idle(struct client *client);
/* Runs control->change and then control->changed; for what writes (control->writes) the image is held by then, and stays held until the control ends. Else the client
 * is answered here. */
void client_change(struct client *client);
/* On the store's thread: control->image is open after it. Returns 0 or a negative errno. */
int client_open_image(struct client *client);
/* control->stale: the image is opened anew and everything tried once more; false when that has been done before. */
bool client_try_anew(struct client *client);
void client_answer_refused(struct client *client);
/* Ends the control with the answer that ATTACH and RESUME give. */
void client_answer_attached(struct client *client);
static inline struct client *CLIENT_OF_JOB(struct job *job) {
        return CONTAINER_OF(job, struct client, control.job);
}

/* What an operation of the store on images came to, on any thread. Note: into control->status, and logs what an administrator should know. */
enum ivbs_status client_status_of_store(int error);
void client_note(struct client *client, int error);
/* IN_USE, but nobody is attached here: this proxy may still be about to close the image, after a look at its record. True: to be tried again, by the same thread. */
bool client_should_try_again(struct client *client);
/* client-caps.c: whether the user may have one more connection; one more image besides those that he has attached here, which is called so. */
bool client_user_has_room(const struct client *client, const char *user);
bool client_user_may_attach(const struct client *client, const char *name);
/* Administrators, and who may write what is called so. */
bool client_may_change(const struct client *client, const char *name);

/* Handlers: the whole payload is there. */
typedef void (*client_handler_t)(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_hello(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_login(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_login_ticket(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
/* client-audit.c. The operation is the control's; name: of the image. */
void client_audit_change(struct client *client, const char *name, const char *format, ...) _printf_(3, 4);
void client_audit_attached(struct client *client);
/* ... and ends the control with PERMISSION_DENIED. what: a verb, as in "no right to remove vm1". */
void client_refuse_right(struct client *client, const char *name, const char *what);
/* client-scram.c */
void client_scram_first(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_scram_final(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_scram_ticket(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
struct client_scram *client_scram_free(struct client_scram *scram);
void client_attach(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_attach_lease(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_resume_lease(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_fence(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_detach(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_list_images(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_create_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
/* ... when that takes its time, by the control that was begun for it: a job. */
void client_preallocate(struct client *client);
void client_remove_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_rename_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_list_snapshots(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_remove_snapshot(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
/* SNAPSHOT, CLONE_IMAGE, ROLL_BACK. */
void client_copy_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_job_status(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_job_cancel(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_scrub(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_get_care(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_set_limits(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_resize_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_order_drain(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_store_status(struct client *client, const struct ivbs_header *header, const uint8_t *payload);
void client_list_proxies(struct client *client, const struct ivbs_header *header, const uint8_t *payload);

/* The fields of every log line about it. */
#define CLIENT_FIELDS(client)                                                                              \
        LOG_FIELDS({ "CLIENT", (client)->address }, { "USER", (client)->user[0] ? (client)->user : NULL }, \
                { "IMAGE", (client)->attachment.image ? (client)->attachment.image->name : NULL },         \
                { "STATE", client_state_to_string((client)->state) })
/* ... of one that has an id of message-ids.h. */
#define CLIENT_EVENT_FIELDS(client, id)                                                            \
        LOG_FIELDS({ "MESSAGE_ID", (id) }, { "CLIENT", (client)->address },                        \
                { "USER", (client)->user[0] ? (client)->user : NULL },                             \
                { "IMAGE", (client)->attachment.image ? (client)->attachment.image->name : NULL }, \
                { "STATE", client_state_to_string((client)->state) })
