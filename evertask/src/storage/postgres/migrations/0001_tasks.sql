-- Instants are microseconds since 1970, durations are microseconds. All text is compared by bytes.
-- States: 0 pending, 1 running, 2 completed, 3 failed, 4 cancelled.

-- Lines in which pending tasks wait. A claim walks only the lanes it can serve, so what waits in others costs it nothing.
-- Lanes are never deleted or changed: their numbers may be remembered. They are made under a lock on this table, so that
-- whoever sees a number sees all smaller ones.
CREATE TABLE lanes (
    lane     bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue    text     COLLATE "C" NOT NULL,
    name     text     COLLATE "C" NOT NULL,
    version  bigint   NOT NULL,
    priority smallint NOT NULL,
    suspect  boolean  NOT NULL, -- for tasks whose nodes died so often that they are run one at a time
    UNIQUE (queue, name, version, priority, suspect)
);

CREATE TABLE tasks (
    id           uuid     PRIMARY KEY,
    lane         bigint   NOT NULL,
    created_at   bigint   NOT NULL,
    due_at       bigint   NOT NULL,
    lease        bigint   NOT NULL DEFAULT 0,
    spent        bigint   NOT NULL DEFAULT 0, -- tries
    unreadable   bigint   NOT NULL DEFAULT 0,
    losses       bigint   NOT NULL DEFAULT 0,
    lost_alone   bigint   NOT NULL DEFAULT 0,
    codec        integer  NOT NULL,
    state        smallint NOT NULL DEFAULT 0,
    begun        boolean  NOT NULL DEFAULT false,
    cancel_asked boolean  NOT NULL DEFAULT false,
    node         uuid,                         -- who holds it, exactly while it runs
    claim        bigint,                       -- by which claim; 0 if it was seized
    started_at   bigint,
    finished_at  bigint,
    expires_at   bigint,
    prune_at     bigint,
    retries      bigint,
    timeout      bigint,                       -- -1: none at all
    request      uuid,                         -- the dispatch that wrote it last, where there is a key
    output_codec integer,
    payload      bytea    NOT NULL,
    key_name     text     COLLATE "C",         -- the handler's name, if there is a key
    key          text     COLLATE "C",
    error        text     COLLATE "C",
    output       bytea,
    output_error text     COLLATE "C"
) WITH (
    fillfactor = 90,
    -- What was claimed leaves a dead row behind in the head of its line: the sooner it is cleared away, the better.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX tasks_pending ON tasks (lane, due_at, id) WHERE state = 0;
CREATE INDEX tasks_running ON tasks (node, claim) WHERE state = 1;
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (prune_at) WHERE prune_at IS NOT NULL;
-- For people, who look for what went wrong among much that went well.
CREATE INDEX tasks_unhappy ON tasks (state, id) WHERE state > 2;
CREATE UNIQUE INDEX tasks_live_keys ON tasks (key_name, key) WHERE key IS NOT NULL AND state < 2;
CREATE INDEX tasks_keys ON tasks (key) WHERE key IS NOT NULL;
CREATE INDEX tasks_requests ON tasks (request) WHERE request IS NOT NULL;

CREATE TABLE tags (
    id    uuid NOT NULL,
    key   text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (id, key)
);

CREATE INDEX tags_tagged ON tags (key, value, id);

-- Attempts that did not simply complete. `outcome` counts 0 failed, 1 timed out, 2 panicked, 3 cancelled, 4 snoozed,
-- 5 interrupted, 6 lost, 7 unreadable.
CREATE TABLE attempts (
    id          uuid     NOT NULL,
    lease       bigint   NOT NULL,
    attempt     bigint   NOT NULL,
    node        uuid     NOT NULL,
    started_at  bigint   NOT NULL,
    ended_at    bigint   NOT NULL,
    fingerprint bigint,
    outcome     smallint NOT NULL,
    "binary"    text     COLLATE "C" NOT NULL,
    error       text     COLLATE "C",
    PRIMARY KEY (id, lease)
);

CREATE INDEX attempts_fingerprints ON attempts (fingerprint, id) WHERE fingerprint IS NOT NULL;

-- Who is there. A node whose beat stands still for a whole lease, under the eyes of another one, is dead.
CREATE TABLE nodes (
    id        uuid    PRIMARY KEY,
    beat      bigint  NOT NULL,
    beat_at   bigint  NOT NULL,
    joined_at bigint  NOT NULL,
    pid       bigint  NOT NULL DEFAULT 0,
    host      text    NOT NULL DEFAULT '',
    "binary"  text    NOT NULL DEFAULT '',
    handlers  text    NOT NULL DEFAULT '[]', -- JSON: [["name", version], …]
    queues    text    NOT NULL DEFAULT '[]', -- JSON: ["name", …]
    lease     bigint                         -- how long its beat may stand still; null if it never said
) WITH (fillfactor = 50);
